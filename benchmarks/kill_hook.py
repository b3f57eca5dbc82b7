"""What a process under test does at its n-th file operation: die, or find the disk full. See `environment`.

The file is put in front of PYTHONPATH under the name sitecustomize.py, which Python imports before anything else.
Operations are those that Python audits (open, rename, remove, mkdir) on paths below a folder.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

FOLDER, KILL_AT, FULL_AT, LARGEST = (
    f"ADVASSAY_TEST_{name}" for name in ("FOLDER", "KILL_AT", "FULL_AT", "LARGEST_FILE")
)
EVENTS = {"open": 0, "os.rename": 0, "os.remove": 0, "os.mkdir": 0}
"""Audited event → place of its path among the arguments."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def environment(place: Path, folder: Path, *, kill_at: int = 0, full_at: int = 0, largest: int = 0) -> dict[str, str]:
    """Environment of a process that this file acts in; `place`: a folder for sitecustomize.py.

    `kill_at`: its process group is killed before that operation below `folder`; `full_at`: from that operation on
    nothing can be written there; `largest`: bytes that a file may have.
    """
    place.mkdir(parents=True, exist_ok=True)
    (place / "sitecustomize.py").write_text(Path(__file__).read_text())
    given = {FOLDER: folder, KILL_AT: kill_at, FULL_AT: full_at, LARGEST: largest}
    path = os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH", "")])])
    return os.environ | {"PYTHONPATH": path} | {name: str(value) for name, value in given.items()}


def install() -> Callable[[], int]:
    """Act in this process, as the environment says. Returns what gives the number of operations so far."""
    folder = os.environ[FOLDER]
    kill_at, full_at, largest = (int(os.environ.get(name) or 0) for name in (KILL_AT, FULL_AT, LARGEST))
    done = 0
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
    return lambda: done


if os.environ.get(FOLDER) and __name__ == "sitecustomize":
    install()
