"""A store for what the pages say."""

from __future__ import annotations

from pathlib import Path

import pytest
from simulate import Cohort, make_store

from advassay.spec.attack_spec import Arm


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small simulated store of two image types. Read only."""
    cohorts = (
        Cohort("X-TB", "X-ray", ("tuberculosis", "norm"), epsilon50=0.03, patients=24),
        Cohort("H-BR", "histology", ("tumour", "normal"), epsilon50=0.07, patients=24),
    )
    arms = {"A": Arm(epsilons=(0.02, 0.06, 0.2), steps=8)}
    return make_store(tmp_path_factory.mktemp("docs") / "runs" / "my-images", cohorts, arms)
