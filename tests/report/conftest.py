"""One small simulated store and its report, made once."""

from __future__ import annotations

from pathlib import Path

import pytest
from simulate import make_store
from written_report import SMALL, SMALL_ARMS, Report

from advassay.report import write_report


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("report") / "store", SMALL, SMALL_ARMS)


@pytest.fixture(scope="session")
def report(store: Path) -> Report:
    return Report(store, write_report(store))
