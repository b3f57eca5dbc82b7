"""How often guards and failure indicators spoke: what stands beside a low success rate before it is called robust."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from advassay.analysis.flow import about
from advassay.analysis.groups import grouped
from advassay.analysis.packed import Packed
from advassay.records.store import Records


def flags_summary(records: Records, *, arm: str | None = None, step_size: str | None = None) -> pl.DataFrame:
    """Flagged images per cohort, arm, step size, ε and flag; `arm` and `step_size` None = every one.

    Columns: cohort, image_type, arm, step_size, epsilon, flag, n (images recorded there), flagged, share, attackable,
    flagged_standing (flagged attackable images that had not fallen at the last iterate: those whose standing may be
    the attack's failure). A flag that no image carries has rows with 0.
    """
    arms = records.arms if arm is None else [arm]
    groups = [g for name in arms for g in grouped(records, ("cohort", "step_size"), name, step_size)]
    return pl.DataFrame([row for (part,) in groups for row in _rows(part.pack)], schema=_SCHEMA)


_SCHEMA = {
    "cohort": pl.String, "image_type": pl.String, "arm": pl.String, "step_size": pl.String, "epsilon": pl.Float64,
    "flag": pl.String, "n": pl.Int64, "flagged": pl.Int64, "share": pl.Float64, "attackable": pl.Int64,
    "flagged_standing": pl.Int64,
}  # fmt: skip


def _rows(pack: Packed) -> list[dict[str, Any]]:
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
