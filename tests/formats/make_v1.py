"""Makes tests/formats/v1, a tiny real store of records format 1. Run once; kept so that later versions read it.

python tests/formats/make_v1.py
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from simulate import Cohort, make_store  # noqa: E402

from advassay.spec.attack_spec import Arm  # noqa: E402

COHORT = Cohort("X-TB", "X-ray", ("tuberculosis", "norm"), patients=4, images_per_patient=2)
ARM = Arm(epsilons=(0.02, 0.1), step_sizes=("epsilon/4",), steps=3)

if __name__ == "__main__":
    from advassay.records import FORMAT_VERSION

    assert FORMAT_VERSION == "1", "a newer format gets a folder and a script of its own"
    print(make_store(HERE / "v1", (COHORT,), {"A": ARM}))
