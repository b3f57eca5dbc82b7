"""Every attacked image as a row of one table: filters that combine, an order, pages. Polars does the work.

A row is image × run × step size. It also says what became of the image at one amplitude and iterate: at the ε that is
asked for, else at the largest that its run holds.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from advassay.analysis.outcome_arrays import OutcomeArrays, load_outcomes
from advassay.errors import SpecError
from advassay.identity import canonical_float
from advassay.records.run_reader import SUBGROUP
from advassay.success import Reading, predicted
from advassay.viewer.opened_store import OpenedStore, network_name

VIEWS_KEPT = 4
"""Tables at one amplitude and iterate that are kept for the next page."""
MOST_ROWS = 500
"""Rows that one answer holds at most."""
SORTABLE = (
    "cohort", "arm", "step_size", "network", "image", "label", "clean_predicted", "clean_confidence",
    "smallest_epsilon", "epsilon", "predicted", "success", "iterations", "lost_again",
)  # fmt: skip


@dataclass(frozen=True)
class At:
    """The point at which the table is looked at: ε (None = the largest of each run), iterate (None = the last), and
    how success is read."""

    epsilon: float | None = None
    step: int | None = None
    success: Reading = "last"


@dataclass(frozen=True)
class Filters:
    """What rows must be; None = any. Texts are equal, ranges are closed; they combine."""

    cohort: str | None = None
    arm: str | None = None
    step_size: str | None = None
    network: str | None = None
    run: str | None = None
    label: str | None = None
    clean_predicted: str | None = None
    predicted: str | None = None
    success: bool | None = None
    attackable: bool | None = None
    lost_again: bool | None = None
    flag: str | None = None
    image: str | None = None
    """Beginning of the image's id."""
    confidence_from: float | None = None
    confidence_to: float | None = None
    smallest_epsilon_to: float | None = None
    iterations_to: int | None = None
    groups: tuple[tuple[str, str], ...] = ()
    """(column of a subgroup, its value)."""


