"""The linked re-run: images whose gradient vanished are attacked again with a loss that does not saturate.

It answers whether their robustness was arithmetic. It is a run of its own and never overwrites the declared attack.
"""

from __future__ import annotations

from typing import TypeVar

from advassay.spec.attack_components import LOSSES, UPDATE_RULES
from advassay.spec.attack_spec import PGD, Arm
from advassay.trajectory import TrajectoryRows

GRADIENT_MASKED = ("zero_gradient", "nan_gradient", "saturated", "loss_saturated")
"""Flags of an image whose gradient may have been rounded away, or was not a number."""

Attack = TypeVar("Attack", PGD, Arm)


def linked_rerun(attack: Attack) -> Attack | None:
    """The same attack with the loss that repeats its own; None where its own does not saturate, or none is followed.

    >>> linked_rerun(PGD(epsilon=0.02)).loss
    'margin'
    """
    if UPDATE_RULES.get(attack.update).searches:
        return None
    other = LOSSES.get(attack.loss).rerun_loss
    return None if other is None else attack.model_copy(update={"loss": other})


def gradient_masked_images(rows: TrajectoryRows) -> list[str]:
    """Image ids, in the block's order, with a row whose gradient vanished or whose probability rounded to 1."""
    numb = [rows.flags[name] for name in GRADIENT_MASKED if name in rows.flags]
    marked = rows.image_id[sum(numb[1:], numb[0])] if numb else rows.image_id[:0]
    return list(dict.fromkeys(marked.tolist()))
