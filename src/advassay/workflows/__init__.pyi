from .evaluation_result import Estimate as Estimate, EvaluationResult as EvaluationResult
from .requirement_gate import Requirement as Requirement, parse_requirement as parse_requirement
