"""Who works in a store: locks of single pieces of work, of shared documents, and of the store as a whole.

Several processes may fill one store at once. Each opens a session; within it a job is done under its own lock, and
what several jobs write to (study.yaml, the gallery's list, …) is changed under the lock of that document. Commands
that change a whole store (forget, prune, merge) hold it alone. Every lock is the operating system's (flock, through
filelock): it ends with the process that holds it, however that ends, so that none can be left behind.
"""

from __future__ import annotations

import glob
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from filelock import Timeout

from advassay.errors import StoreError
from advassay.store_layout import Store, clear_leftovers, disk_fault, file_lock, make_folder

PATIENCE = 120.0
"""Seconds that a session waits for the store's own lock: other sessions hold it for a moment at a time."""
SESSION, STEP = "session-", "step-"


@contextmanager
def store_lock(store: Store) -> Iterator[None]:
    """Hold the whole store for this process; it is made if it does not exist. What killed processes left half written
    is cleared.

    Raises StoreError where another process holds it or works in it, and where the store cannot be made there.
    """
    with _own_lock(store, wait=0):
        if others := _sessions(store):
            raise _in_use(store, others[0])
        clear_leftovers(store)
        try:
            yield
        finally:
            shutil.rmtree(store.locks, ignore_errors=True)


class Beginning(Protocol):
    """What is to be done before others can begin too; `alone`: whether no other session is open."""

    def __call__(self, *, alone: bool) -> None: ...


@contextmanager
def work_session(store: Store, begin: Beginning | None = None) -> Iterator[Session]:
    """Work in the store beside other sessions; it is made if it does not exist.

    Raises StoreError where a process holds the whole store, and where the store cannot be made there.
    """
    with ExitStack() as stack:
        with _own_lock(store, wait=PATIENCE):
            others = _sessions(store)
            clear_leftovers(store, only_old=bool(others))
            if begin is not None:
                begin(alone=not others)
            mine = store.locks / f"{SESSION}{os.getpid()}-{secrets.token_hex(4)}.lock"
            stack.enter_context(file_lock(mine, wait=0))
            mine.write_text(_this_process())
        try:
            yield Session(store, mine.name)
        finally:
            mine.unlink(missing_ok=True)
            stack.close()
            with (
                suppress(StoreError, OSError),
                _own_lock(store, wait=0),
            ):  # where another is just beginning, it cleans up
                if not _sessions(store):
                    shutil.rmtree(store.locks, ignore_errors=True)


class Session:
    """One process at work in a store. Its locks can be taken while it lasts."""

    def __init__(self, store: Store, name: str = "") -> None:
        self.store, self.name = store, name
        """`name`: of the session's own lock file, which no other session has; who sees that file sees this store."""

    @contextmanager
    def job_lock(self, name: str) -> Iterator[bool]:
        """Hold the piece of work `name`; yields False, and holds nothing, where another process is at it."""
        with ExitStack() as stack:
            try:
                stack.enter_context(file_lock(self.store.locks / f"{name}.lock", wait=0))
            except Timeout:
                yield False
                return
            yield True

    def is_held(self, name: str) -> bool:
        """Whether another process is at the piece of work `name`."""
        with self.job_lock(name) as held:
            return not held

    @contextmanager
    def step_lock(self, name: str, start: int = 0, stop: int = 0) -> Iterator[None]:
        """Hold a step of the piece of work `name`, as images `start` up to `stop` of a run, while inside.

        A process that hands out steps holds the work's own lock; where it ends, the workers that it gave steps to may
        live on for a while. These locks say so to whoever takes the work over.
        """
        lock = self.store.locks / f"{STEP}{name}.{start}-{stop}.{os.getpid()}-{secrets.token_hex(4)}.lock"
        with file_lock(lock, wait=0, remove=True):
            yield

    def steps_under_way(self, name: str) -> list[tuple[int, int]]:
        """(start, stop) of the steps of `name` that living processes hold; those of killed processes are removed."""
        held = _held(self.store, f"{STEP}{name}.")
        return [tuple(map(int, path.name.removeprefix(f"{STEP}{name}.").split(".")[0].split("-"))) for path in held]  # type: ignore[misc]


@contextmanager
def document_lock(store: Store, name: str) -> Iterator[None]:
    """Read and replace a document that several processes write; waits for whoever is at it."""
    with file_lock(store.locks / f"document-{name}.lock"):
        yield


@contextmanager
def _own_lock(store: Store, *, wait: float) -> Iterator[None]:
    """The lock of the store itself. Raises StoreError where it is held for longer than `wait` seconds."""
    with ExitStack() as stack:
        try:
            make_folder(store.root)
            stack.enter_context(file_lock(store.lock, wait=wait))
            store.lock.write_text(_this_process())
        except Timeout:
            raise _in_use(store, store.lock) from None
        except OSError as error:
            if disk_fault(error) is not None:
                raise
            raise StoreError(
                f"--store: {store.root} cannot be made or written ({error.strerror}).", "Use another --store."
            ) from None
        yield


def _sessions(store: Store) -> list[Path]:
    """Lock files of the sessions that are open; those of processes that were killed are removed."""
    return _held(store, SESSION)


def _held(store: Store, beginning: str) -> list[Path]:
    """Lock files with this beginning that a living process holds; the others are removed."""
    found = []
    for path in sorted(store.locks.glob(f"{glob.escape(beginning)}*.lock")):
        try:
            with file_lock(path, wait=0):
                path.unlink(missing_ok=True)
        except Timeout:
            found.append(path)
    return found


def _this_process() -> str:
    return f"{os.getpid()} on {socket.gethostname()}"


def _in_use(store: Store, held: Path) -> StoreError:
    """The error that names who holds a lock."""
    try:
        holder = held.read_text(errors="replace").split(" on ")[0].strip()
    except OSError:
        holder = ""
    return StoreError(
        f"store: one process at a time may write to {store.root}, process {holder or 'unknown'} does.",
        "Wait for it to end, or use another --store.",
    )
