"""What is read beside a success rate: how often guards and failure indicators were set, and what restarts add."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from advassay import success
from advassay.analysis.confidence_shift import about
from advassay.analysis.intervals import counts, intervals
from advassay.analysis.outcome_arrays import NEXT, OutcomeArrays, first_step_size, runs_of, step_sizes
from advassay.analysis.success_curves import run_subsets
from advassay.errors import SpecError
from advassay.records.run_reader import Run
from advassay.records.store_reader import Records


def flags_summary(records: Records, *, arm: str | None = None, step_size: str | None = None) -> pl.DataFrame:
    """Flagged images per cohort, arm, step size, ε and flag; `arm` and `step_size` None = every one.

    Columns: cohort, image_type, arm, step_size, epsilon, flag, n (images recorded there), flagged, share, attackable,
    flagged_standing (flagged attackable images that had not fallen at the last iterate: those whose standing may be
    the attack's failure). A flag that no image carries has rows with 0.
    """
    arms = records.arms if arm is None else [arm]
    groups = [g for name in arms for g in run_subsets(records, ("cohort", "step_size"), name, step_size)]
    return pl.DataFrame([row for (part,) in groups for row in _flag_rows(part.pack)], schema=_SCHEMA)


_SCHEMA = {
    "cohort": pl.String, "image_type": pl.String, "arm": pl.String, "step_size": pl.String, "epsilon": pl.Float64,
    "flag": pl.String, "n": pl.Int64, "flagged": pl.Int64, "share": pl.Float64, "attackable": pl.Int64,
    "flagged_standing": pl.Int64,
}  # fmt: skip


def _flag_rows(pack: OutcomeArrays) -> list[dict[str, Any]]:
    n, attackable = pack.present.sum(1), pack.attackable.sum(1)
    standing = pack.attackable & ~pack.last[:, -1]
    return [
        about(pack) | {
            "epsilon": float(epsilon), "flag": name, "n": int(n[i]), "flagged": int(flagged[i].sum()),
            "share": float(flagged[i].sum() / n[i]) if n[i] else None, "attackable": int(attackable[i]),
            "flagged_standing": int(np.count_nonzero(flagged[i] & standing[i])),
        }
        for name, flagged in pack.flags.items()
        for i, epsilon in enumerate(pack.epsilons)
    ]  # fmt: skip


def worst_case_success_rate(
    records: Records, *, arm: str | None = None, step_size: str | None = None, level: float = 0.95
) -> pl.DataFrame:
    """Share of attackable images that fell at the last iterate of at least one restart, per cohort and ε.

    Columns: cohort, image_type, arm, step_size, epsilon, restarts (recorded, the declared run included), n, patients,
    rate with low, high and method, declared (the rate of restart 0 alone, never above rate). `arm` None = the main
    one; `step_size` None = the first the arm declares. Raises SpecError for an arm or step size that is not recorded.

    Worst case over restarts: Madry et al. 2018 (arXiv 1706.06083), section 4; Carlini et al. 2019 (arXiv 1902.06705).
    """
    rows = [
        row
        for run in runs_of(records, arm)
        for row in _restart_rows(run, step_size or first_step_size(records, run), level)
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def _restart_rows(run: Run, name: str, level: float) -> list[dict[str, Any]]:
    known, header, index = step_sizes(run), run.header, run.index
    if name not in known:
        raise SpecError(f"step_size: one of {', '.join(known)} ({header.cohort}), got {name!r}.", NEXT)
    logits, target = run.column("logits")[:, [0, -1]], run.column("target")
    about = {"cohort": header.cohort, "image_type": header.image_type, "arm": header.arm, "step_size": name}
    of_name = index.step_size == index.step_sizes.index(name)
    amplitudes = np.unique(index.epsilon[of_name & (index.epsilon > 0)])
    points = [np.flatnonzero(of_name & (index.epsilon == epsilon)) for epsilon in amplitudes]
    return [
        about | {"epsilon": float(epsilon)} | _point(run, rows, logits[rows], target[rows], level)
        for epsilon, rows in zip(amplitudes, points, strict=True)
    ]


def _point(run: Run, rows: np.ndarray, logits: np.ndarray, target: np.ndarray, level: float) -> dict[str, Any]:
    """One ε: `rows` (row,) of all restarts, `logits` (row, 2, class) clean and last."""
    image, restart = run.index.image[rows], run.index.restart[rows]
    labels = run.images["label"].to_numpy()[image]
    block, aim = logits.swapaxes(0, 1), None if (target < 0).all() else target
    down = success.has_succeeded(block, labels, targets=aim)[-1]
    counted = np.unique(image[success.counted(block, labels, targets=aim)[-1]])
    worst = np.isin(counted, image[down])
    declared = np.isin(counted, image[down & (restart == 0)])
    patients = np.unique(run.images["patient_id"].to_numpy()[counted], return_inverse=True)[1]
    by_patient = counts(worst[None], np.ones((1, len(counted)), bool), patients)
    low, high, method = intervals(by_patient, level)
    return {
        "restarts": int(restart.max()) + 1, "n": len(counted), "patients": int(by_patient.patients[0]),
        "rate": float(by_patient.rate[0]), "low": float(low[0]), "high": float(high[0]), "method": method[0],
        "declared": float(declared.mean()) if len(counted) else None,
    }  # fmt: skip
