from .evaluation_result import Estimate as Estimate, EvaluationResult as EvaluationResult
from .findings_evaluation import FindingsResult as FindingsResult, evaluate_findings as evaluate_findings
from .study_calls import plan as plan, report as report, run as run
from .study_result import StudyResult as StudyResult
from .requirement_gate import Requirement as Requirement, parse_requirement as parse_requirement
