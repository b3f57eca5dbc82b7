"""attacks: a classifier and labelled images → trajectories of logits.

Re-exports its public functions when first used: importing this room does not import torch. The streaming face is
`from advassay.attacks.stream import stream` (module and function share the name).
"""

import warnings
from typing import Any

from advassay.optional_libraries import attach_names

_find, __dir__, __all__ = attach_names(__name__, __file__)

_RENAMED = {"choose_compute_shape": "tune_batch_size", "numb_images": "gradient_masked_images"}
"""Names up to 0.1 → names now."""


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        warnings.warn(f"advassay.attacks.{name} is now {_RENAMED[name]}.", DeprecationWarning, stacklevel=2)
        name = _RENAMED[name]
    return _find(name)
