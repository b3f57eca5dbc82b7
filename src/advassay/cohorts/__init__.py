"""Cohorts: manifest rows → study groups: selection, duplicates, balance, split, prepared images.

>>> from advassay.cohorts import open_cohort
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advassay.cohorts.prepared import PreparedCohort as PreparedCohort
    from advassay.cohorts.prepared import open_cohort as open_cohort
    from advassay.cohorts.preparing import prepare as prepare
    from advassay.cohorts.request import is_prepared as is_prepared

_HOMES = {"prepare": "preparing", "is_prepared": "request", "open_cohort": "prepared", "PreparedCohort": "prepared"}

__all__ = ["PreparedCohort", "is_prepared", "open_cohort", "prepare"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'advassay.cohorts' has no attribute {name!r}")
    found = getattr(import_module(f"advassay.cohorts.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
