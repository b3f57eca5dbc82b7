"""A multi-label model, finding by finding, and all of its findings together."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from advassay.analysis import robust_accuracy_by_finding
from advassay.analysis.finding_robustness import ANY
from advassay.csv_export import write_csv
from advassay.errors import SpecError
from advassay.records import open_records
from advassay.sources.table_files import read_table
from advassay.workflows.evaluated_images import TABLES
from advassay.workflows.evaluation_result import EvaluationResult, grey_levels
from advassay.workflows.model_evaluation import evaluate
from advassay.workflows.presets import SHOWN_EPSILON

TABLE = "finding_robustness.csv"
ALL = "all"


@dataclass(frozen=True)
class FindingsResult:
    """One evaluation a finding, each a store of its own below `folder`."""

    folder: Path
    results: Mapping[str, EvaluationResult] = field(repr=False)
    """Finding → its evaluation."""

    @cached_property
    def table(self) -> pl.DataFrame:
        """Robust accuracy per finding and of all together: see analysis.robust_accuracy_by_finding."""
        return robust_accuracy_by_finding({name: open_records(of.store) for name, of in self.results.items()})

    @property
    def sentences(self) -> tuple[str, ...]:
        """How many images keep all their decisions, at the amplitude of the first screens or the nearest one."""
        together = self.table.filter(pl.col("finding") == ANY)
        epsilon = min(together["epsilon"], key=lambda each: abs(each - SHOWN_EPSILON))
        rows = together.filter(pl.col("epsilon") == epsilon)
        return tuple(
            f"An attack of {grey_levels(epsilon)} on one finding at a time leaves all {len(self.results)} decisions of "
            f"{row['robust']} of {row['n']} images right: {row['rate']:.2f} [{row['low']:.2f}, {row['high']:.2f}], an "
            f"upper bound. Before any attack all are right for {row['correct']}."
            for row in rows.iter_rows(named=True)
        )


def evaluate_findings(
    model: Any,
    images: Any,
    labels: Mapping[str | int, Any] | None = None,
    *,
    store: str | os.PathLike[str],
    findings: str | Sequence[str | int] = ALL,
    **options: Any,
) -> FindingsResult:
    """Attack every finding of a multi-label model by itself, on the same images, and say what is left of all together.

    `model`, `images` and `options` are those of `evaluate`. `findings`: names or numbers of outputs, or "all" for those
    that a model file names. `labels`: finding → 0 or 1 an image, of images that are arrays. Without them a table's
    column of the finding's name holds them, and where it has none the model's own decisions stand for them.
    Each finding is a store of its own below `store`; the same call goes on there. finding_robustness.csv holds the
    table. Raises what `evaluate` does, and SpecError for findings that cannot be told apart.
    """
    named = _named(model, findings, trust=bool(options.get("trust", False)))
    folder = Path(store)
    results = {}
    for name, place in _places(named).items():
        given = {"label_column": name} if labels is None and _has_column(images, name) else {}
        results[name] = evaluate(
            model, images, None if labels is None else _labels_of(labels, name), store=folder / place,
            finding=int(name) if name.isdigit() else name, **{**options, **given},
        )  # fmt: skip
    found = FindingsResult(folder, results)
    write_csv(found.table, folder / TABLE)
    return found


def _named(model: Any, findings: str | Sequence[str | int], *, trust: bool) -> list[str]:
    """Names or numbers as texts. Raises SpecError for none, and for "all" of a module: it does not name its outputs."""
    if findings != ALL:
        named = [findings] if isinstance(findings, str) else [str(each) for each in findings]
        if not named:
            raise SpecError("findings: expected one or more, got none.", 'Give names, numbers or "all".')
        return named
    if not isinstance(model, str | os.PathLike):
        raise SpecError(
            'findings: expected names or numbers of outputs, got "all" of a module, which does not name its outputs.',
            "Give their numbers, counted from 0: findings=[0, 1, 2].",
        )
    from advassay.models.loading import findings_of

    return list(findings_of(model, trust=trust))


def _places(named: Sequence[str]) -> dict[str, str]:
    """Finding → name of its store's folder. Raises SpecError where two would share one.

    >>> _places(["Lung Opacity", "Effusion"])
    {'Lung Opacity': 'lung-opacity', 'Effusion': 'effusion'}
    """
    places: dict[str, str] = {}
    for name in named:
        place = re.sub(r"[^a-z0-9]+", "-", name.casefold()).strip("-") or "finding"
        if place in places.values():
            raise SpecError(f"findings: expected each once, got {name!r} again.", "Name each finding once.")
        places[name] = place
    return places


def _labels_of(labels: Mapping[str | int, Any], name: str) -> Any:
    for key in (name, int(name) if name.isdigit() else name):
        if key in labels:
            return labels[key]
    raise SpecError(f"labels: expected those of finding {name!r}, got {', '.join(map(str, labels))}.", "Add them.")


def _has_column(images: Any, name: str) -> bool:
    """Whether `images` is a table with a column of this name."""
    if not isinstance(images, str | os.PathLike):
        return False
    path = Path(images)
    return path.name.lower().endswith(TABLES) and path.is_file() and name in read_table(path).columns
