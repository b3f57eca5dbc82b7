"""What a process under test does at its n-th file operation: die, or find the disk full. See `environment`.

The file is put in front of PYTHONPATH under the name sitecustomize.py, which Python imports before anything else.
Operations are those that Python audits (open, rename, remove, mkdir) on paths below a folder.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path

FOLDER, KILL_AT, FULL_AT, COUNT, LARGEST, MAIN = (
    f"ADVASSAY_TEST_{name}" for name in ("FOLDER", "KILL_AT", "FULL_AT", "COUNT", "LARGEST_FILE", "MAIN")
)
EVENTS = {"open": 0, "os.rename": 0, "os.remove": 0, "os.mkdir": 0}
"""Audited event → place of its path among the arguments."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def environment(
    place: Path, folder: Path, *, kill_at: int = 0, full_at: int = 0, count: Path | None = None, largest: int = 0
) -> dict[str, str]:
    """Environment of a process that this file acts in; `place`: a folder for sitecustomize.py.

    `kill_at`: its process group is killed before that operation below `folder`; `full_at`: from that operation on
    nothing can be written there; `count`: a file that the number of operations is written to when it ends; `largest`:
    bytes that a file may have.
    """
    place.mkdir(parents=True, exist_ok=True)
    (place / "sitecustomize.py").write_text(Path(__file__).read_text())
    given = {FOLDER: folder, KILL_AT: kill_at, FULL_AT: full_at, COUNT: count or "", LARGEST: largest}
    path = os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH", "")])])
    return os.environ | {"PYTHONPATH": path} | {name: str(value) for name, value in given.items()}


def _install() -> None:
    folder = os.environ[FOLDER]
    kill_at, full_at, largest = (int(os.environ.get(name) or 0) for name in (KILL_AT, FULL_AT, LARGEST))
    count, done = os.environ.get(COUNT), 0
    if largest:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal done
        if event not in EVENTS or not isinstance(path := arguments[EVENTS[event]], str | os.PathLike):
            return
        if not os.fspath(path).startswith(folder):
            return
        done += 1
        if done == kill_at:
            os.killpg(0, signal.SIGKILL)
        writes = event in ("os.rename", "os.mkdir") or (event == "open" and bool(int(arguments[2] or 0) & WRITING))  # type: ignore[call-overload]
        if full_at and done >= full_at and writes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(path))

    sys.addaudithook(hook)
    if count and MAIN not in os.environ:  # processes that this one starts count for themselves
        os.environ[MAIN] = str(os.getpid())
        import atexit

        atexit.register(lambda: os.write(os.open(count, os.O_WRONLY | os.O_CREAT), str(done).encode()))


if os.environ.get(FOLDER):
    _install()
