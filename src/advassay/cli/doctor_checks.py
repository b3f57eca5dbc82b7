"""What `advassay doctor` looks at."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from advassay.cli.progress_bars import size

NEEDED = ("torch", "torchvision", "timm", "polars", "pyarrow", "opencv-python-headless", "altair")
OPTIONAL = {
    "torchattacks": "comparison with another attack library (extra dev)",
    "foolbox": "comparison with another attack library (extra dev)",
    "playwright": "checks of the page in a real browser (extra dev)",
}
SCARCE = 2e9
"""Free bytes of disk below which a study may not fit."""


@dataclass(frozen=True)
class Check:
    """One line of the doctor."""

    what: str
    found: str
    ok: bool | None
    hint: str = ""


def checks(data: Path | None, store: Path) -> list[Check]:
    """All checks, in the order shown."""
    return [*_program(), *_libraries(), _processor(), _memory(), *_torch(), _data(data), _disk(store)]


def _program() -> Iterator[Check]:
    yield Check("advassay", __version__, True)
    good = sys.version_info >= (3, 11)
    yield Check("python", platform.python_version(), good, "" if good else "Python 3.11 or newer is needed.")


def _libraries() -> Iterator[Check]:
    for name in NEEDED:
        found = _version(name)
        yield Check(name, found or "not installed", found is not None, "" if found else "Install advassay anew.")
    for name, purpose in OPTIONAL.items():
        found = _version(name)
        yield Check(name, found or "not installed", True if found else None, "" if found else f"optional: {purpose}")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> Check:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Check("processor", f"{platform.machine()}, {usable} cores usable", True)


def _memory() -> Check:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return Check("memory", "unknown", None, "this system does not say")
    return Check("memory", size(total), total > 3e9, "" if total > 3e9 else "4 GB or more are needed for InceptionV3.")


def _torch() -> Iterator[Check]:
    try:
        torch = import_module("torch")
    except ImportError as error:
        yield Check("torch works", str(error), False, "Install advassay anew.")
        return
    yield Check("threads", f"{torch.get_num_threads()} by default", True)
    yield _gpu(torch)
    yield _bfloat16(torch)


def _gpu(torch: object) -> Check:
    cuda = torch.cuda  # type: ignore[attr-defined]
    if not cuda.is_available():
        return Check("GPU", "none", None, "optional: studies run on the processor")
    free, total = cuda.mem_get_info()
    return Check("GPU", f"{cuda.get_device_name()}, {size(free)} of {size(total)} free", True)


def _bfloat16(torch: object) -> Check:
    """Whether the processor multiplies bfloat16 in hardware; without it, half precision is slower than float32."""
    capability = getattr(torch.backends.cpu, "get_cpu_capability", lambda: "unknown")()  # type: ignore[attr-defined]
    flags = _cpu_flags()
    found = [flag for flag in ("amx_bf16", "avx512_bf16") if flag in flags]
    return Check(
        "bfloat16", f"{', '.join(found) or 'not in hardware'} (vector unit {capability})", True if found else None
    )


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split(":", 1)[1].split()) for line in lines if line.startswith("flags")), set())


def _data(data: Path | None) -> Check:
    if data is None:
        return Check("data folder", "not given", None, "only phantoms can be used; give --data or set ADVASSAY_DATA")
    if not data.is_dir():
        return Check("data folder", f"{data} is not a folder", False, "Give the folder that studies' paths start from.")
    return Check("data folder", f"{data}, {sum(1 for _ in data.iterdir())} entries", True)


def _disk(store: Path) -> Check:
    existing = next(part for part in (store.resolve(), *store.resolve().parents) if part.exists())
    if not os.access(existing, os.W_OK):
        return Check("disk", f"{existing} cannot be written to", False, "Use another --store.")
    free = shutil.disk_usage(existing).free
    return Check("disk", f"{size(free)} free at {existing}", free > SCARCE, "" if free > SCARCE else "Make room.")
