"""Records → numbers with intervals and tested conclusions. No torch; everything recomputes from a store on a laptop.

Names are imported when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advassay.analysis.calibration import calibration_error, reliability
    from advassay.analysis.curves import Curve, robust_accuracy_curve, success_curve
    from advassay.analysis.dose_response.tables import epsilon50, minimal_epsilon
    from advassay.analysis.flags import flags_summary
    from advassay.analysis.flow import confidence_flow, transitions
    from advassay.analysis.paired import Condition, paired_comparison
    from advassay.analysis.perturbation import perturbation_size, visibility_curve
    from advassay.analysis.plateau import iteration_plateau
    from advassay.analysis.power import Needed, design_effect, needed_for_difference, needed_for_width
    from advassay.analysis.questions import Conclusion, conclusions
    from advassay.analysis.questions.specification import specification_curve
    from advassay.analysis.scores import performance
    from advassay.analysis.slides import unit_outcomes
    from advassay.analysis.subgroups import subgroup_effects
    from advassay.analysis.survival import iteration_survival
    from advassay.analysis.tables import table1
    from advassay.analysis.worst_case import worst_case_success_rate

_HOMES = {
    "calibration": ("calibration_error", "reliability"),
    "curves": ("Curve", "robust_accuracy_curve", "success_curve"),
    "dose_response.tables": ("epsilon50", "minimal_epsilon"),
    "flags": ("flags_summary",),
    "flow": ("confidence_flow", "transitions"),
    "paired": ("Condition", "paired_comparison"),
    "perturbation": ("perturbation_size", "visibility_curve"),
    "plateau": ("iteration_plateau",),
    "power": ("Needed", "design_effect", "needed_for_difference", "needed_for_width"),
    "questions": ("Conclusion", "conclusions"),
    "questions.specification": ("specification_curve",),
    "scores": ("performance",),
    "slides": ("unit_outcomes",),
    "subgroups": ("subgroup_effects",),
    "survival": ("iteration_survival",),
    "tables": ("table1",),
    "worst_case": ("worst_case_success_rate",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Conclusion",
    "Condition",
    "Curve",
    "Needed",
    "calibration_error",
    "conclusions",
    "confidence_flow",
    "design_effect",
    "epsilon50",
    "flags_summary",
    "iteration_plateau",
    "iteration_survival",
    "minimal_epsilon",
    "needed_for_difference",
    "needed_for_width",
    "paired_comparison",
    "performance",
    "perturbation_size",
    "reliability",
    "robust_accuracy_curve",
    "specification_curve",
    "subgroup_effects",
    "success_curve",
    "table1",
    "transitions",
    "unit_outcomes",
    "visibility_curve",
    "worst_case_success_rate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'advassay.analysis' has no attribute {name!r}")
    return getattr(import_module(f"advassay.analysis.{_HOME[name]}"), name)
