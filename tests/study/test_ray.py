"""A study on a Ray cluster: the records of one process, whatever ends on the way."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tiny_study import TINY, Counting, assert_equal_records, cpu
from typer.testing import CliRunner

from advassay.cli.program import app
from advassay.records import Run, open_records, read_cluster
from advassay.spec.study_spec import Study
from advassay.store_layout import Store
from advassay.study.launchers.ray_launcher import LOOPBACK, RayCluster, RayWorkers, connected
from advassay.study.run.runner import run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: pip install 'advassay[ray]'"),
]


@pytest.fixture(scope="module", autouse=True)
def local_ray() -> Iterator[Any]:
    """A Ray of its own for this file: starting one takes several seconds."""
    with connected(None) as ray:
        yield ray
    assert not ray.is_initialized()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # Ray leaves the processes it has ended unwaited
        gc.collect()


def on_ray(**more: Any) -> RayCluster:
    return RayCluster(cores_per_worker=1, device="cpu", **more)


def assert_no_row_twice(store: Path) -> None:
    """No shard holds a row that another one holds too."""
    for header in open_records(store).headers:
        opened = Run(Store(store).run(header.run_id))
        assert sum(keys.num_rows for _, keys in opened._readable[0]) == len(opened.index) == header.rows


def test_a_cluster_of_its_own_listens_on_loopback_behind_a_token(local_ray: Any) -> None:
    assert [node["NodeManagerAddress"] for node in local_ray.nodes()] == [LOOPBACK]
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert not (Path.home() / ".ray" / "auth_token").exists() or "RAY_AUTH_TOKEN" in os.environ


def test_the_records_are_those_of_one_process(tiny: Study, begun: Path, finished: Path) -> None:
    cluster = on_ray()
    headers = run(tiny, cpu(begun), launcher=cluster.launch)
    assert cluster.set_aside == []
    assert_equal_records(finished, begun)
    assert_no_row_twice(begun)
    assert {header.run_id for header in headers} == {header.run_id for header in open_records(finished).headers}
    for header, alone in zip(open_records(begun).headers, open_records(finished).headers, strict=True):
        assert (header.cost.sessions_started, header.cost.sessions_finished) == (1, 1)
        assert (header.points, header.notes, header.controls) == (alone.points, alone.notes, alone.controls)
    document = read_cluster(begun)
    assert document is not None
    assert document.running == ()
    assert document.done == document.jobs
    assert sum(node.images for node in document.nodes.values()) > 0
    assert not Store(begun).locks.exists()


def test_a_worker_killed_in_the_middle_loses_and_doubles_no_row(
    tiny: Study, begun: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes: list[int] = []
    greeted = RayWorkers._greeted

    def noted(self: RayWorkers, actor: Any, *about: Any) -> None:
        greeted(self, actor, *about)
        processes.append(actor.process)

    monkeypatch.setattr(RayWorkers, "_greeted", noted)
    ended: list[int] = []

    def kill() -> None:
        for pause in (0.0, 1.0):
            end = time.monotonic() + 120
            while not any(begun.glob("records/*/shards/*.parquet")) and time.monotonic() < end:
                time.sleep(0.02)
            time.sleep(pause)
            os.kill(processes[len(ended)], signal.SIGKILL)
            ended.append(processes[len(ended)])

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        cluster = on_ray()
        run(tiny, cpu(begun), launcher=cluster.launch)
    finally:
        killer.join()
    assert len(ended) == 2
    assert len(processes) > 2
    assert cluster.set_aside == []
    assert_equal_records(finished, begun)
    assert_no_row_twice(begun)


def test_what_was_interrupted_goes_on_with_the_same_command(tiny: Study, begun: Path, finished: Path) -> None:
    stop = Counting(lambda unit, done: unit == "gradient steps" and done > 100)
    with pytest.raises(KeyboardInterrupt):
        run(tiny, cpu(begun, progress=stop), launcher=on_ray().launch)
    counted = Counting()
    run(tiny, cpu(begun, progress=counted), launcher=on_ray().launch)
    assert_equal_records(finished, begun)
    again = Counting()
    run(tiny, cpu(begun, progress=again), launcher=on_ray().launch)
    assert again.done == {}


def test_the_command_writes_the_report_and_status_says_who_did_what(tmp_path: Path, finished: Path) -> None:
    study, store = tmp_path / "tiny.yaml", tmp_path / "store"
    study.write_text(TINY)
    store.mkdir()
    (store / "compute.json").write_bytes((finished / "compute.json").read_bytes())
    done = CliRunner().invoke(app, ["run", str(study), "--store", str(store), "--on", "ray", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert Path(done.stdout.strip()).is_file()
    assert_equal_records(finished, store)
    assert "pieces" in CliRunner().invoke(app, ["status", str(store)]).stdout


def test_a_store_of_another_kind_of_machine_is_refused(tiny: Study, copied: Path) -> None:
    from advassay.errors import StoreError
    from advassay.store_documents import Machine
    from advassay.study.launchers.cluster_document import ClusterLog

    ClusterLog(Store(copied)).claim(Machine(device="cpu", device_name="another maker", torch="1.0"))
    with pytest.warns(UserWarning, match="is not used"), pytest.raises(StoreError, match="another kind of machine"):
        run(tiny, cpu(copied), launcher=on_ray().launch)
