"""What a study consists of and what its store lacks; nothing is written."""

from advassay.former_names import keep_callable

keep_callable(__name__, "advassay.study.plan.study_plan:plan", "advassay.study.plan.study_plan.plan")
