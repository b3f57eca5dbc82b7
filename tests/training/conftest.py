"""A small cohort in memory with a learnable class signal, and a network small enough to train within a second."""

from __future__ import annotations

from pathlib import Path

import pytest
from memory_cohort import ROLES, SIDE, MemoryCohort

from advassay.spec.study_spec import TrainingSpec
from advassay.training import minimum_image_size, train


@pytest.fixture
def cohort() -> MemoryCohort:
    return MemoryCohort(roles=ROLES)


@pytest.fixture
def spec() -> TrainingSpec:
    return TrainingSpec(architecture="test_resnet", updates=6, batch_size=8, learning_rate=3e-3, evaluations=2)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a classifier trained once for all tests that only read it."""
    folder = tmp_path_factory.mktemp("classifier")
    cohort = MemoryCohort(roles=ROLES)
    spec = TrainingSpec(architecture="test_resnet", updates=6, batch_size=8, learning_rate=3e-3, evaluations=2)
    assert minimum_image_size("test_resnet") <= SIDE
    train(cohort, spec, train_ids=cohort.ids("training"), seed=0, updates=6, folder=folder)
    return folder
