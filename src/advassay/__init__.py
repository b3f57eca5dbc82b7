"""advassay: how the success of adversarial attacks on biomedical image classifiers depends on what.

Names are imported when first used (PEP 562), so that `import advassay` is instant and reading a store never
needs torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Classifier": "classifier",
    "PGD": "spec.attack_spec",
    "Arm": "spec.attack_spec",
    "Study": "spec.study_spec",
    "Trajectory": "trajectory",
    "Sweep": "trajectory",
    "AdvassayError": "errors",
    "attack": "attacks",
    "sweep": "attacks",
    "load_classifier": "training",
    "open_records": "records",
    "success_curve": "analysis",
    "robust_accuracy_curve": "analysis",
    "epsilon50": "analysis",
    "minimal_epsilon": "analysis",
    "table1": "analysis",
    "performance": "analysis",
    "reliability": "analysis",
    "transitions": "analysis",
    "confidence_flow": "analysis",
    "iteration_survival": "analysis",
    "flags_summary": "analysis",
    "worst_case_success_rate": "analysis",
    "iteration_plateau": "analysis",
    "unit_outcomes": "analysis",
    "perturbation_size": "analysis",
    "visibility_curve": "analysis",
    "Condition": "analysis",
    "paired_comparison": "analysis",
    "needed_for_width": "analysis",
    "needed_for_difference": "analysis",
    "conclusions": "analysis.conclusions",
    "specification_curve": "analysis",
    "subgroup_effects": "analysis",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'advassay' has no attribute {name!r}")
    return getattr(import_module(f"advassay.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
