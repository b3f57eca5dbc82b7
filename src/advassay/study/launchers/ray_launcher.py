"""`--on ray`: the jobs of a study on a Ray cluster, one worker per GPU or per few cores.

Ray starts the workers, puts them where there is room, carries calls and starts anew what ended. Results do not pass
through it: every worker writes its own shards into the store, which all nodes see, and gives back names and counts.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from advassay import __version__
from advassay.checked_files import read_document
from advassay.errors import AdvassayError, AdvassayWarning, SpecError, StoreError
from advassay.optional_libraries import optional_imports
from advassay.progress import timed_task
from advassay.records import read_cluster, read_header
from advassay.store_documents import ExecutionConfig, Machine
from advassay.study.environment import RunEnvironment
from advassay.study.jobs import Job
from advassay.study.launchers.cluster_document import ClusterLog
from advassay.study.launchers.dispatcher import FIRST_PATIENCE, Answer, Call, Dispatcher, Failure, Gone
from advassay.study.launchers.ray_worker import RayWorker, WorkerPlace, place_of
from advassay.study.run.job_runner import Outcome
from advassay.study.run.prepare_stage import Failures
from advassay.study.store_locks import Session
from advassay.study.study_storage import study_yaml

OBJECT_STORE = 100_000_000
"""Bytes of shared memory of a Ray that is started here: nothing large passes through it."""
START_SECONDS = 300.0
"""Until the first worker has to be there, and until another one has to where all were lost."""
MOST_FALLS = 6
"""Times that a worker may end before it is ready."""
LOOK_SECONDS = 10.0
"""Between two looks at what the cluster has."""
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_DEDUP_LOGS": "0"}
"""Ray reports nothing about its use to its makers, and leaves CUDA_VISIBLE_DEVICES of workers without a GPU alone."""
OWN = {"RAY_worker_niceness": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Of a Ray that is started here: workers with the priority of other programs (Ray gives them the lowest), and the
loopback address (which Ray uses where it is told that no other machine may join)."""
LOOPBACK = "127.0.0.1"


@dataclass
class RayCluster:
    """Where and how a study runs on Ray."""

    address: str | None = None
    """None: a Ray of its own on this machine, for as long as it runs; "auto": the cluster that this machine belongs to;
    else HOST:PORT or ray://HOST:PORT."""
    cores_per_worker: int | None = None
    """Cores of a worker without a GPU, its threads too; None: as many threads as the store was begun with, else 1."""
    device: str = "auto"
    """auto (GPUs where the cluster has some), cpu or cuda."""
    first_patience: float = FIRST_PATIENCE
    """Seconds after which a worker that says nothing of its first images counts as gone."""
    set_aside: list[AdvassayError] = field(default_factory=list)
    """What could not be done, after the rest has been."""

    def launch(
        self,
        jobs: Sequence[Job],
        site: RunEnvironment,
        session: Session,
        failures: Failures | None = None,
        *,
        wait: bool = True,
    ) -> dict[str, Outcome]:
        """Do the jobs on the cluster. Returns id → header, of the runs; what was set aside is in `set_aside`."""
        if not jobs:
            return {}
        with connected(self.address) as ray:
            device = _device(ray, self.device)
            cores = self.cores_per_worker or _threads_of(site) or 1
            read_cluster(site.store.root)  # a damaged one is refused before workers are started
            log = ClusterLog(site.store)
            there = replace(site, device=device, threads=cores if device == "cpu" else site.threads)
            workers = RayWorkers(ray, _arguments(jobs[0], there, session), device, cores, log)
            try:
                with timed_task(site.progress, "start workers"):
                    workers.wait_for_first()
                dispatcher = Dispatcher(
                    jobs, workers, site.store, session, site.progress, failures, wait, self.first_patience, log,
                    self.set_aside,
                )  # fmt: skip
                run_ids = dispatcher.run()
            finally:
                workers.close()
        return {id_: read_header(site.store.run(run_id)) for id_, run_id in run_ids.items()}


