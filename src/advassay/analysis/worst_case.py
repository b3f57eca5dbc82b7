"""Robust accuracy under the worst of all recorded attacks, image by image, and which attack found what.

An image counts as robust at ε only where no attack misclassified it: no arm, step size, restart or iterate, at ε or at
any smaller amplitude, since the balls are nested. That is an upper bound of the model's robust accuracy: an attack
that was not run may find more. Reported so by Croce and Hein 2020 (AutoAttack, arXiv 2003.01690, section 5). Only a
certified bound would say how far below it the truth may lie; none is computed here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from advassay.analysis.intervals import counts, intervals
from advassay.analysis.outcome_arrays import NEXT
from advassay.errors import SpecError
from advassay.records.run_reader import Run
from advassay.records.store_reader import Records
from advassay.success import is_adversarial, predicted


def worst_case_robust_accuracy(records: Records, *, level: float = 0.95) -> pl.DataFrame:
    """Share of all attacked images that are classified correctly and that no attack misclassified, per cohort and ε.

    Over the main network's declared runs of one norm and their linked re-runs; on the images that every arm attacked.
    Columns: cohort, norm, epsilon (every recorded one), n, patients, robust (images), rate with low, high and method,
    arms (how many were run at this or a smaller ε), found_by (arm → images that it misclassified, as text "arm 12, …"),
    only_by (arms that alone misclassified some image, likewise). Raises SpecError where nothing is recorded.
    """
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in records.runs:
        if run.header.primary and len(run.index):
            groups.setdefault((run.header.cohort, str(run.header.attack.get("norm"))), []).append(run)
    if not groups:
        raise SpecError("records: expected at least one attacked image, got none.", NEXT)
    again = {header.rerun_of: records.run(header.run_id) for header in records.reruns}
    rows = [
        row for (cohort, norm), runs in groups.items() for row in _rows(cohort, norm, runs, again, level)
    ]  # fmt: skip
    return pl.DataFrame(rows, infer_schema_length=None)


def _rows(cohort: str, norm: str, runs: list[Run], again: dict[str | None, Run], level: float) -> list[dict[str, Any]]:
    ids = sorted(set.intersection(*(set(_attacked(run)) for run in runs)))
    if not ids:
        return []
    place = {image: i for i, image in enumerate(ids)}
    smallest: dict[str, np.ndarray] = {}
    for run in runs:
        found = _smallest(run, place)
        if run.header.run_id in again:
            found = np.minimum(found, _smallest(again[run.header.run_id], place))
        arm = run.header.arm
        smallest[arm] = np.minimum(smallest[arm], found) if arm in smallest else found
    correct, patients = _clean(runs[0], place)
    grids = {run.header.arm: {e for _, e in run.index.points() if e > 0} for run in runs}
    amplitudes = sorted(set.union(*grids.values()))
    misclassified = {arm: np.stack([at <= epsilon for epsilon in amplitudes]) for arm, at in smallest.items()}
    fallen = np.logical_or.reduce(list(misclassified.values()))
    robust = correct & ~fallen
    points = counts(robust, np.ones_like(robust), patients)
    low, high, method = intervals(points, level)
    return [
        {
            "cohort": cohort, "norm": norm, "epsilon": epsilon, "n": len(ids), "patients": int(points.patients[k]),
            "robust": int(robust[k].sum()), "rate": float(points.rate[k]), "low": float(low[k]), "high": float(high[k]),
            "method": method[k], "arms": sum(min(grid) <= epsilon for grid in grids.values()),
            "found_by": _told({arm: int((of[k] & correct).sum()) for arm, of in misclassified.items()}),
            "only_by": _told(_alone({arm: of[k] & correct for arm, of in misclassified.items()})),
        }
        for k, epsilon in enumerate(amplitudes)
    ]  # fmt: skip


def _attacked(run: Run) -> list[str]:
    return run.images["image_id"].gather(np.unique(run.index.image)).to_list()


def _smallest(run: Run, place: dict[str, int]) -> np.ndarray:
    """(image,): the smallest ε at which any iterate of any row misclassifies the image; infinite where none does."""
    logits, labels = run.column("logits")[:, 1:], run.column("label")
    down = is_adversarial(logits.swapaxes(0, 1), labels).any(axis=0) & (run.index.epsilon > 0)
    found = np.full(len(place), np.inf)
    at = np.array([place.get(image, -1) for image in run.images["image_id"]], np.int64)[run.index.image]
    kept = down & (at >= 0)
    np.minimum.at(found, at[kept], run.index.epsilon[kept])
    return found


def _clean(run: Run, place: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """(image,) bool: classified correctly before any attack; (image,) code of its patient."""
    logits, labels = run.column("logits")[:, 0], run.column("label")
    at = np.array([place.get(image, -1) for image in run.images["image_id"]], np.int64)[run.index.image]
    correct = np.zeros(len(place), bool)
    correct[at[at >= 0]] = (predicted(logits) == labels)[at >= 0]
    known = dict(run.images.select("image_id", "patient_id").iter_rows())
    return correct, np.unique([str(known[image]) for image in place], return_inverse=True)[1]


def _alone(misclassified: dict[str, np.ndarray]) -> dict[str, int]:
    """Arm → images that it alone misclassified."""
    times = np.sum(list(misclassified.values()), axis=0)
    return {arm: n for arm, of in misclassified.items() if (n := int((of & (times == 1)).sum()))}


def _told(numbers: dict[str, int]) -> str:
    return ", ".join(f"{arm} {n}" for arm, n in numbers.items())
