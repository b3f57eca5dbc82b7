"""Two or more stores side by side: the same cohorts' curves, paired differences, and what was set differently."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from advassay.analysis.conclusions.conclusion_text import readings
from advassay.analysis.conclusions.evidence import PlanInForce, plan_in_force
from advassay.analysis.interval_text import with_known_patients
from advassay.errors import ReportError
from advassay.records.run_header import RunHeader
from advassay.records.store_reader import Records, open_records
from advassay.report.comparison.setting_differences import ExecutionInfo, differing
from advassay.report.data import stored_counts
from advassay.report.data.stored_counts import headers_with_stored_counts, null_non_finite
from advassay.report.text import captions
from advassay.report.text.number_format import listed
from advassay.spec.analysis_plan import AnalysisPlan

WANTED = 0.02
"""The amplitude of curves over iterations: the shared one nearest to it."""

COMPARED = {
    "stores": "what was compared: the arm of each store's analysis plan",
    "verdicts": "the five verdicts of every store, each over all of its own cohorts",
    "epsilon50": "ε50 of the compared cohorts in every store, the arm of its plan",
    "curves": "success against ε, the arm of each store's plan",
    "iterations": "success against iterations at one ε, the arm of each store's plan",
    "differences": "success of a store minus success of the first one on the same images, at every shared ε, "
    "after all iterations",
    "settings": "what differs, for the compared cohorts, between the resolved study files and between what made the "
    "records",
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
    in_force: PlanInForce
    """The first store's analysis plan: its iterate and dose readings and its level are those of every store here."""

    def __repr__(self) -> str:
        """A summary."""
        return f"Comparison({' against '.join(self.names)}: {', '.join(self.cohorts)}; {len(self.tables)} tables)"

    def to_polars(self, table: str = "differences") -> pl.DataFrame:
        """A table of `COMPARED` by name; by default the paired differences. Raises ReportError for one not made."""
        if table not in self.tables:
            raise ReportError(
                f"table: expected one of {', '.join(self.tables)}, got {table!r}.", "`tables` holds all of them."
            )
        return self.tables[table]

    @property
    def plan(self) -> AnalysisPlan:
        return self.in_force.plan

    @property
    def level(self) -> float:
        """Confidence level of every interval but those of the verdicts."""
        return self.plan.level


@dataclass(frozen=True)
class _StoreSide:
    name: str
    records: Records
    runs: list[RunHeader]
    """Main networks' runs of the arm that its plan names."""
    in_force: PlanInForce

    @property
    def arm(self) -> dict[str, Any]:
        """Arm and step size of this store's plan."""
        return {"arm": self.in_force.arm, "step_size": self.in_force.step_size()}

    @property
    def cohorts(self) -> dict[str, RunHeader]:
        return {header.cohort: header for header in self.runs}


def check_several(stores: Sequence[object]) -> None:
    """Raise ReportError for fewer than two stores."""
    if len(stores) < 2:
        raise ReportError(f"stores: expected at least two, got {len(stores)}.", "Name them: `advassay compare A B`.")


