"""Two or more stores side by side: the same cohorts' curves, paired differences, and what was set differently."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from advassay.errors import ReportError
from advassay.records.header import RunHeader
from advassay.records.store import Records, open_records
from advassay.report import amplitudes, captions
from advassay.report.recorded import recorded
from advassay.specs import Study

LEVEL = 0.95
WANTED = 0.02
"""The amplitude of curves over iterations: the shared one nearest to it."""

COMPARED = {
    "stores": "what was compared: the main arm of each store",
    "curves": "success against ε at the last iteration, main arm, every store",
    "iterations": "success against iterations at one ε, main arm, every store",
    "differences": "success of a store minus success of the first one on the same images, at every shared ε, last "
    "iteration",
    "settings": "what differs between the resolved study files, and between what made the records",
}
"""Table → what it holds."""


@dataclass(frozen=True)
class Comparison:
    """What several stores say about the cohorts that all of them attacked; the first is what others are held against.

    `tables`: name → frame, see `COMPARED`; an empty one is left out.
    """

    names: tuple[str, ...]
    cohorts: dict[str, str]
    """Cohort → image type, in the first store's order."""
    epsilon: float
    """Amplitude of the curves over iterations."""
    tables: dict[str, pl.DataFrame]
    warnings: list[str]
    level: float = LEVEL


@dataclass(frozen=True)
class _Side:
    name: str
    records: Records
    runs: list[RunHeader]
    """Main networks' runs of the main arm."""

    @property
    def cohorts(self) -> dict[str, RunHeader]:
        return {header.cohort: header for header in self.runs}


def compare(stores: Sequence[Path | Records]) -> Comparison:
    """Compare the main arms of two or more stores over the cohorts and ε that all of them recorded.

    Raises ReportError for fewer than two stores, for stores without a common cohort, or without a common ε;
    StoreError where a folder holds no store.
    """
    if len(stores) < 2:
        raise ReportError(f"stores: at least two are needed, got {len(stores)}.", "Name them: `advassay compare A B`.")
    sides = _sides([s if isinstance(s, Records) else open_records(s) for s in stores])
    first = sides[0]
    shared = [name for name in first.cohorts if all(name in side.cohorts for side in sides)]
    if not shared:
        raise ReportError(
            f"stores: a cohort that all of them attacked is needed, found none in {_of_each(sides)}.",
            "Compare stores of the same cohorts; a report of each stands alone: `advassay report STORE`.",
        )
    grid = amplitudes.shared(side.cohorts[name] for side in sides for name in shared)
    epsilon = amplitudes.nearest(WANTED, grid)
    if epsilon is None:
        raise ReportError(
            "stores: an ε that all main arms recorded for their common cohorts is needed, found none.",
            "Give the studies an ε in common and run them again: only what is missing is attacked.",
        )
    tables = {
        "stores": pl.DataFrame([_about(side) for side in sides]),
        "curves": _curves(sides, shared),
        "iterations": _iterations(sides, shared, epsilon),
        "differences": _differences(sides, shared, grid),
        "settings": settings(sides),
    }
    return Comparison(
        names=tuple(side.name for side in sides),
        cohorts={name: first.cohorts[name].image_type or "images" for name in shared},
        epsilon=epsilon,
        tables={name: frame for name, frame in tables.items() if len(frame)},
        warnings=list(_warnings(sides, shared)),
    )


def _sides(stores: Sequence[Records]) -> list[_Side]:
    """With names that differ: the folder's, numbered where two are alike."""
    folders = [records.root.resolve().name for records in stores]
    names = [name if folders.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(folders)]
    sides = [_Side(name, r, _main_runs(r)) for name, r in zip(names, stores, strict=True)]
    for side in sides:
        if not side.runs:
            raise ReportError(
                f"store: at least one recorded attack is needed, {side.records.root} holds none.",
                "Run `advassay run STUDY --store STORE`, or `advassay attack`, first.",
            )
    return sides


def _main_runs(records: Records) -> list[RunHeader]:
    order = {name: place for place, name in enumerate(records.cohorts)}
    arms = records.arms
    found = [h for h in recorded(records) if h.primary and h.arm == arms[0]] if arms else []
    return sorted(found, key=lambda header: order[header.cohort])


def _of_each(sides: Sequence[_Side]) -> str:
    return "; ".join(f"{side.name}: {', '.join(side.cohorts)}" for side in sides)


