"""One process of a Ray cluster that does jobs: the study once at its start, then ids of jobs and places of images."""

from __future__ import annotations

import logging
import os
import socket
import time
import traceback
import warnings
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advassay.errors import AdvassayError, AdvassayWarning, CohortError
from advassay.store_documents import Machine
from advassay.store_layout import Store, disk_fault
from advassay.study.launchers.dispatcher import Answer, Call, Failure
from advassay.study.run.run_pieces import Piece

VECTOR_INSTRUCTIONS = (
    "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16",
    "avx_vnni", "amx_tile", "amx_int8", "amx_bf16", "asimd", "sve", "bf16", "i8mm",
)  # fmt: skip
"""Flags of /proc/cpuinfo by which the libraries under PyTorch choose their code."""


def this_machine(device: str) -> Machine:
    """What of this machine fixes the last bits of a result."""
    import torch

    if device == "cuda":
        return Machine(device=device, device_name=torch.cuda.get_device_name(), torch=str(torch.__version__))
    maker, flags = "", set[str]()
    try:
        text = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        text = ""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("vendor_id", "CPU implementer"):
            maker = value.strip()
        if name.strip() in ("flags", "Features"):
            flags = set(value.split())
    found = tuple(sorted(flags & set(VECTOR_INSTRUCTIONS)))
    return Machine(device=device, device_name=maker, instructions=found, torch=str(torch.__version__))


@dataclass(frozen=True)
class WorkerPlace:
    """Where a worker is, as far as the process that hands out work has to know."""

    node_id: str
    """Ray's id of the node."""
    node: str
    """Its name."""
    process: int
    machine: Machine
    version: str
    """Of advassay."""
    sees_store: bool
    """Whether its folder at the store's path is the store."""


SEE_SECONDS = 10.0
"""Until a node must see a file that another one has just made."""


class RayWorker:
    """Does calls for the process that hands them out. Nothing but names and counts goes back."""

    def __init__(
        self,
        study: str,
        store: str,
        data: str | None,
        device: str,
        threads: int | None,
        key_file: str | None,
        session: str,
    ) -> None:
        """`study`: as YAML text. `session`: name of the lock file of the session that hands out the work."""
        logging.getLogger().addHandler(logging.NullHandler())  # libraries quote files and people; Ray keeps stderr
        self._session = session
        self._asked = (study, store, data, device, threads, key_file)
        self._stack = ExitStack()
        self._runner: Any = None
        self._jobs: dict[str, Any] = {}

    def hello(self) -> WorkerPlace:
        """Where this worker is."""
        import ray

        from advassay import __version__

        node_id, machine = ray.get_runtime_context().get_node_id(), this_machine(self._asked[3])
        return WorkerPlace(node_id, socket.gethostname(), os.getpid(), machine, __version__, self._sees_store())

    def _sees_store(self) -> bool:
        lock, end = Store(Path(self._asked[1])).locks / self._session, time.monotonic() + SEE_SECONDS
        while not (found := lock.is_file()) and time.monotonic() < end:
            time.sleep(0.5)
        return found

    def _start(self) -> None:
        """Open a session in the store, at the first call: not before this machine has been found to be of its kind."""
        from advassay.process_tuning import tune_process
        from advassay.study.config.load_study import parse_study
        from advassay.study.environment import RunEnvironment
        from advassay.study.jobs import enumerate_jobs
        from advassay.study.run.job_runner import JobRunner
        from advassay.study.store_locks import work_session

        text, store, data, device, threads, key_file = self._asked
        if device == "cpu":
            tune_process()
        study, place = parse_study(text), Store(Path(store))
        site = RunEnvironment(
            place, Path(data) if data else None, device, threads, Path(key_file) if key_file else None
        )
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        session = self._stack.enter_context(work_session(place))
        self._jobs = {job.id: job for job in enumerate_jobs(study)}
        self._runner = JobRunner(site, session)

    def call(
        self,
        job_id: str,
        step: str,
        prepared: tuple[str, ...],
        place: tuple[int, int, tuple[tuple[str, float], ...]] | None,
        rows_before: bool,
    ) -> Answer | Failure:
        """Do one call; an error is a value, so that no exception of ours has to be understood elsewhere."""
        began = time.monotonic()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", AdvassayWarning)
            try:
                if self._runner is None:
                    self._start()
                value = self._do(job_id, step, prepared, place, rows_before)
            except AdvassayError as error:
                flow = error.flow if isinstance(error, CohortError) else ()
                return Failure(type(error).__name__, error.problem, error.fix, flow=flow)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # a panic of Polars is no Exception
                self._keep_log(job_id, error)
                return _failure(error)
        told = tuple(dict.fromkeys(str(one.message) for one in caught))
        return Answer(value, time.monotonic() - began, told)

    def _do(self, job_id: str, step: str, prepared: tuple[str, ...], place: Any, rows_before: bool) -> Any:
        job, runner = self._jobs[job_id], self._runner
        runner.know_prepared(prepared)
        if step == "do":
            return runner.do(job)[0]
        if step == "lock name":
            return runner.lock_name(job)
        if step == "begin":
            return runner.begin(job)
        if step == "end":
            return runner.end(job)
        start, stop, points = place
        return runner.attack_piece(job, Piece(start, stop, frozenset(points)), rows_before=rows_before)

    def _keep_log(self, job_id: str, error: BaseException) -> None:
        """Where in the code a job failed. What the error says is left out: it may name files and people."""
        try:
            folder = Store(Path(self._asked[1])).failed_jobs
            folder.mkdir(exist_ok=True)
            frames = "".join(traceback.format_tb(error.__traceback__))
            text = f"{job_id} on {socket.gethostname()}, process {os.getpid()}\n{frames}{type(error).__name__}\n"
            (folder / f"{job_id}.log").write_text(text)
        except OSError:
            pass  # the disk may be why it failed

    def leave(self) -> None:
        """End the session in the store."""
        self._stack.close()


def _failure(error: BaseException) -> Failure:
    """An error that is not ours; whether another machine may do better."""
    number = disk_fault(error) or (error.errno if isinstance(error, OSError) else None)
    if number is not None:
        return Failure("OSError", f"{number} {os.strerror(number)}", of_machine=True)
    kind = type(error).__name__
    of_machine = isinstance(error, OSError | MemoryError) or kind in ("OutOfMemoryError", "AcceleratorError")
    return Failure(kind, str(error), of_machine=of_machine)


def place_of(call: Call) -> tuple[int, int, tuple[tuple[str, float], ...]] | None:
    """A call's piece in plain values."""
    piece = call.piece
    return None if piece is None else (piece.start, piece.stop, tuple(sorted(piece.points)))
