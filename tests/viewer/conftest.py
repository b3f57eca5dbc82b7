"""A study small enough to be run here, and the viewer on its store."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra view (pip install 'advassay[view]')")
pytest.importorskip("httpx2", reason="needs httpx2 (pip install httpx2)")

from starlette.testclient import TestClient

from advassay.study import make_environment, parse_study
from advassay.study.run.runner import run
from advassay.viewer import OpenedStore, web_app

# Four classes at 64 px: nothing of this network gives a last bit by the place in the batch (attacks/README.md).
STUDY = """
name: looked-at
title: 'Looked at: <b>bold</b> & "quoted"'
image_size_px: 64
sources:
  chest: {kind: phantoms, phantom: chest, images: 120, size_px: 64, signal: 3, ages: [20, 80]}
cohorts:
  X-AGE:
    source: chest
    image_type: X-ray
    classes:
      "<i>20s": {age: {range: [20, 34]}}
      norm: {age: {range: [35, 49]}}
      "50s": {age: {range: [50, 64]}}
      "65 on": {age: {range: [65, 80]}}
    other_findings: allowed
    per_class: 20
training: {architecture: test_resnet, updates: 8, batch_size: 16, evaluations: 1, learning_rate: 0.003}
attack:
  steps: 4
  images: 12
  epsilons: [0.02, 0.1]
  controls: false
  arms:
    A: {}
    C: {loss: margin, step_sizes: [epsilon/4, epsilon/2], epsilons: [0.005, 0.05], random_start: true}
"""


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study's store. Read only: tests that change it copy it."""
    store = tmp_path_factory.mktemp("viewer") / "store"
    run(parse_study(STUDY), make_environment(store, device="cpu"))
    return store


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """The store to change."""
    return shutil.copytree(finished, tmp_path / "store")


@pytest.fixture(scope="session")
def opened(finished: Path) -> OpenedStore:
    return OpenedStore(finished)


@pytest.fixture(scope="session")
def client(opened: OpenedStore) -> Iterator[TestClient]:
    """A browser of this machine, as far as headers go."""
    with TestClient(web_app(opened, frozenset({"testserver"}))) as client:
        yield client
