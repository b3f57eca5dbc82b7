"""What a comparison found, in sentences: where success is higher, where lower, where neither is shown."""

from __future__ import annotations

import polars as pl

from advassay.report.comparing import Comparison
from advassay.report.wording import listed, number, points


def statements(found: Comparison) -> list[str]:
    """One paragraph for each store but the first."""
    return [_of_store(found, name) for name in found.names[1:]]


def _of_store(found: Comparison, store: str) -> str:
    frame = found.tables.get("differences")
    rows = pl.DataFrame() if frame is None else frame.filter(store=store)
    against = f"{store} against {found.names[0]}"
    if rows.is_empty():
        return f"{against}: no image was attackable in both, so nothing is paired; curves are of different images."
    shown = pl.col("p_adjusted") <= 1 - found.level
    higher, lower = (rows.filter(shown & (sign * pl.col("difference") > 0)) for sign in (1, -1))
    differ = {*higher["cohort"], *lower["cohort"]}
    told = [
        f"success is {word} in {_largest(part)}" for word, part in (("higher", higher), ("lower", lower)) if len(part)
    ]
    alike = rows.filter(~pl.col("cohort").is_in(differ))
    if len(alike):
        told.append(f"no difference is shown in {listed(_cohorts(alike))}, where intervals reach from {_reach(alike)}")
    lacking = [name for name in found.cohorts if name not in set(rows["cohort"])]
    if lacking:
        told.append(f"nothing is paired in {listed(lacking)}, without an image attackable in both")
    return f"{against}: {'; '.join(told)}."


def _largest(rows: pl.DataFrame) -> str:
    """Each cohort with its largest difference, e.g. "X-TB (+12 points [+4, +20] at ε = 0.02, p = 0.01)"."""
    told = []
    for (cohort,), part in rows.group_by("cohort", maintain_order=True):
        one = part.sort(pl.col("difference").abs(), descending=True).row(0, named=True)
        told.append(
            f"{cohort} ({points(one['difference'])} points [{points(one['low'])}, {points(one['high'])}] at "
            f"ε = {one['epsilon']:g}, p = {number(one['p_adjusted'], 2)})"
        )
    return listed(told)


def _reach(rows: pl.DataFrame) -> str:
    low, high = rows.select(pl.col("low").min(), pl.col("high").max()).row(0)
    return f"{points(low)} to {points(high)} points"


def _cohorts(rows: pl.DataFrame) -> list[str]:
    return rows["cohort"].unique(maintain_order=True).to_list()
