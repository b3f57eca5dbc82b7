"""Robust accuracy under the worst of all recorded attacks, image by image, and which attack found what.

An image counts as robust at ε only where no attack misclassified it: no arm, step size, restart or iterate, at ε or at
any smaller amplitude, since the balls are nested. That is an upper bound of the model's robust accuracy: an attack
that was not run may find more. Reported so by Croce and Hein 2020 (AutoAttack, arXiv 2003.01690, section 5). Only a
certified bound would say how far below it the truth may lie; none is computed here. It would have to prove the images
that no attack misclassified.

Searches (square, fab, …) may attack a sample only. They take images away and never add any, so that the bound holds for
all images, and is as tight as it can be on the sample.
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
from advassay.spec.attack_components import UPDATE_RULES
from advassay.success import is_adversarial, predicted


def worst_case_robust_accuracy(records: Records, *, level: float = 0.95) -> pl.DataFrame:
    """Share of all attacked images that are classified correctly and that no attack misclassified, per cohort and ε.

    Over the main network's declared runs of one norm and their linked re-runs; on the images that every arm attacked
    which is no search.
    Columns: cohort, norm, epsilon (every recorded one), n, patients, robust (images), rate with low, high and method,
    arms (how many were run at this or a smaller ε), found_by (arm → images that it misclassified, as text "arm 12, …"),
    only_by (arms that alone misclassified some image, likewise). Raises SpecError where nothing is recorded.
    """
    rows = [row for group in attack_groups(records) for row in _rows(group, level)]
    return pl.DataFrame(rows, infer_schema_length=None)


ATTACKS = {
    "cohort": pl.String, "norm": pl.String, "epsilon": pl.Float64, "arm": pl.String, "update": pl.String,
    "gradients": pl.Boolean, "n": pl.Int64, "found": pl.Int64, "alone": pl.Int64,
    "beyond_gradients": pl.Int64, "queries": pl.Float64,
}  # fmt: skip


def worst_case_by_attack(records: Records) -> pl.DataFrame:
    """Who found what: one row per cohort, norm, ε and arm that attacked at ε or below. Runs and images as above.

    Columns: cohort, norm, epsilon, arm, update, gradients (whether it follows them; null where the rule is not
    registered here), n (images that it attacked and that the model gets right), found (of these misclassified at ε or
    below), alone (found by no other arm), beyond_gradients (found by no arm that follows gradients: a sign of masked
    gradients), queries (mean forward passes of a row at ε, searches alone; else null).
    """
    rows = [row for group in attack_groups(records) for row in _attack_rows(group)]
    return pl.DataFrame(rows, schema=ATTACKS)


class AttackGroup:
    """The runs of one cohort and norm: per arm and image the smallest ε at which it is misclassified."""

    def __init__(self, cohort: str, norm: str, runs: list[Run], again: dict[str | None, Run]) -> None:
        self.cohort, self.norm, self.runs = cohort, norm, runs
        whole = [run for run in runs if not _is_search(run)] or runs
        self.ids = sorted(set.intersection(*(set(_attacked(run)) for run in whole)))
        place = {image: i for i, image in enumerate(self.ids)}
        self.smallest: dict[str, np.ndarray] = {}
        self.attacked: dict[str, np.ndarray] = {}
        """(image,) bool"""
        for run in runs:
            found = _smallest(run, place)
            if run.header.run_id in again:
                found = np.minimum(found, _smallest(again[run.header.run_id], place))
            arm = run.header.arm
            self.smallest[arm] = np.minimum(self.smallest[arm], found) if arm in self.smallest else found
            here = np.isin(self.ids, _attacked(run))
            self.attacked[arm] = self.attacked[arm] | here if arm in self.attacked else here
        self.correct, self.patients = _clean(whole[0], place)
        self.grids = {run.header.arm: {e for _, e in run.index.points() if e > 0} for run in runs}
        self.amplitudes = sorted(set.union(*self.grids.values()))

    def misclassified(self) -> dict[str, np.ndarray]:
        """Arm → (epsilon, image): misclassified at this or a smaller amplitude."""
        return {arm: np.stack([at <= e for e in self.amplitudes]) for arm, at in self.smallest.items()}


def attack_groups(records: Records) -> list[AttackGroup]:
    """Those in which some image was attacked. Raises SpecError where there is none."""
    runs: dict[tuple[str, str], list[Run]] = {}
    for run in records.runs:
        if run.header.primary and len(run.index):
            runs.setdefault((run.header.cohort, str(run.header.attack.get("norm"))), []).append(run)
    if not runs:
        raise SpecError("records: expected at least one attacked image, got none.", NEXT)
    again = {header.rerun_of: records.run(header.run_id) for header in records.reruns}
    groups = [AttackGroup(cohort, norm, of, again) for (cohort, norm), of in runs.items()]
    return [group for group in groups if group.ids]


def _is_search(run: Run) -> bool:
    """Whether the run is of a search: its rows hold both ends alone. Its rule may not be registered here."""
    rule = UPDATE_RULES.find(run.header.attack.get("update"))
    return run.header.steps != run.header.attack.get("steps", run.header.steps) or (rule is not None and rule.searches)


def _rows(group: AttackGroup, level: float) -> list[dict[str, Any]]:
    ids, correct, patients, grids = group.ids, group.correct, group.patients, group.grids
    cohort, norm, amplitudes, misclassified = group.cohort, group.norm, group.amplitudes, group.misclassified()
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


def _attack_rows(group: AttackGroup) -> list[dict[str, Any]]:
    misclassified = {arm: of & group.correct for arm, of in group.misclassified().items()}
    times = np.sum(list(misclassified.values()), axis=0)
    nothing = np.zeros_like(next(iter(misclassified.values())))
    by_gradients = np.logical_or.reduce(
        [nothing, *(of for arm, of in misclassified.items() if _needs_gradient(group, arm))]
    )
    queries = {run.header.arm: _queries(run) for run in group.runs}
    rules = {run.header.arm: str(run.header.attack.get("update")) for run in group.runs}
    rows = []
    for k, epsilon in enumerate(group.amplitudes):
        for arm, of in misclassified.items():
            if min(group.grids[arm]) > epsilon:
                continue
            rows.append(
                {
                    "cohort": group.cohort, "norm": group.norm, "epsilon": epsilon, "arm": arm, "update": rules[arm],
                    "gradients": _needs_gradient(group, arm),
                    "n": int((group.attacked[arm] & group.correct).sum()), "found": int(of[k].sum()),
                    "alone": int((of[k] & (times[k] == 1)).sum()),
                    "beyond_gradients": int((of[k] & ~by_gradients[k]).sum()), "queries": queries[arm].get(epsilon),
                }
            )  # fmt: skip
    return rows


def _needs_gradient(group: AttackGroup, arm: str) -> bool | None:
    """Whether an arm follows gradients; None of an update rule that is not registered here."""
    update = next(run.header.attack.get("update") for run in group.runs if run.header.arm == arm)
    rule = UPDATE_RULES.find(update)
    return None if rule is None else rule.needs_gradient


def _queries(run: Run) -> dict[float, float]:
    """ε → mean forward passes of a row there, of images that were searched; empty where they were not counted."""
    passes, epsilon = run.column("forward_passes"), run.index.epsilon
    return {float(e): float(passes[(epsilon == e) & (passes > 0)].mean()) for e in np.unique(epsilon[passes > 0])}


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
