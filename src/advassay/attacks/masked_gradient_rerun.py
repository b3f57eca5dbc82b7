"""The linked re-run: images whose softmax loss went numb are attacked again with the margin loss, beside the record.

It answers whether their robustness was arithmetic. It is a run of its own and never overwrites the declared attack.
"""

from __future__ import annotations

from typing import TypeVar

from advassay.spec.attack_spec import PGD, Arm, Loss, check_complete
from advassay.trajectory import TrajectoryRows

GRADIENT_MASKED = ("zero_gradient", "nan_gradient", "saturated", "loss_saturated")
"""Flags of an image whose gradient may have been rounded away, or was not a number."""

RERUN_LOSS: dict[Loss, Loss | None] = {
    "cross-entropy": "margin", "probability": "margin", "margin": None, "dlr": None,
}  # fmt: skip
"""The loss that an attack is run again with; None where its own does not saturate."""
check_complete("loss", Loss, RERUN_LOSS)

Attack = TypeVar("Attack", PGD, Arm)


def linked_rerun(attack: Attack) -> Attack | None:
    """The same attack with the margin loss; None where the loss does not saturate already (margin, dlr).

    >>> linked_rerun(PGD(epsilon=0.02)).loss
    'margin'
    """
    other = RERUN_LOSS[attack.loss]
    return None if other is None else attack.model_copy(update={"loss": other})


def gradient_masked_images(rows: TrajectoryRows) -> list[str]:
    """Image ids, in the block's order, with a row whose gradient vanished or whose probability rounded to 1."""
    numb = [rows.flags[name] for name in GRADIENT_MASKED if name in rows.flags]
    marked = rows.image_id[sum(numb[1:], numb[0])] if numb else rows.image_id[:0]
    return list(dict.fromkeys(marked.tolist()))
