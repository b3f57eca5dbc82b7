"""Records → numbers with intervals and tested conclusions. No torch; everything recomputes from a store on a laptop.

Names are imported when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advassay.analysis.calibration import calibration_error, reliability
    from advassay.analysis.claims import Conclusion, conclusions
    from advassay.analysis.curves import Curve, robust_accuracy_curve, success_curve
    from advassay.analysis.dose import epsilon50, minimal_epsilon
    from advassay.analysis.flags import flags_summary
    from advassay.analysis.flow import confidence_flow, transitions
    from advassay.analysis.scores import performance
    from advassay.analysis.survival import iteration_survival
    from advassay.analysis.tables import table1
    from advassay.analysis.worst_case import worst_case_success_rate

_HOMES = {
    "claims": ("Conclusion", "conclusions"),
    "curves": ("Curve", "robust_accuracy_curve", "success_curve"),
    "dose": ("epsilon50", "minimal_epsilon"),
    "flags": ("flags_summary",),
    "flow": ("confidence_flow", "transitions"),
    "calibration": ("calibration_error", "reliability"),
    "scores": ("performance",),
    "survival": ("iteration_survival",),
    "tables": ("table1",),
    "worst_case": ("worst_case_success_rate",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Conclusion",
    "Curve",
    "calibration_error",
    "conclusions",
    "confidence_flow",
    "epsilon50",
    "flags_summary",
    "iteration_survival",
    "minimal_epsilon",
    "performance",
    "reliability",
    "robust_accuracy_curve",
    "success_curve",
    "table1",
    "transitions",
    "worst_case_success_rate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'advassay.analysis' has no attribute {name!r}")
    return getattr(import_module(f"advassay.analysis.{_HOME[name]}"), name)