def _arguments(
    job: Job, site: RunEnvironment, session: Session
) -> tuple[str, str, str | None, str, int | None, str | None, str]:
    data, key = (None if path is None else str(path.resolve()) for path in (site.data, site.key_file))
    return study_yaml(job.study), str(site.store.root.resolve()), data, site.device, site.threads, key, session.name


def _threads_of(site: RunEnvironment) -> int | None:
    """Threads that the store's attacks on processors began with."""
    try:
        kept = [ExecutionConfig.model_validate(one) for one in read_document(site.store.compute, "").values()]
    except (FileNotFoundError, StoreError, ValueError):
        return site.threads
    return next((config.threads for config in kept if config.device == "cpu"), site.threads)


def _device(ray: Any, asked: str) -> str:
    """cpu or cuda, as the cluster has it. Raises SpecError."""
    gpus = ray.cluster_resources().get("GPU", 0) >= 1
    if asked == "cuda" and not gpus:
        raise SpecError("--device: cuda needs a cluster with GPUs, this one has none.", "Use --device cpu.")
    return "cuda" if gpus and asked != "cpu" else "cpu"


# ---- the connection -------------------------------------------------------------------------------------------------


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Ray, connected while inside: a cluster of its own on this machine, on loopback and behind a token, or `address`.

    Raises MissingLibraryError without the extra, SpecError where there is no cluster at the address.
    """
    with optional_imports("ray"), _environment(QUIET | (OWN | _own_token() if address is None else {})):
        import ray

        mine = not ray.is_initialized()
        if mine:
            _connect(ray, address)
        try:
            yield ray
        finally:
            if mine:
                ray.shutdown()


def _connect(ray: Any, address: str | None) -> None:
    common = {"namespace": "advassay", "log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        ray.init(
            address="local",
            num_cpus=os.cpu_count(),
            object_store_memory=OBJECT_STORE,
            include_dashboard=False,
            _node_ip_address=LOOPBACK,
            **common,
        )
        if any(node["NodeManagerAddress"] != LOOPBACK for node in ray.nodes()):
            warnings.warn(
                "Ray was imported before, and its ports are open to other machines, behind a token.",
                AdvassayWarning,
                stacklevel=4,
            )
        return
    if os.environ.get("RAY_AUTH_MODE", "") != "token" and not (Path.home() / ".ray" / "auth_token").exists():
        warnings.warn(
            "the Ray cluster is used without a token: whoever reaches its ports runs code as you. "
            "docs/how-to/cluster.md says how a token is set (RAY_AUTH_MODE=token).",
            AdvassayWarning,
            stacklevel=4,
        )
    try:
        ray.init(address=address, **common)
    except ray.exceptions.AuthenticationError:
        raise SpecError(
            f"--address: the Ray cluster at {address} does not take this token.",
            "Set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN to the cluster's own token.",
        ) from None
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise SpecError(
            f"--address: no Ray cluster answers at {address} ({type(error).__name__}).",
            "Start one (`ray start --head`), or leave --address away: then one is started on this machine.",
        ) from None


@cache
def _token() -> str:
    """Of clusters that this process starts: Ray reads it once."""
    return secrets.token_hex(32)


def _own_token() -> dict[str, str]:
    """A token for a cluster that nobody else is to use. Ray turns its authentication on by itself where it starts a
    cluster and RAY_AUTH_MODE is not set, and would otherwise write a token into the home folder.
    """
    return {} if os.environ.get("RAY_AUTH_MODE") else {"RAY_AUTH_TOKEN": _token()}


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Variables set while inside, where they are not set yet."""
    before = dict(os.environ)
    os.environ.update({name: value for name, value in values.items() if name not in before})
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            if name.startswith("RAY_"):  # Ray sets some of its own
                del os.environ[name]


# ---- workers --------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Actor:
    handle: Any
    node_id: str = ""
    node: str = ""
    process: int = 0
    ready: bool = False
    call: Call | None = None
    began: float = 0.0
    patience: float | None = None
    falls: int = 0
    """Times that it ended since it was last ready."""

    @property
    def given_up(self) -> bool:
        return self.falls >= MOST_FALLS


