"""The tiny study, run once for all tests of this room."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_study import TINY, cpu

from advassay.spec.study_spec import Study
from advassay.study import parse_study
from advassay.study.run.runner import run


@pytest.fixture(scope="session")
def tiny() -> Study:
    return parse_study(TINY)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny: Study) -> Path:
    """The tiny study's store, run to its end. Read only: tests that change it copy it."""
    store = tmp_path_factory.mktemp("finished") / "store"
    run(tiny, cpu(store))
    return store


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """The finished store to change."""
    return shutil.copytree(finished, tmp_path / "store")


@pytest.fixture
def begun(finished: Path, tmp_path: Path) -> Path:
    """An empty store with the finished one's execution configuration: results are promised to be equal for one."""
    store = tmp_path / "store"
    store.mkdir()
    shutil.copy(finished / "compute.json", store)
    return store
