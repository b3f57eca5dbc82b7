"""What the records say of one attacked image: every iterate's numbers, and every amplitude's last ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from advassay.records.row_shards import FLAG
from advassay.success import correct_on_clean, has_succeeded, predicted, probabilities
from advassay.viewer.opened_store import OpenedStore, network_name

OVER_STEPS = ("gradient_norm", "boundary_share", "linf", "l2", "scored_float32")
"""Columns over iterates that are shown beside the probabilities."""


def stored_row(opened: OpenedStore, run_id: str, image_id: str, step_size: str, epsilon: float) -> dict[str, Any]:
    """One row as JSON: keys, class names, and over iterates 0 … K logits, probabilities and measures.

    Numbers that are none (NaN) are null. Raises NotInStoreError.
    """
    row = opened.row(run_id, image_id, step_size, epsilon)
    run = opened.run(run_id)
    header, index = run.header, run.index
    logits = opened.column(run_id, "logits")[row]
    label = int(opened.column(run_id, "label")[row])
    over_steps = {name: _numbers(opened.column(run_id, name)[row]) for name in OVER_STEPS}
    l2 = opened.column(run_id, "l2")[row].astype(np.float64)
    pixels = header.channels * header.image_size_px**2
    with np.errstate(divide="ignore"):
        psnr = 10 * np.log10(pixels / np.square(l2))
    labels = np.array([label])
    return {
        "run": run_id,
        "cohort": header.cohort,
        "arm": header.arm,
        "network": network_name(header),
        "architecture": header.architecture,
        "image": image_id,
        "step_size": step_size,
        "step_sizes": opened.step_sizes(run_id),
        "epsilon": float(index.epsilon[row]),
        "epsilons": opened.epsilons(run_id, step_size),
        "steps": header.steps,
        "norm": header.attack.get("norm", "linf"),
        "classes": list(header.class_names),
        "label": label,
        "bits": header.bits,
        "channels": header.channels,
        "side": header.image_size_px,
        "logits": _numbers(logits),
        "probabilities": _probabilities(logits),
        "predicted": predicted(logits).tolist(),
        "attackable": bool(correct_on_clean(logits[:, None], labels)[0]),
        "misclassified": has_succeeded(logits[:, None], labels)[:, 0].tolist(),
        **over_steps,
        "psnr": _numbers(psnr),
        "ssim": _numbers(opened.column(run_id, "ssim")[row : row + 1])[0],
        "flags": [name for name in index.flags if bool(opened.column(run_id, FLAG + name)[row])],
        "by_epsilon": _by_epsilon(opened, run_id, row),
        "other_runs": other_runs(opened, image_id, cohort=header.cohort),
    }


def _by_epsilon(opened: OpenedStore, run_id: str, row: int) -> list[dict[str, Any]]:
    """Of every amplitude of the row's image: probabilities at the last iterate, and which class they decide for."""
    index, logits = opened.run(run_id).index, opened.column(run_id, "logits")
    mine = (index.image == index.image[row]) & (index.step_size == index.step_size[row]) & (index.restart == 0)
    return [
        {
            "epsilon": float(index.epsilon[one]),
            "probabilities": _probabilities(logits[one, -1]),
            "predicted": int(predicted(logits[one, -1])),
        }
        for one in np.flatnonzero(mine).tolist()
    ]


def other_runs(opened: OpenedStore, image_id: str, *, cohort: str | None = None) -> list[dict[str, Any]]:
    """Every current run (of one cohort) that attacked this image, with its step sizes and amplitudes."""
    return [
        {
            "run": run.header.run_id,
            "cohort": run.header.cohort,
            "arm": run.header.arm,
            "network": network_name(run.header),
            "points": {size: opened.epsilons(run.header.run_id, size) for size in opened.step_sizes(run.header.run_id)},
        }
        for run in opened.records.runs
        if cohort in (None, run.header.cohort) and image_id in run.images["image_id"]
    ]


def _probabilities(logits: np.ndarray) -> Any:
    with np.errstate(invalid="ignore"):
        return _numbers(probabilities(logits))


def _numbers(values: np.ndarray) -> Any:
    """Nested lists; null for what is no finite number."""
    if values.dtype == bool:
        return values.tolist()
    wide = values.astype(np.float64)
    told = wide.astype(object)
    told[~np.isfinite(wide)] = None
    return told.tolist()
