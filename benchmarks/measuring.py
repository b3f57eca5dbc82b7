"""Clocks, memory, machine: what every table of the benchmarks says about where it was made."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from statistics import median

import torch


@dataclass(frozen=True)
class Measured:
    """One timed call."""

    wall_s: float
    cpu_s: float
    """CPU seconds of this process, all threads: on a busy machine the fairer clock."""
    peak_mib: float
    """Highest resident memory while it ran."""


def measured(call: Callable[[], object]) -> Measured:
    """Run `call` once under both clocks, sampling resident memory every 50 ms."""
    peak, done = [_resident_mib()], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            peak[0] = max(peak[0], _resident_mib())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        call()
    finally:
        elapsed = Measured(time.perf_counter() - wall, time.process_time() - cpu, max(peak[0], _resident_mib()))
        done.set()
        watcher.join()
    return elapsed


def spread(values: list[float]) -> str:
    """Median and range: "12.3 (12.1–12.9)"."""
    return f"{median(values):.3g} ({min(values):.3g}–{max(values):.3g})"


def machine(*packages: str) -> str:
    """One paragraph: processor, cores, threads, load, versions."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", *packages))
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    return (
        f"{_processor()}; {os.cpu_count()} cores, {torch.get_num_threads()} threads; load {load} at the end; "
        f"Python {platform.python_version()}; {versions}; commit {_commit()}"
    )


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def say(text: str) -> None:
    print(text, flush=True)


def note(text: str) -> None:
    """Progress, apart from the table."""
    print(text, file=sys.stderr, flush=True)


def _resident_mib() -> float:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _processor() -> str:
    with open("/proc/cpuinfo") as lines:
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str:
    try:
        return subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
