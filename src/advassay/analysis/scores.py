"""How well the classifier still does its clinical job, clean and under each ε."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from advassay import success
from advassay.analysis.calibration import calibration_error
from advassay.analysis.flow import about
from advassay.analysis.intervals import counts, intervals
from advassay.analysis.packed import ONE_STEP_SIZE, Packed
from advassay.analysis.selection import packs_of
from advassay.errors import SpecError
from advassay.records.store import Records


def performance(
    records: Records, *, arm: str | None = None, step_size: str | None = None, level: float = 0.95
) -> pl.DataFrame:
    """Scores on all attacked images with a decision, clean (ε = 0) and at the last iterate of every ε.

    Columns: cohort, image_type, arm, step_size, epsilon, n, patients, accuracy with low, high and method, auroc,
    sensitivity, specificity, balanced_accuracy, ece (expected calibration error, see `reliability`). Sensitivity is
    the recall of the cohort's positive class, specificity that of all others together (two classes only, else null);
    balanced accuracy is the mean recall.

    Raises SpecError for `step_size="any"`: the worst of several step sizes has verdicts but no logits of its own.
    """
    if step_size == "any":
        raise SpecError('step_size: performance needs one recorded step size, got "any".', ONE_STEP_SIZE)
    rows = [row for pack in packs_of(records, arm, step_size) for row in _rows(pack, level)]
    return pl.DataFrame(rows, infer_schema_length=None)


def _rows(pack: Packed, level: float) -> list[dict[str, Any]]:
    clean = (0.0, pack.clean_logits, np.ones(len(pack.labels), bool))
    attacked = [(float(e), pack.final_logits[i], pack.present[i]) for i, e in enumerate(pack.epsilons)]
    # A NaN logit is no decision: such an image is neither right nor wrong.
    states = [(e, logits, there & ~np.isnan(logits).any(axis=1)) for e, logits, there in (clean, *attacked)]
    correct = np.stack([success.predicted(logits) == pack.labels for _, logits, _ in states])
    decided = np.stack([there for _, _, there in states])
    points = counts(correct, decided, pack.patients, len(pack.patient_ids))
    low, high, method = intervals(points, level)  # all at once: one set of resampled patients
    return [
        about(pack)
        | {
            "epsilon": epsilon, "n": int(points.n[i]), "patients": int(points.patients[i]),
            "accuracy": float(points.rate[i]), "low": float(low[i]), "high": float(high[i]), "method": method[i],
        }
        | _scores(pack, logits[there], pack.labels[there], correct[i, there])
        for i, (epsilon, logits, there) in enumerate(states)
    ]  # fmt: skip


def _scores(pack: Packed, logits: np.ndarray, labels: np.ndarray, correct: np.ndarray) -> dict[str, Any]:
    names = pack.header.class_names
    positive = names.index(pack.header.positive) if pack.header.positive in names else 0
    two = len(names) == 2
    recalls = [_share(correct[labels == label]) for label in range(len(names))]
    known = [recall for recall in recalls if recall is not None]
    return {
        "auroc": auroc(logits, labels, positive),
        "sensitivity": recalls[positive] if two else None,
        "specificity": recalls[1 - positive] if two else None,
        "balanced_accuracy": sum(known) / len(known) if known else None,
        "ece": calibration_error(success.confidence(logits), correct) if len(logits) else None,
    }


def _share(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def auroc(logits: np.ndarray, labels: np.ndarray, positive: int = 0) -> float | None:
    """Area under the ROC curve; two classes: of `positive`; more: mean of each class against the rest.

    `logits` (image, class), `labels` (image,). The Mann–Whitney form (Hanley & McNeil 1982), ties count half.
    None where a class is absent or a logit is NaN.

    >>> auroc(np.array([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), np.array([0, 0, 1]))
    1.0
    """
    if not len(labels) or np.isnan(logits).any():
        return None
    probability = success.probabilities(logits)
    classes = [positive] if logits.shape[1] == 2 else range(logits.shape[1])
    areas = [_area(probability[:, c], labels == c) for c in classes]
    known = [area for area in areas if area is not None]
    return float(np.mean(known)) if len(known) == len(areas) else None


def _area(score: np.ndarray, positive: np.ndarray) -> float | None:
    p, n = int(positive.sum()), int((~positive).sum())
    if not p or not n:
        return None
    ranks = stats.rankdata(score)
    return float((ranks[positive].sum() - p * (p + 1) / 2) / (p * n))


def chance_reach(sizes: list[float], z: float = 1.96) -> float:
    """How far from 0.5 chance alone takes an AUROC in 95 of 100 cohorts with these sizes of classes.

    z · √((p + q + 1) / 12pq), the exact variance of Mann and Whitney's statistic where scores say nothing (Mann &
    Whitney 1947); more than two classes: the mean over classes, each against the rest, which is on the wide side.
    Sizes are patients' worth of images, on the wide side too: better one notice too many than one too few.

    >>> round(chance_reach([50, 50]), 3), round(chance_reach([4, 4]), 3)
    (0.114, 0.424)
    """
    whole = sum(sizes)
    pairs = [(p, whole - p) for p in (sizes[:1] if len(sizes) == 2 else sizes) if 0 < p < whole]
    reaches = [z * math.sqrt((whole + 1) / (12 * p * q)) for p, q in pairs]
    return sum(reaches) / len(reaches) if reaches else math.nan