def compare(stores: Sequence[Path | Records]) -> Comparison:
    """Compare two or more stores over the cohorts and ε that all of them recorded.

    Each store is shown in the arm and step size of its own analysis plan, all by the readings and the level of the
    first store's plan; the verdicts are each store's own.

    Raises ReportError for fewer than two stores, for stores without a common cohort, or without a common ε;
    StoreError where a folder holds no store.
    """
    check_several(stores)
    sides = _sides([s if isinstance(s, Records) else open_records(s) for s in stores])
    first = sides[0]
    shared = [name for name in first.cohorts if all(name in side.cohorts for side in sides)]
    if not shared:
        raise ReportError(
            f"stores: a cohort that all of them attacked is needed, found none in {_of_each(sides)}.",
            "Compare stores of the same cohorts; a report of each stands alone: `advassay report STORE`.",
        )
    grids = [stored_counts.shared_epsilons((s.cohorts[name] for name in shared), s.in_force.step_size()) for s in sides]
    grid = [epsilon for epsilon in grids[0] if all(epsilon in other for other in grids[1:])]
    epsilon = stored_counts.nearest_available(WANTED, grid)
    if epsilon is None:
        raise ReportError(
            "stores: an ε that all main arms recorded for their common cohorts is needed, found none.",
            "Give the studies an ε in common and run them again: only what is missing is attacked.",
        )
    tables = {
        "stores": pl.DataFrame([_about(side) for side in sides]),
        "verdicts": pl.DataFrame(list(_verdicts(sides))),
        "epsilon50": _epsilon50(sides, shared),
        "curves": _curves(sides, shared),
        "iterations": _iterations(sides, shared, epsilon),
        "differences": _differences(sides, shared, grid),
        "settings": differing({s.name: ExecutionInfo(s.records.study_text, s.runs) for s in sides}, shared),
    }
    return Comparison(
        names=tuple(side.name for side in sides),
        cohorts={name: first.cohorts[name].image_type or "images" for name in shared},
        epsilon=epsilon,
        tables={
            name: with_known_patients(null_non_finite(frame), first.records.preparations)
            for name, frame in tables.items()
            if len(frame)
        },
        warnings=list(_warnings(sides, shared)),
        in_force=first.in_force,
    )


def _sides(stores: Sequence[Records]) -> list[_StoreSide]:
    """With names that differ: the folder's, numbered where two are alike."""
    folders = [records.root.resolve().name for records in stores]
    names = [name if folders.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(folders)]
    sides = [_side(name, r) for name, r in zip(names, stores, strict=True)]
    for side in sides:
        if not side.runs:
            raise ReportError(
                f"store: at least one recorded attack is needed, {side.records.root} holds none.",
                "Run `advassay run STUDY --store STORE`, or `advassay attack`, first.",
            )
    return sides


def _side(name: str, records: Records) -> _StoreSide:
    if not records.arms:
        raise ReportError(
            f"store: at least one recorded attack is needed, {records.root} holds none.",
            "Run `advassay run STUDY --store STORE`, or `advassay attack`, first.",
        )
    order = {cohort: place for place, cohort in enumerate(records.cohorts)}
    in_force = plan_in_force(records)
    found = [h for h in headers_with_stored_counts(records) if h.primary and h.arm == in_force.arm]
    return _StoreSide(name, records, sorted(found, key=lambda header: order[header.cohort]), in_force)


def _of_each(sides: Sequence[_StoreSide]) -> str:
    return "; ".join(f"{side.name}: {', '.join(side.cohorts)}" for side in sides)


def _about(side: _StoreSide) -> dict[str, Any]:
    return {
        "store": side.name, "attack": captions.attack(side.runs, _step_size(side)), "cohorts": ", "
                                                                                                      "".join(side.cohorts),
        "images": sum(header.images for header in side.runs),
        "versions": ", ".join(f"{name} {version}" for name, version in side.runs[0].versions.items()),
    }  # fmt: skip


def _step_size(side: _StoreSide) -> str:
    return side.in_force.step_size() or next(iter(side.records.step_sizes(side.in_force.arm)), "")


def _read(sides: Sequence[_StoreSide]) -> dict[str, Any]:
    """Iterate reading and level of every curve: the first store's."""
    return {"success": sides[0].in_force.plan.success, "level": sides[0].in_force.plan.level}


def _verdicts(sides: Sequence[_StoreSide]) -> Iterator[dict[str, Any]]:
    """One row a question and store, stores of a question together."""
    from advassay.analysis.conclusions import conclusions
    from advassay.analysis.conclusions.conclusion import count_of

    for of_question in zip(*(conclusions(side.records) for side in sides), strict=True):
        for side, one in zip(sides, of_question, strict=True):
            yield {
                "question": f"{one.number}. {one.title}", "store": side.name, "verdict": one.verdict,
                "text": one.effect, "level": one.level, "cohorts": count_of(one.n, one.unit), "arm": one.arm,
                "estimate": one.estimate, "low": one.low, "high": one.high,
            }  # fmt: skip


