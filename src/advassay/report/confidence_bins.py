"""Success in bins of the clean confidence, every arm at the figures' amplitude."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from advassay.analysis.bins import edges, labels, members
from advassay.analysis.groups import grouped
from advassay.analysis.packed import Packed
from advassay.analysis.plan_in_force import PlanInForce
from advassay.analysis.points import Cell, Cells, frame_of
from advassay.analysis.questions.confidence import suspect_images
from advassay.records.header import RunHeader
from advassay.records.store import Records
from advassay.report import amplitudes
from advassay.success import Reading

Where = dict[tuple[str, str], float]
"""(arm, cohort) → ε."""


def by_confidence(records: Records, runs: Sequence[RunHeader], epsilon: float, plan: PlanInForce) -> pl.DataFrame:
    """Figure 3c: success in bins of clean confidence, every arm at `epsilon` or the nearest one that its cohorts share.

    Columns as `success_curve`, and suspect_images: of n, those flagged as saturated or without a gradient.
    """
    usual: Where = {}
    for arm in records.arms:
        of_arm = [header for header in runs if header.primary and header.arm == arm]
        at = amplitudes.nearest(epsilon, amplitudes.shared(of_arm, plan.step_size(arm)))
        usual |= {(arm, header.cohort): at for header in of_arm if at is not None}
    frames = [_at(records, arm, usual, plan) for arm in records.arms]
    return pl.concat([frame for frame in frames if len(frame)], how="diagonal_relaxed")


def _at(records: Records, arm: str, where: Where, plan: PlanInForce) -> pl.DataFrame:
    of_arm = {cohort: epsilon for (name, cohort), epsilon in where.items() if name == arm}
    if not of_arm:
        return pl.DataFrame()
    groups = grouped(records, ("cohort",), arm, plan.step_size(arm))
    return frame_of(groups, _cells(of_arm, plan.plan.success), plan.plan.level)


def _cells(where: Mapping[str, float], success: Reading) -> Cells:
    def cells(pack: Packed) -> list[Cell]:
        if pack.header.cohort not in where:
            return []
        epsilon, classes = where[pack.header.cohort], len(pack.header.class_names)
        at, suspect = pack.at(epsilon), suspect_images(pack)
        inside = members(pack.clean_confidence, classes) & pack.attackable[at]
        named = zip(labels(classes), edges(classes), inside, strict=True)
        here = {"epsilon": float(pack.epsilons[at]), "step": pack.step(None)}
        return [
            (
                here | {"bin": name, "bin_low": low, "bin_high": high, "suspect_images": int((within & suspect).sum())},
                pack.fallen(success)[at, -1],
                within,
            )
            for name, (low, high), within in named
        ]

    return cells
