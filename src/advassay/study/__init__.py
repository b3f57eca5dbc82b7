"""Study: everything in order, from a study file to records in a store; resumable, in this process.

Start with `run/runner.py`. Nothing here knows analysis or report: they meet this room in the store. Names are imported
when first used.
"""

import warnings
from typing import Any

from advassay.optional_libraries import attach_names

_find, __dir__, __all__ = attach_names(__name__, __file__)

_FORMER = {
    "Site": "RunEnvironment",
    "attack_own": "attack_external_model",
    "keep_study": "store_study",
    "kept_study": "stored_study",
    "site": "make_environment",
}
"""Names up to 0.1 → names now."""


def __getattr__(name: str) -> Any:
    if name in _FORMER:
        warnings.warn(f"advassay.study.{name} is now {_FORMER[name]}.", DeprecationWarning, stacklevel=2)
        name = _FORMER[name]
    return _find(name)