class RayWorkers:
    """Actors of a Ray cluster as the dispatcher's workers. One that ends is started anew, wherever there is room."""

    def __init__(self, ray: Any, arguments: tuple[Any, ...], device: str, cores: int, log: ClusterLog) -> None:
        self._ray, self._arguments, self._device, self._cores = ray, arguments, device, cores
        self._log = log
        resources = {"num_cpus": 1, "num_gpus": 1} if device == "cuda" else {"num_cpus": cores}
        self._class = ray.remote(max_restarts=-1, max_task_retries=0, **resources)(RayWorker)
        self._actors: list[_Actor] = []
        self._waiting: dict[Any, _Actor] = {}  # reference → the actor whose answer it is
        self._refused: dict[str, str] = {}  # Ray's id of a node → why it is not used
        self._looked, self._last_ready = 0.0, time.monotonic()
        self._grow()

    def _places(self) -> int:
        """Workers for which the cluster has room."""
        found = 0
        for node in self._ray.nodes():
            if node["Alive"]:
                has = node["Resources"]
                found += int(has.get("GPU", 0)) if self._device == "cuda" else int(has.get("CPU", 0) // self._cores)
        return found

    def _grow(self) -> None:
        """One actor for each place of the cluster, of nodes that came later too."""
        self._looked = time.monotonic()
        in_use = [actor for actor in self._actors if not actor.given_up]
        for _ in range(max(1, self._places()) - len(in_use)):
            actor = _Actor(self._class.remote(*self._arguments))
            self._actors.append(actor)
            self._greet(actor)
        for actor in in_use:  # of a refused node that has gone: Ray starts it anew elsewhere
            if actor.node_id in self._refused and not self._is_alive(actor.node_id):
                actor.node_id = ""
                self._greet(actor)

    def _greet(self, actor: _Actor) -> None:
        """Ask a new or restarted actor where it is; it gets work once it has answered."""
        actor.ready, actor.call, actor.patience = False, None, None
        self._waiting[actor.handle.hello.remote()] = actor

    def wait_for_first(self) -> None:
        """Raises SpecError where no worker starts, StoreError where all are of another kind than the store's."""
        end = time.monotonic() + START_SECONDS
        while not self.idle():
            if self._refused and all(actor.node_id in self._refused for actor in self._actors):
                raise StoreError(
                    f"cluster: no node can be used: {'; '.join(sorted(set(self._refused.values())))}.",
                    "Let all nodes be of one kind, with one version of advassay and the store at one path, or use "
                    "another --store.",
                )
            if time.monotonic() > end or all(actor.given_up for actor in self._actors):
                raise SpecError(
                    f"--cores-per-worker: no worker of {self._cores} cores ({self._device}) could be started.",
                    "See `ray status`: does a node have as much, and is the same advassay installed there?",
                )
            self.results(0.5)

    # ---- what the dispatcher asks -----------------------------------------------------------------------------------

    def idle(self) -> Sequence[int]:
        return [number for number, actor in enumerate(self._actors) if actor.ready and actor.call is None]

    def number(self) -> int:
        return sum(actor.ready for actor in self._actors)

    def node(self, worker: Any) -> str:
        return self._actors[worker].node

    def submit(self, worker: Any, call: Call, prepared: tuple[str, ...], patience: float | None) -> None:
        actor = self._actors[worker]
        actor.call, actor.began, actor.patience = call, time.monotonic(), patience
        answer = actor.handle.call.remote(call.job.id, call.step, prepared, place_of(call), call.rows_before)
        self._waiting[answer] = actor

    def results(self, timeout: float) -> list[tuple[int, Call, Answer | Failure | Gone]]:
        self._check_there_are_workers()
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._grow()
        if not self._waiting:
            time.sleep(timeout)
            return []
        ready, _ = self._ray.wait(list(self._waiting), num_returns=len(self._waiting), timeout=timeout / 4)
        if not ready:
            ready, _ = self._ray.wait(list(self._waiting), num_returns=1, timeout=timeout)
        found = []
        for reference in ready:
            actor = self._waiting.pop(reference)
            if (result := self._result(reference, actor)) is not None:
                found.append(result)
        found.extend(self._overdue())
        return found

    def _check_there_are_workers(self) -> None:
        """Raise StoreError where all workers were lost and none came back: else the work would never end."""
        if any(actor.ready for actor in self._actors):
            self._last_ready = time.monotonic()
        elif time.monotonic() - self._last_ready > START_SECONDS:
            raise StoreError(
                f"cluster: there has been no worker for {START_SECONDS:.0f} s.",
                "See `ray status`; with nodes that can be used the same command goes on.",
            )

    def _result(self, reference: Any, actor: _Actor) -> tuple[int, Call, Answer | Failure | Gone] | None:
        call = actor.call
        try:
            value = self._ray.get(reference)
        except self._ray.exceptions.RayActorError:
            blamed = self._is_alive(actor.node_id)
            self._restarted(actor)
            return None if call is None else (self._actors.index(actor), call, Gone(blamed))
        except self._ray.exceptions.RayError:  # it could not answer: another advassay or Python there, a lost answer
            self._ray.kill(actor.handle, no_restart=False)
            self._restarted(actor)
            return None if call is None else (self._actors.index(actor), call, Gone(blamed=True))
        if call is None:
            self._greeted(actor, value)
            return None
        actor.call = None
        if isinstance(value, Failure) and value.of_machine:
            self._ray.kill(actor.handle, no_restart=False)  # it may be placed on another machine
            self._greet(actor)
        return self._actors.index(actor), call, value

    def _restarted(self, actor: _Actor) -> None:
        """An actor ended. Ray starts it anew; one that ends again and again before it is ready is left alone."""
        actor.ready, actor.call, actor.patience = False, None, None
        actor.falls += 1
        if not actor.given_up:
            self._greet(actor)
        else:
            self._ray.kill(actor.handle, no_restart=True)

    def _is_alive(self, node_id: str) -> bool:
        return any(node["NodeID"] == node_id and node["Alive"] for node in self._ray.nodes())

    def _greeted(self, actor: _Actor, place: WorkerPlace) -> None:
        actor.node_id, actor.node, actor.process = place.node_id, place.node, place.process
        if why := self._why_refused(place):
            if place.node_id not in self._refused:
                self._refused[place.node_id] = why
                warnings.warn(f"node {place.node} is not used: {why}.", AdvassayWarning, stacklevel=2)
            return
        actor.ready, actor.falls = True, 0

    def _why_refused(self, place: WorkerPlace) -> str:
        """Why a node cannot be used; "" where it can. The first that can fixes the kind of machine."""
        if place.version != __version__:
            return f"it has advassay {place.version}, this process has {__version__}"
        if not place.sees_store:
            return "its folder at the store's path is not this store"
        held = self._log.claim(place.machine)
        if held == place.machine:
            return ""
        return (
            f"it is of another kind of machine ({_words(place.machine)}) than the store was begun on ({_words(held)}), "
            "so that the last bits of its results would differ"
        )

    def _overdue(self) -> Iterator[tuple[int, Call, Gone]]:
        """Workers that have said nothing for too long: they are killed, and started anew."""
        now = time.monotonic()
        for reference, actor in list(self._waiting.items()):
            call = actor.call
            if call is not None and actor.patience is not None and now - actor.began > actor.patience:
                del self._waiting[reference]
                self._ray.kill(actor.handle, no_restart=False)
                self._restarted(actor)
                yield self._actors.index(actor), call, Gone(blamed=True)

    def close(self) -> None:
        """Let the workers end their sessions, then end them."""
        with suppress(self._ray.exceptions.RayError, ConnectionError):  # the cluster itself may have gone
            leaving = [actor.handle.leave.remote() for actor in self._actors if actor.ready and actor.call is None]
            if leaving:
                self._ray.wait(leaving, num_returns=len(leaving), timeout=10)
            for actor in self._actors:
                self._ray.kill(actor.handle, no_restart=True)


def _words(machine: Machine) -> str:
    instructions = f", {' '.join(machine.instructions)}" if machine.instructions else ""
    return f"{machine.device} {machine.device_name}{instructions}, torch {machine.torch}"