def _epsilon50(sides: Sequence[_StoreSide], shared: Sequence[str]) -> pl.DataFrame:
    from advassay.analysis import epsilon50

    dose = sides[0].in_force.plan.dose
    return _of_stores({s.name: epsilon50(s.records, dose=dose, **s.arm, **_read(sides)) for s in sides}, shared)


def _curves(sides: Sequence[_StoreSide], shared: Sequence[str]) -> pl.DataFrame:
    from advassay.analysis import success_curve

    return _of_stores({s.name: success_curve(s.records, **s.arm, **_read(sides)).frame for s in sides}, shared)


def _iterations(sides: Sequence[_StoreSide], shared: Sequence[str], epsilon: float) -> pl.DataFrame:
    from advassay.analysis import success_curve

    frames = {s.name: success_curve(s.records, "step", epsilon=epsilon, **s.arm, **_read(sides)).frame for s in sides}
    return _of_stores(frames, shared)


def _of_stores(frames: dict[str, pl.DataFrame], shared: Sequence[str]) -> pl.DataFrame:
    named = [frame.select(pl.lit(name).alias("store"), pl.all()) for name, frame in frames.items()]
    order = pl.DataFrame({"cohort": list(shared)})
    return order.join(pl.concat(named, how="diagonal_relaxed"), on="cohort", maintain_order="left_right")


def _differences(sides: Sequence[_StoreSide], shared: Sequence[str], grid: Sequence[float]) -> pl.DataFrame:
    """Of each store against the first at every shared ε; p adjusted (Holm) over the store's cohorts and ε together.

    One family a store, because a reader asks of a store whether it differs anywhere.
    """
    from advassay.analysis import Condition, paired_comparison
    from advassay.analysis.differences import holm

    first, frames = sides[0], []
    for side in sides[1:]:
        for epsilon in grid:
            success = first.in_force.plan.success
            before, after = (Condition(epsilon=epsilon, success=success, **one.arm) for one in (first, side))
            level = first.in_force.plan.level
            found = paired_comparison(first.records, before, after, other=side.records, level=level)
            about = (pl.lit(side.name).alias("store"), pl.lit(first.name).alias("against"))
            frames.append(found.select(*about, pl.all()).with_columns(epsilon=pl.lit(epsilon)))
    order = pl.DataFrame({"cohort": list(shared)})
    joined = order.join(pl.concat(frames, how="diagonal_relaxed"), on="cohort", maintain_order="left_right")
    paired = joined.filter(pl.col("n") > 0)
    adjusted = pl.col("p").map_batches(lambda p: pl.Series(holm(p.to_numpy())), return_dtype=pl.Float64)
    return paired.with_columns(p_adjusted=adjusted.over("store"))


def _warnings(sides: Sequence[_StoreSide], shared: Sequence[str]) -> Iterator[str]:
    first = sides[0]
    for side in sides[1:]:
        own, usual = side.in_force.plan, first.in_force.plan
        if (own.success, own.dose, own.level) != (usual.success, usual.dose, usual.level):
            yield (
                f"{side.name}: its analysis plan has other readings or another level ({readings(own)}; "
                f"{100 * own.level:g}% intervals). Its verdicts keep them; its curves and ε50 here are read as "
                f"those of {first.name} ({readings(usual)}; {100 * usual.level:g}% intervals)."
            )
        other = [c for c in shared if side.cohorts[c].cohort_identity != first.cohorts[c].cohort_identity]
        nets = [c for c in shared if side.cohorts[c].classifier != first.cohorts[c].classifier]
        lacking = [c for c in first.cohorts if c not in side.cohorts] + [
            f"{c} (only in {side.name})" for c in side.cohorts if c not in first.cohorts
        ]
        if other:
            yield (
                f"{side.name}: {listed(other)} {'is' if len(other) == 1 else 'are'} not as in {first.name} (other "
                "images, or prepared otherwise); only images with the same source pixels are paired."
            )
        if nets:
            yield (
                f"{side.name}: the networks of {listed(nets)} are not those of {first.name}; a difference there may "
                "come from the networks as well as from the attack."
            )
        if lacking:
            yield f"{side.name}: not compared, because not in both: {', '.join(lacking)}."
