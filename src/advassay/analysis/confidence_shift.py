"""Where images go: from class to class, and from clean to adversarial confidence."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from advassay import success as _success
from advassay.analysis.outcome_arrays import ONE_STEP_SIZE, OutcomeArrays, packs_of
from advassay.errors import SpecError
from advassay.records.store_reader import Records

BINS = 10


def transitions(
    records: Records, *, arm: str | None = None, step_size: str | None = None, step: int | None = None
) -> pl.DataFrame:
    """Images by label and predicted class: the confusion matrix, clean (ε = 0) and at `step` (None = last) of every ε.

    Columns: cohort, image_type, arm, step_size, epsilon, step, label, predicted (class names; predicted "none" where
    a logit is NaN), n, share (of the label's images, in [0, 1]; null without any). All attacked images, natively
    misclassified ones too; every pair of classes has a row. Raises SpecError for step_size="any".
    """
    packs = packs_of(records, arm, _one_step_size(step_size))
    return pl.DataFrame([row for pack in packs for row in _matrix(pack, step)], infer_schema_length=None)


def _matrix(pack: OutcomeArrays, step: int | None) -> list[dict[str, Any]]:
    k, names, classes = pack.step(step), pack.header.class_names, len(pack.header.class_names)
    clean = (0.0, 0, _success.predicted(pack.clean_logits), np.ones(len(pack.labels), bool))
    attacked = [(float(e), k, pack.decision[i, k], pack.present[i]) for i, e in enumerate(pack.epsilons)]
    rows = []
    for epsilon, at, decision, present in (clean, *attacked):
        code = pack.labels[present] * (classes + 1) + np.where(decision[present] < 0, classes, decision[present])
        table = np.bincount(code, minlength=classes * (classes + 1)).reshape(classes, classes + 1)
        targets = (*names, "none") if table[:, classes].any() else names
        rows += [
            about(pack) | {"epsilon": epsilon, "step": at, "label": names[i], "predicted": name, "n": int(table[i, j]),
                           "share": float(table[i, j] / table[i].sum()) if table[i].any() else None}
            for i in range(classes) for j, name in enumerate(targets)
        ]  # fmt: skip
    return rows


def confidence_flow(
    records: Records, *, arm: str | None = None, step_size: str | None = None, epsilon: float | None = None,
    bins: int = BINS,
) -> pl.DataFrame:  # fmt: skip
    """Images by clean and adversarial confidence (largest probability, last iterate), in equal bins over [0, 1].

    Columns: cohort, image_type, arm, step_size, epsilon, clean_low, clean_high, adversarial_low, adversarial_high,
    fallen (bool), n; attackable images only, empty cells left out. `epsilon` None = every one.
    Raises SpecError for an ε that was not attacked, and for step_size="any".
    """
    packs = packs_of(records, arm, _one_step_size(step_size))
    return pl.DataFrame([row for pack in packs for row in _flows(pack, epsilon, bins)], infer_schema_length=None)


def _flows(pack: OutcomeArrays, epsilon: float | None, bins: int) -> list[dict[str, Any]]:
    rows = []
    for at in range(len(pack.epsilons)) if epsilon is None else [pack.at(epsilon)]:
        kept = pack.attackable[at]
        before = _bin(pack.clean_confidence[kept], bins)
        after = _bin(_success.confidence(pack.final_logits[at, kept]), bins)
        cells, n = np.unique(np.stack([before, after, pack.last[at, -1, kept]]), axis=1, return_counts=True)
        rows += [
            about(pack) | {
                "epsilon": float(pack.epsilons[at]), "clean_low": b / bins, "clean_high": (b + 1) / bins,
                "adversarial_low": a / bins, "adversarial_high": (a + 1) / bins, "fallen": bool(f), "n": count,
            }
            for (b, a, f), count in zip(cells.T.tolist(), n.tolist(), strict=True)
        ]  # fmt: skip
    return rows


def _bin(confidence: np.ndarray, bins: int) -> np.ndarray:
    """Index of the bin [i/bins, (i+1)/bins), the last closed; rounding at 1e-12 keeps 0.3 in the bin it begins."""
    return np.clip(np.floor(np.round(np.nan_to_num(confidence) * bins, 9)), 0, bins - 1).astype(np.int64)


def about(pack: OutcomeArrays) -> dict[str, Any]:
    """The columns that say which curve a row belongs to."""
    header = pack.header
    return {
        "cohort": header.cohort, "image_type": header.image_type, "arm": header.arm, "step_size": pack.step_size,
    }  # fmt: skip


def _one_step_size(step_size: str | None) -> str | None:
    if step_size == "any":
        problem = 'step_size: expected one recorded step size, got "any" (it has no logits of its own).'
        raise SpecError(problem, ONE_STEP_SIZE)
    return step_size
