__version__: str

from .analysis import (
    Condition as Condition,
    confidence_flow as confidence_flow,
    epsilon50 as epsilon50,
    flags_summary as flags_summary,
    iteration_plateau as iteration_plateau,
    iteration_survival as iteration_survival,
    minimal_epsilon as minimal_epsilon,
    needed_for_difference as needed_for_difference,
    needed_for_width as needed_for_width,
    paired_comparison as paired_comparison,
    performance as performance,
    perturbation_size as perturbation_size,
    reliability as reliability,
    robust_accuracy_by_finding as robust_accuracy_by_finding,
    robust_accuracy_curve as robust_accuracy_curve,
    specification_curve as specification_curve,
    subgroup_effects as subgroup_effects,
    success_curve as success_curve,
    table1 as table1,
    transitions as transitions,
    unit_outcomes as unit_outcomes,
    visibility_curve as visibility_curve,
    worst_case_robust_accuracy as worst_case_robust_accuracy,
    worst_case_success_rate as worst_case_success_rate,
)
from .analysis.conclusions import conclusions as conclusions
from .attacks import attack as attack, sweep as sweep
from .classifier import Classifier as Classifier
from .errors import AdvassayError as AdvassayError
from .process_tuning import tune_process as tune_process
from .records import open_records as open_records
from .spec.attack_spec import PGD as PGD, Arm as Arm
from .spec.study_spec import Study as Study
from .models import LoadedModel as LoadedModel, load_classifier as load_classifier, load_model as load_model
from .trajectory import Sweep as Sweep, Trajectory as Trajectory
from .workflows.model_evaluation import evaluate as evaluate
from .workflows.findings_evaluation import (
    FindingsResult as FindingsResult,
    evaluate_findings as evaluate_findings,
)
from .workflows.evaluation_result import EvaluationResult as EvaluationResult
from .workflows.result_storage import store_results as store_results
from .workflows.study_calls import plan as plan, report as report, run as run
from .workflows.study_result import StudyResult as StudyResult
