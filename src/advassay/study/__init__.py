"""Study: everything in order, from a study file to records in a store; resumable, in this process.

Start with `run/runner.py`. Nothing here knows analysis or report: they meet this room in the store. Names are imported
when first used.
"""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advassay.study.config.load_study import load_study, parse_study
    from advassay.study.config.starter_study import starter_study
    from advassay.study.environment import RunEnvironment, make_environment
    from advassay.study.plan.plan_rows import Plan, PlanRow
    from advassay.study.run.external_model import attack_external_model
    from advassay.study.run.prepare_stage import select_cohorts
    from advassay.study.run.runner import attack, prepare, train
    from advassay.study.study_storage import store_study, stored_study, study_yaml

_HOMES = {
    "study_storage": (
        "store_study",
        "stored_study",
        "study_yaml",
    ),
    "config.load_study": (
        "load_study",
        "parse_study",
    ),
    "run.external_model": ("attack_external_model",),
    "plan.plan_rows": (
        "Plan",
        "PlanRow",
    ),
    "run.runner": (
        "attack",
        "prepare",
        "train",
    ),
    "environment": (
        "RunEnvironment",
        "make_environment",
    ),
    "run.prepare_stage": ("select_cohorts",),
    "config.starter_study": ("starter_study",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Plan",
    "PlanRow",
    "RunEnvironment",
    "attack",
    "attack_external_model",
    "load_study",
    "make_environment",
    "parse_study",
    "prepare",
    "select_cohorts",
    "starter_study",
    "store_study",
    "stored_study",
    "study_yaml",
    "train",
]


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
    if name in ("plan", "run"):  # packages, which can be called as the functions of these names
        return import_module(f"advassay.study.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'advassay.study' has no attribute {name!r}")
    return getattr(import_module(f"advassay.study.{_HOME[name]}"), name)
