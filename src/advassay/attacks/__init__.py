"""attacks: a classifier and labelled images → trajectories of logits.

Re-exports its public functions when first used: importing this room does not import torch. The streaming face is
`from advassay.attacks.stream import stream` (module and function share the name).
"""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advassay.attacks.api import attack, sweep
    from advassay.attacks.batch_tuning import choose_compute_shape
    from advassay.attacks.masked_gradient_rerun import gradient_masked_images, linked_rerun
    from advassay.attacks.reference import iterates
    from advassay.attacks.sanity_controls import run_controls
    from advassay.attacks.stream import AttackStream, Item

_HOMES = {
    "attack": "api",
    "sweep": "api",
    "AttackStream": "stream",
    "Item": "stream",
    "choose_compute_shape": "batch_tuning",
    "run_controls": "sanity_controls",
    "iterates": "reference",
    "linked_rerun": "masked_gradient_rerun",
    "gradient_masked_images": "masked_gradient_rerun",
}

__all__ = [
    "AttackStream",
    "Item",
    "attack",
    "choose_compute_shape",
    "gradient_masked_images",
    "iterates",
    "linked_rerun",
    "run_controls",
    "sweep",
]


_RENAMED = {"numb_images": "gradient_masked_images"}
"""Names of version 0.1.0."""


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        warnings.warn(f"advassay.attacks.{name} is now called {_RENAMED[name]}.", DeprecationWarning, stacklevel=2)
        name = _RENAMED[name]
    if name not in _HOMES:
        raise AttributeError(f"module 'advassay.attacks' has no attribute {name!r}")
    return getattr(import_module(f"advassay.attacks.{_HOMES[name]}"), name)
