from . import conclusions as conclusions
from .aggregated_units import unit_outcomes as unit_outcomes
from .attack_strength import flags_summary as flags_summary, worst_case_success_rate as worst_case_success_rate
from .classifier_performance import (
    calibration_error as calibration_error,
    performance as performance,
    reliability as reliability,
)
from .cohort_summary import table1 as table1
from .conclusions import Conclusion as Conclusion
from .conclusions.specification_curve import specification_curve as specification_curve
from .confidence_shift import confidence_flow as confidence_flow, transitions as transitions
from .differences import Condition as Condition, paired_comparison as paired_comparison
from .dose_response.epsilon50_tables import epsilon50 as epsilon50, minimal_epsilon as minimal_epsilon
from .distances_in_features import feature_distance as feature_distance
from .iterations_to_success import iteration_plateau as iteration_plateau, iteration_survival as iteration_survival
from .perturbation import perturbation_size as perturbation_size, visibility_curve as visibility_curve
from .queries_to_success import query_survival as query_survival
from .sample_size import (
    Needed as Needed,
    design_effect as design_effect,
    needed_for_difference as needed_for_difference,
    needed_for_width as needed_for_width,
)
from .subgroups import subgroup_effects as subgroup_effects
from .success_curves import (
    Curve as Curve,
    robust_accuracy_curve as robust_accuracy_curve,
    success_by_confidence as success_by_confidence,
    success_curve as success_curve,
)
from .finding_robustness import robust_accuracy_by_finding as robust_accuracy_by_finding
from .transfer_rates import transfer_by_kind as transfer_by_kind, transfer_matrix as transfer_matrix
from .worst_case import (
    worst_case_by_attack as worst_case_by_attack,
    worst_case_robust_accuracy as worst_case_robust_accuracy,
)
