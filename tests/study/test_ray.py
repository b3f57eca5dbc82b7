"""A study on a Ray cluster: the records of one process, whatever ends on the way."""

from __future__ import annotations

import gc
import json
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_study import TINY, Counting, assert_equal_records, cpu
from typer.testing import CliRunner

from advassay.cli.program import app
from advassay.spec.study_spec import Study
from advassay.store_layout import Store
from advassay.study.launchers.cluster_document import read_cluster
from advassay.study.launchers.ray_launcher import RayCluster, connected
from advassay.study.run.runner import run

pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray", reason="needs Ray: pip install 'advassay[ray]'")


@pytest.fixture(scope="module", autouse=True)
def local_ray() -> Iterator[None]:
    """A Ray of two cores for this file: starting one takes several seconds."""
    with connected(None):
        yield
    assert not ray.is_initialized()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # Ray leaves the processes it has ended unwaited
        gc.collect()


def test_the_records_are_those_of_one_process(tiny: Study, begun: Path, finished: Path) -> None:
    cluster = RayCluster(cores_per_worker=1, device="cpu")
    headers = run(tiny, cpu(begun), launcher=cluster.launch)
    assert cluster.set_aside == []
    assert_equal_records(finished, begun)
    assert len(headers) == 5
