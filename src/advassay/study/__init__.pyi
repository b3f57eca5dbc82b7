from . import plan as plan, run as run
from .config.load_study import load_study as load_study, parse_study as parse_study
from .config.starter_study import starter_study as starter_study
from .environment import RunEnvironment as RunEnvironment, make_environment as make_environment
from .plan.plan_rows import Plan as Plan, PlanRow as PlanRow
from .run.external_model import attack_external_model as attack_external_model
from .run.prepare_stage import select_cohorts as select_cohorts
from .run.runner import attack as attack, prepare as prepare, train as train
from .study_storage import store_study as store_study, stored_study as stored_study, study_yaml as study_yaml
