"""Cohorts: manifest rows → study groups: selection, duplicates, balance, split, prepared images.

>>> from advassay.cohorts import open_cohort
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advassay.cohorts.cache_key import is_prepared
    from advassay.cohorts.cohort_preparation import prepare
    from advassay.cohorts.prepared_cohort import PreparedCohort, open_cohort

_HOMES = {
    "prepare": "cohort_preparation",
    "is_prepared": "cache_key",
    "open_cohort": "prepared_cohort",
    "PreparedCohort": "prepared_cohort",
}

__all__ = ["PreparedCohort", "is_prepared", "open_cohort", "prepare"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'advassay.cohorts' has no attribute {name!r}")
    found = getattr(import_module(f"advassay.cohorts.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
