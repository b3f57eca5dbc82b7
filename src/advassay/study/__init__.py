"""Study: everything in order, from a study file to records in a store; resumable, in this process.

Start with `running.py`. Nothing here knows analysis or report: they meet this room in the store. Names are imported
when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advassay.study.keep import keep_study, kept_study, study_yaml
    from advassay.study.load import load_study, parse_study
    from advassay.study.own import attack_own
    from advassay.study.place import Site, site
    from advassay.study.planned import Plan, PlanRow
    from advassay.study.planning import plan
    from advassay.study.running import attack, prepare, run, train
    from advassay.study.selecting import select_cohorts
    from advassay.study.starter import starter_study

_HOMES = {
    "keep": ("keep_study", "kept_study", "study_yaml"),
    "load": ("load_study", "parse_study"),
    "own": ("attack_own",),
    "planned": ("Plan", "PlanRow"),
    "planning": ("plan",),
    "running": ("attack", "prepare", "run", "train"),
    "place": ("Site", "site"),
    "selecting": ("select_cohorts",),
    "starter": ("starter_study",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Plan",
    "PlanRow",
    "Site",
    "attack",
    "attack_own",
    "keep_study",
    "kept_study",
    "load_study",
    "parse_study",
    "plan",
    "prepare",
    "run",
    "select_cohorts",
    "site",
    "starter_study",
    "study_yaml",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'advassay.study' has no attribute {name!r}")
    return getattr(import_module(f"advassay.study.{_HOME[name]}"), name)
