"""attacks: a classifier and labelled images → trajectories of logits.

Re-exports its public functions when first used: importing this room does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advassay.attacks.api import attack, sweep
    from advassay.attacks.controls import run_controls
    from advassay.attacks.reference import iterates
    from advassay.attacks.shape import choose_compute_shape
    from advassay.attacks.stream import AttackStream, Item, stream

_HOMES = {
    "attack": "api",
    "sweep": "api",
    "stream": "stream",
    "AttackStream": "stream",
    "Item": "stream",
    "choose_compute_shape": "shape",
    "run_controls": "controls",
    "iterates": "reference",
}

__all__ = ["AttackStream", "Item", "attack", "choose_compute_shape", "iterates", "run_controls", "stream", "sweep"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'advassay.attacks' has no attribute {name!r}")
    return getattr(import_module(f"advassay.attacks.{_HOMES[name]}"), name)
