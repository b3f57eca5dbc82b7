"""Which nodes of a cluster are used, and what is made of workers that end, with a Ray that only says it is one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from advassay import __version__
from advassay.errors import AdvassayWarning, SpecError, StoreError
from advassay.spec.study_spec import Study
from advassay.store_documents import Machine
from advassay.store_layout import Store
from advassay.study.jobs import enumerate_jobs
from advassay.study.launchers import ray_launcher
from advassay.study.launchers.cluster_document import ClusterLog
from advassay.study.launchers.dispatcher import Answer, Call, Gone
from advassay.study.launchers.ray_launcher import MOST_FALLS, RayWorkers
from advassay.study.launchers.ray_worker import WorkerPlace

KIND = Machine(device="cpu", device_name="a maker", torch="2.9")


class RayError(Exception):
    pass


class RayActorError(RayError):
    pass


@dataclass
class PretendedRay:
    """A cluster of nodes with one core each; `answer` says what each method of each actor gives, or raises."""

    answer: Callable[[int, str], Any]
    node_ids: list[str]
    killed: list[tuple[int, bool]] = field(default_factory=list)
    exceptions: Any = field(default_factory=lambda: SimpleNamespace(RayError=RayError, RayActorError=RayActorError))

    def remote(self, **resources: Any) -> Callable[[type], Any]:
        def start(*arguments: Any) -> Any:
            number = next(numbers)
            method = lambda name: SimpleNamespace(remote=lambda *a: (number, name, object()))  # noqa: E731
            return SimpleNamespace(number=number, **{name: method(name) for name in ("hello", "call", "leave")})

        numbers = iter(range(1000))
        return lambda kind: SimpleNamespace(remote=start)

    def nodes(self) -> list[dict[str, Any]]:
        return [{"NodeID": node, "Alive": True, "Resources": {"CPU": 1}} for node in self.node_ids]

    def wait(self, references: list[Any], **how: Any) -> tuple[list[Any], list[Any]]:
        return references, []

    def get(self, reference: Any) -> Any:
        found = self.answer(reference[0], reference[1])
        if isinstance(found, Exception):
            raise found
        return found

    def kill(self, handle: Any, *, no_restart: bool) -> None:
        self.killed.append((handle.number, no_restart))


def place(number: int, **changes: Any) -> WorkerPlace:
    told = {"node_id": f"id-{number}", "node": f"node-{number}", "process": number, "machine": KIND}
    return WorkerPlace(**told | {"version": __version__, "sees_store": True} | changes)  # type: ignore[arg-type]


def workers(ray: PretendedRay, folder: Path) -> RayWorkers:
    return RayWorkers(ray, (), "cpu", 1, ClusterLog(Store(folder / "store")))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"version": "0.0.1"}, "it has advassay 0.0.1"),
        ({"sees_store": False}, "is not this store"),
        ({"machine": KIND.model_copy(update={"instructions": ("amx_bf16",)})}, "another kind of machine"),
        ({"machine": KIND.model_copy(update={"torch": "2.8"})}, "another kind of machine"),
    ],
)
def test_a_node_that_would_compute_or_write_otherwise_gets_no_work(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    ClusterLog(Store(tmp_path / "store")).claim(KIND)
    ray = PretendedRay(lambda number, method: place(number, **(changes if number else {})), ["id-0", "id-1"])
    found = workers(ray, tmp_path)
    with pytest.warns(AdvassayWarning, match=f"node-1 is not used: .*{why}"):
        found.wait_for_first()
    assert found.idle() == [0]


def test_a_cluster_of_nodes_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    ray = PretendedRay(lambda number, method: place(number, sees_store=False), ["id-0"])
    with (
        pytest.warns(AdvassayWarning, match="is not used"),
        pytest.raises(StoreError, match="no node can be used: its folder"),
    ):
        workers(ray, tmp_path).wait_for_first()


def test_the_worker_of_a_refused_node_that_has_gone_is_used_where_it_begins_again(tmp_path: Path) -> None:
    at = ["id-1"]
    ray = PretendedRay(
        lambda number, method: place(number, node_id=at[0], sees_store=at[0] != "id-1") if number else place(0),
        ["id-0", "id-1"],
    )
    found = workers(ray, tmp_path)
    with pytest.warns(AdvassayWarning, match="is not used"):
        found.results(0)
    assert found.idle() == [0]
    at[0], ray.node_ids = "id-2", ["id-0", "id-2"]
    found._grow()
    found.results(0)
    assert found.idle() == [0, 1]


def test_workers_that_end_at_every_start_are_given_up_and_the_command_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = PretendedRay(lambda number, method: RayActorError("ended"), ["id-0"])
    found = workers(ray, tmp_path)
    with pytest.raises(SpecError, match="no worker of 1 cores"):
        found.wait_for_first()
    assert ray.killed == [(0, True)]
    assert found._actors[0].falls == MOST_FALLS
    monkeypatch.setattr(ray_launcher, "START_SECONDS", -1.0)
    with pytest.raises(StoreError, match="there has been no worker"):
        found.results(0)


@pytest.mark.parametrize("error", [RayError("no answer of this kind"), RayActorError("ended")])
def test_a_call_without_an_answer_counts_as_a_lost_worker(tiny: Study, tmp_path: Path, error: Exception) -> None:
    told: list[Any] = [error, Answer(True, 0.1)]
    ray = PretendedRay(lambda number, method: place(number) if method == "hello" else told.pop(0), ["id-0"])
    found = workers(ray, tmp_path)
    found.wait_for_first()
    call = Call(enumerate_jobs(tiny)[0], "do")
    found.submit(0, call, (), None)
    assert found.results(0) == [(0, call, Gone(blamed=True))]
    found.results(0)
    assert found.idle() == [0]
    found.submit(0, call, (), None)
    assert found.results(0) == [(0, call, Answer(True, 0.1))]