class ImageTable:
    """The table of a store; built when first asked for."""

    def __init__(self, opened: OpenedStore) -> None:
        self._opened = opened
        self._views: OrderedDict[At, pl.DataFrame] = OrderedDict()
        self._lock = threading.Lock()

    def page(
        self, at: At, filters: Filters, *, sort: str = "cohort", descending: bool = False, offset: int = 0,
        limit: int = 100,
    ) -> dict[str, Any]:  # fmt: skip
        """{total, offset, rows}: the filtered rows in order, `limit` of them from `offset` on.

        Raises SpecError for a column or limit that there is not.
        """
        if sort not in SORTABLE:
            raise SpecError(f"sort: one of {', '.join(SORTABLE)}, got {sort!r}.")
        if not 1 <= limit <= MOST_ROWS or offset < 0:
            raise SpecError(f"limit: 1 to {MOST_ROWS}, offset from 0 on; got {limit} and {offset}.")
        frame = _filtered(self.view(at), filters)
        keys = [sort, *(key for key in ("cohort", "arm", "step_size", "network", "image") if key != sort)]
        orders = [descending, *[False] * (len(keys) - 1)]
        part = frame.sort(keys, descending=orders, nulls_last=True).slice(offset, limit)
        return {"total": frame.height, "offset": offset, "rows": part.to_dicts()}

    def view(self, at: At) -> pl.DataFrame:
        """All rows at one amplitude, iterate and reading; rows without that point are left out."""
        with self._lock:
            if at not in self._views:
                parts = [part for pack, run_id in self._packs() if (part := self._part(pack, run_id, at)) is not None]
                self._views[at] = pl.concat(parts, how="diagonal") if parts else pl.DataFrame(schema=SCHEMA)
            self._views.move_to_end(at)
            while len(self._views) > VIEWS_KEPT:
                self._views.popitem(last=False)
            return self._views[at]

    def choices(self) -> dict[str, Any]:
        """What the controls offer: values of each filter, and the amplitudes and iterates of each arm."""
        headers = self._opened.records.headers
        runs = [
            {
                "run": header.run_id,
                "cohort": header.cohort,
                "arm": header.arm,
                "network": network_name(header),
                "primary": header.primary,
                "steps": header.steps,
                "classes": list(header.class_names),
                "points": {
                    name: self._opened.epsilons(header.run_id, name) for name in self._opened.step_sizes(header.run_id)
                },
                "images": header.images,
            }
            for header in headers
        ]
        groups: dict[str, set[str]] = {}
        for run in self._opened.records.runs:
            for name in (name for name in run.images.columns if name.startswith(SUBGROUP)):
                groups.setdefault(name, set()).update(map(str, run.images[name].drop_nulls().unique()))
        return {
            "runs": runs,
            "cohorts": self._opened.records.cohorts,
            "arms": self._opened.records.arms,
            "flags": sorted({name for run in self._opened.records.runs for name in run.index.flags}),
            "groups": {name: sorted(values) for name, values in sorted(groups.items())},
        }

    def _packs(self) -> list[tuple[OutcomeArrays, str]]:
        return [
            (load_outcomes(run, step_size), run.header.run_id)
            for run in self._opened.records.runs
            for step_size in self._opened.step_sizes(run.header.run_id)
        ]

    def _part(self, pack: OutcomeArrays, run_id: str, at: At) -> pl.DataFrame | None:
        """The rows of one run and step size; None where it does not hold the point."""
        header, names = pack.header, np.array([*pack.header.class_names, None], dtype=object)
        wanted = float(pack.epsilons[-1]) if at.epsilon is None else canonical_float(at.epsilon)
        places = np.flatnonzero(pack.epsilons == wanted)
        step = pack.steps if at.step is None else at.step
        if not len(places) or not 0 <= step <= pack.steps:
            return None
        e = int(places[0])
        here = pack.present[e]
        fallen = pack.fallen(at.success)
        success = fallen[e, step]
        first = np.where(pack.any[e, step], pack.any[e].argmax(axis=0), -1)
        ends = fallen[:, pack.steps]  # the smallest amplitude does not depend on the iterate that is looked at
        smallest = np.where(ends.any(axis=0), pack.epsilons[ends.argmax(axis=0)], np.nan)
        flags = [[name for name, marks in pack.flags.items() if marks[e, i]] for i in range(len(pack.labels))]
        frame = pl.DataFrame(
            {
                "run": [run_id] * len(pack.labels),
                "cohort": [header.cohort] * len(pack.labels),
                "arm": [header.arm] * len(pack.labels),
                "step_size": [pack.step_size] * len(pack.labels),
                "network": [network_name(header)] * len(pack.labels),
                "image": list(pack.image_ids),
                "label": list(names[pack.labels]),
                "clean_predicted": list(names[predicted(pack.clean_logits)]),
                "clean_confidence": pack.clean_confidence,
                "smallest_epsilon": smallest,
                "epsilon": np.full(len(pack.labels), wanted),
                "step": np.full(len(pack.labels), step, np.int64),
                "predicted": list(names[pack.decision[e, step]]),
                "attackable": pack.attackable[e],
                "success": success,
                "iterations": np.where(first >= 0, first, -1).astype(np.int64),
                "lost_again": pack.any[e, step] & ~pack.last[e, step],
                "flags": flags,
            },
            schema=SCHEMA,
        )
        frame = frame.with_columns(
            pl.col("clean_confidence", "smallest_epsilon").fill_nan(None),
            pl.when(pl.col("iterations") >= 0).then("iterations"),
        )
        images = self._opened.run(run_id).images
        groups = [name for name in images.columns if name.startswith(SUBGROUP)]
        if groups:
            told = images.select(pl.col("image_id").alias("image"), pl.col(groups).cast(pl.String))
            frame = frame.join(told, on="image", how="left", maintain_order="left")
        return frame.filter(pl.Series(here))


SCHEMA: dict[str, Any] = {
    "run": pl.String, "cohort": pl.String, "arm": pl.String, "step_size": pl.String, "network": pl.String,
    "image": pl.String, "label": pl.String, "clean_predicted": pl.String, "clean_confidence": pl.Float64,
    "smallest_epsilon": pl.Float64, "epsilon": pl.Float64, "step": pl.Int64, "predicted": pl.String,
    "attackable": pl.Boolean, "success": pl.Boolean, "iterations": pl.Int64, "lost_again": pl.Boolean,
    "flags": pl.List(pl.String),
}  # fmt: skip
EQUAL: Sequence[str] = (
    "cohort", "arm", "step_size", "network", "run", "label", "clean_predicted", "predicted", "success", "attackable",
    "lost_again",
)  # fmt: skip


def _filtered(frame: pl.DataFrame, filters: Filters) -> pl.DataFrame:
    wanted = [pl.col(name) == value for name in EQUAL if (value := getattr(filters, name)) is not None]
    if filters.flag is not None:
        wanted.append(pl.col("flags").list.contains(filters.flag))
    if filters.image is not None:
        wanted.append(pl.col("image").str.starts_with(filters.image))
    if filters.confidence_from is not None:
        wanted.append(pl.col("clean_confidence") >= filters.confidence_from)
    if filters.confidence_to is not None:
        wanted.append(pl.col("clean_confidence") <= filters.confidence_to)
    if filters.smallest_epsilon_to is not None:
        wanted.append(pl.col("smallest_epsilon") <= filters.smallest_epsilon_to)
    if filters.iterations_to is not None:
        wanted.append(pl.col("iterations") <= filters.iterations_to)
    for name, value in filters.groups:
        if not name.startswith(SUBGROUP) or name not in frame.columns:
            raise SpecError(f"group: expected a column of the store's images, got {name!r}.")
        wanted.append(pl.col(name) == value)
    return frame.filter(*wanted) if wanted else frame