def _about(side: _Side) -> dict[str, Any]:
    return {
        "store": side.name, "attack": captions.attack(side.runs), "cohorts": ", ".join(side.cohorts),
        "images": sum(header.images for header in side.runs),
        "versions": ", ".join(f"{name} {version}" for name, version in side.runs[0].versions.items()),
    }  # fmt: skip


def _curves(sides: Sequence[_Side], shared: Sequence[str]) -> pl.DataFrame:
    from advassay.analysis import success_curve

    return _of_stores({side.name: success_curve(side.records, level=LEVEL).frame for side in sides}, shared)


def _iterations(sides: Sequence[_Side], shared: Sequence[str], epsilon: float) -> pl.DataFrame:
    from advassay.analysis import success_curve

    frames = {s.name: success_curve(s.records, "step", epsilon=epsilon, level=LEVEL).frame for s in sides}
    return _of_stores(frames, shared)


def _of_stores(frames: dict[str, pl.DataFrame], shared: Sequence[str]) -> pl.DataFrame:
    named = [frame.select(pl.lit(name).alias("store"), pl.all()) for name, frame in frames.items()]
    return pl.concat(named, how="diagonal_relaxed").filter(pl.col("cohort").is_in(shared))


def _differences(sides: Sequence[_Side], shared: Sequence[str], grid: Sequence[float]) -> pl.DataFrame:
    """Of each store against the first at every shared ε, p adjusted over the cohorts (Holm)."""
    from advassay.analysis import Condition, paired_comparison

    first, frames = sides[0], []
    for side in sides[1:]:
        for epsilon in grid:
            at = Condition(epsilon=epsilon)
            found = paired_comparison(first.records, at, at, other=side.records, level=LEVEL)
            about = (pl.lit(side.name).alias("store"), pl.lit(first.name).alias("against"))
            frames.append(found.select(*about, pl.all()).with_columns(epsilon=pl.lit(epsilon)))
    order = pl.DataFrame({"cohort": list(shared)})
    joined = order.join(pl.concat(frames, how="diagonal_relaxed"), on="cohort", maintain_order="left_right")
    return joined.filter(pl.col("n") > 0)


def settings(sides: Sequence[Any]) -> pl.DataFrame:
    """Columns: setting (dotted path), then one per store; rows whose values are not the same everywhere."""
    flat = [dict(_set(side)) for side in sides]
    keys = dict.fromkeys(key for one in flat for key in one)
    rows = [
        {"setting": key} | {side.name: one.get(key, "–") for side, one in zip(sides, flat, strict=True)}
        for key in keys
        if len({one.get(key) for one in flat}) > 1
    ]
    return pl.DataFrame(rows, schema={"setting": pl.String} | {side.name: pl.String for side in sides})


def _set(side: _Side) -> Iterator[tuple[str, str]]:
    """The resolved study file, and per cohort what its main network's run says."""
    yield from _flat(_resolved(side.records.study_text), "")
    for header in side.runs:
        where = f"recorded.{header.cohort}"
        yield f"{where}.cohort", (header.cohort_identity or "–")
        yield f"{where}.network", header.classifier
        yield f"{where}.images", str(header.images)
        if header.compute is not None:
            yield f"{where}.device", header.compute.device_name or header.compute.device


def _resolved(text: str) -> Any:
    """A study file with today's defaults filled in, so that two versions' files can be compared; else as it stands."""
    import yaml
    from pydantic import ValidationError

    content = yaml.safe_load(text) or {}
    try:
        return Study.model_validate(content).model_dump(mode="json", by_alias=True) if content else {}
    except ValidationError:
        return content


def _flat(node: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from _flat(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, ", ".join(map(str, node)) if isinstance(node, list) else str(node)


def _warnings(sides: Sequence[_Side], shared: Sequence[str]) -> Iterator[str]:
    first = sides[0]
    for side in sides[1:]:
        other = [c for c in shared if side.cohorts[c].cohort_identity != first.cohorts[c].cohort_identity]
        nets = [c for c in shared if side.cohorts[c].classifier != first.cohorts[c].classifier]
        lacking = [c for c in first.cohorts if c not in side.cohorts] + [
            f"{c} (only in {side.name})" for c in side.cohorts if c not in first.cohorts
        ]
        if other:
            yield f"{side.name}: {', '.join(other)} hold other images than in {first.name}; common ones are paired."
        if nets:
            yield f"{side.name}: the networks of {', '.join(nets)} are not those of {first.name}, which counts too."
        if lacking:
            yield f"{side.name}: not compared, because not in both: {', '.join(lacking)}."
