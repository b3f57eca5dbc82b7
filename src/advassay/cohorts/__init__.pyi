from .preparation_json import is_prepared as is_prepared
from .cohort_preparation import prepare as prepare
from .prepared_cohort import PreparedCohort as PreparedCohort, open_cohort as open_cohort
