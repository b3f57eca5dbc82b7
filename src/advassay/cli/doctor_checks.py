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

from advassay import __version__
from advassay.cli.progress_bars import size
from advassay.errors import ReportError
from advassay.optional_libraries import EXTRAS, is_installed, missing_modules

VERSIONS = ("numpy", "polars", "pyarrow", "scipy", "altair", "vl-convert-python", "torch", "timm", "pydicom")
"""Distributions whose versions are named."""
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
    return [
        *_program(), *_work(), _printing(), *_versions(), _processor(), _memory(), *_torch(), _data(data), _disk(store)
    ]  # fmt: skip


def _program() -> Iterator[Check]:
    yield Check("advassay", __version__, True)
    good = sys.version_info >= (3, 11)
    yield Check("python", platform.python_version(), good, "" if good else "Python 3.11 or newer is needed.")


def _work() -> Iterator[Check]:
    """What can be done with what is installed: the base, then each extra."""
    yield Check("base", "analyse, report and compare stores", True)
    for extra, (work, modules) in EXTRAS.items():
        missing = missing_modules(extra)
        some = set(missing) < set(modules)
        found = (
            work if not missing else f"cannot {work}" + (f", or not all: without {', '.join(missing)}" if some else "")
        )
        hint = f"optional: pip install 'advassay[{extra}]'" if missing else ""
        yield Check(f"[{extra}]", found, None if missing else True, hint)


def _printing() -> Check:
    """What `report --format pdf` needs, which no Python library brings."""
    from advassay.report.output.write_report import browser

    try:
        return Check("PDF of the page", browser(), True)
    except ReportError as error:
        return Check("PDF of the page", "no Chromium found", None, f"optional: {error.fix}")


def _versions() -> Iterator[Check]:
    for name in VERSIONS:
        if (found := _version(name)) is not None:
            yield Check(name, found, True)


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
    if not is_installed("torch"):
        return
    try:
        torch = import_module("torch")
    except (ImportError, OSError) as error:
        yield Check("torch works", str(error), False, "pip install --force-reinstall torch")
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
