"""A multi-label model under attack: robust accuracy per finding, and of all findings together.

Each finding is attacked by itself, in a store of its own, on the same images. An image stands for all findings where no
attack on any of them changed a decision: an upper bound, as every robust accuracy is.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from advassay.analysis.intervals import counts, intervals
from advassay.analysis.worst_case import AttackGroup, attack_groups
from advassay.errors import SpecError
from advassay.records import Records

ANY = "any finding"
"""Stands in the column `finding` of rows over all of them."""
COLUMNS = {
    "finding": pl.String, "norm": pl.String, "epsilon": pl.Float64, "n": pl.Int64, "patients": pl.Int64,
    "correct": pl.Int64, "robust": pl.Int64, "rate": pl.Float64, "low": pl.Float64, "high": pl.Float64,
    "method": pl.String,
}  # fmt: skip


def robust_accuracy_by_finding(records: Mapping[str, Records], *, level: float = 0.95) -> pl.DataFrame:
    """Robust accuracy under the worst of all attacks, per finding and of all together, at ε that all were attacked at.

    `records`: finding → records of the attacks on its decision. Images: those that every finding was attacked on.
    Columns: finding (the last rows: "any finding"), norm, epsilon, n (images), patients, correct (decided as labelled
    before any attack; of all findings in the last rows), robust (of these unchanged by every attack at ε or below, on
    every finding in the last rows), rate = robust / n with low, high and method. Raises SpecError where an image is
    shared by no two findings, or no amplitude is.
    """
    groups = {finding: {group.norm: group for group in attack_groups(of)} for finding, of in records.items()}
    norms = set.intersection(*(set(of) for of in groups.values())) if groups else set()
    frames = [_of_norm({finding: of[norm] for finding, of in groups.items()}, level) for norm in sorted(norms)]
    rows = [row for frame in frames for row in frame]
    if not rows:
        raise SpecError(
            "records: expected findings attacked on the same images at the same amplitudes, got none in common.",
            "Evaluate all findings in one call: --finding all.",
        )
    return pl.DataFrame(rows, schema=COLUMNS)


def _of_norm(groups: Mapping[str, AttackGroup], level: float) -> list[dict[str, object]]:
    ids = sorted(set.intersection(*(set(group.ids) for group in groups.values())))
    amplitudes = sorted(set.intersection(*(set(group.amplitudes) for group in groups.values())))
    if not ids or not amplitudes:
        return []
    decisions = {}
    for finding, group in groups.items():
        at = {image: i for i, image in enumerate(group.ids)}
        place = [at[image] for image in ids]
        smallest = np.min(list(group.smallest.values()), axis=0)[place]
        robust = np.stack([smallest > epsilon for epsilon in amplitudes])
        decisions[finding] = group.correct[place], robust, group.patients[place]
    correct = np.logical_and.reduce([correct for correct, _, _ in decisions.values()])
    robust = np.logical_and.reduce([robust for _, robust, _ in decisions.values()])
    patients = next(iter(decisions.values()))[2]
    rows: list[dict[str, object]] = []
    for finding, (right, kept, whose) in {**decisions, ANY: (correct, robust, patients)}.items():
        stands = right & kept
        points = counts(stands, np.ones_like(stands), whose)
        low, high, method = intervals(points, level)
        rows += [
            {
                "finding": finding, "norm": next(iter(groups.values())).norm, "epsilon": epsilon, "n": len(ids),
                "patients": int(points.patients[k]), "correct": int(right.sum()), "robust": int(stands[k].sum()),
                "rate": float(points.rate[k]), "low": float(low[k]), "high": float(high[k]), "method": method[k],
            }
            for k, epsilon in enumerate(amplitudes)
        ]  # fmt: skip
    return rows
