"""Records → numbers with intervals and tested conclusions. No torch; everything recomputes from a store on a laptop.

Names are imported when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advassay.analysis.aggregated_units import unit_outcomes
    from advassay.analysis.attack_strength import flags_summary, worst_case_success_rate
    from advassay.analysis.classifier_performance import calibration_error, performance, reliability
    from advassay.analysis.cohort_summary import table1
    from advassay.analysis.conclusions import Conclusion
    from advassay.analysis.conclusions.specification_curve import specification_curve
    from advassay.analysis.confidence_shift import confidence_flow, transitions
    from advassay.analysis.differences import Condition, paired_comparison
    from advassay.analysis.dose_response.epsilon50_tables import epsilon50, minimal_epsilon
    from advassay.analysis.iterations_to_success import iteration_plateau, iteration_survival
    from advassay.analysis.perturbation import perturbation_size, visibility_curve
    from advassay.analysis.sample_size import Needed, design_effect, needed_for_difference, needed_for_width
    from advassay.analysis.subgroups import subgroup_effects
    from advassay.analysis.success_curves import Curve, robust_accuracy_curve, success_curve

_HOMES = {
    "classifier_performance": (
        "calibration_error",
        "reliability",
        "performance",
    ),
    "success_curves": (
        "Curve",
        "robust_accuracy_curve",
        "success_curve",
    ),
    "dose_response.epsilon50_tables": (
        "epsilon50",
        "minimal_epsilon",
    ),
    "attack_strength": (
        "flags_summary",
        "worst_case_success_rate",
    ),
    "confidence_shift": (
        "confidence_flow",
        "transitions",
    ),
    "differences": (
        "Condition",
        "paired_comparison",
    ),
    "perturbation": (
        "perturbation_size",
        "visibility_curve",
    ),
    "iterations_to_success": (
        "iteration_plateau",
        "iteration_survival",
    ),
    "sample_size": (
        "Needed",
        "design_effect",
        "needed_for_difference",
        "needed_for_width",
    ),
    "conclusions": ("Conclusion",),
    "conclusions.specification_curve": ("specification_curve",),
    "aggregated_units": ("unit_outcomes",),
    "subgroups": ("subgroup_effects",),
    "cohort_summary": ("table1",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Conclusion",
    "Condition",
    "Curve",
    "Needed",
    "calibration_error",
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
    if name == "conclusions":  # a package, which can be called as the function of this name
        return import_module("advassay.analysis.conclusions")
    if name not in _HOME:
        raise AttributeError(f"module 'advassay.analysis' has no attribute {name!r}")
    return getattr(import_module(f"advassay.analysis.{_HOME[name]}"), name)
