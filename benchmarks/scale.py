"""Records as large as the reference study's: a store of 262,816 images × 10 ε × 21 iterates, and what it costs.

    python -m benchmarks.scale runs/scale --make            # minutes; simulated, nothing is attacked
    python -m benchmarks.scale runs/scale                   # seconds and peak memory of every quantity, as a table
    python -m benchmarks.scale runs/scale --make --scale 0.01

Cohorts have the sizes of the reference study's validation splits (20 % of each); patients as far as it states them.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from advassay.spec.attack_spec import Arm
from tests.simulate import GRID, Cohort, make_store

FOUR = ("ovary tumour", "ovary norm", "thyroid tumour", "thyroid norm")
AGES = ("age 17-24", "age 25-41", "age 42-80")
COHORTS = (
    Cohort("X-NR2", "X-ray", ("age 20-35", "age 50-70"), 0.05, 1.2, patients=20_000),
    Cohort("X-NR3", "X-ray", AGES, 0.03, 1.0, patients=55_008),
    Cohort("X-AO", "X-ray", ("rotated aorta", "norm"), 0.06, -0.5, patients=2_700),
    Cohort("X-TB", "X-ray", ("tuberculosis", "norm"), 0.04, 1.0, patients=2_800),
    Cohort("H-OV", "histology", ("tumour", "norm"), 0.08, 0.6, patients=24, images_per_patient=800),
    Cohort("H-TH", "histology", ("tumour", "norm"), 0.09, 0.5, patients=24, images_per_patient=800),
    Cohort("H-OV-TH", "histology", FOUR, 0.07, 0.6, patients=48, images_per_patient=800, confidence_shift=0.8),
    Cohort("H-BR", "histology", ("tumour", "norm"), 0.07, 0.5, patients=100, images_per_patient=250),
)  # fmt: skip
ARM = Arm(epsilons=GRID, step_sizes=(0.01,), steps=20)


def make_reference_store(path: Path, scale: float = 1.0) -> Path:
    """Write the store, in the memory of one run's blocks; `scale` multiplies patients (never below 4)."""
    cohorts = tuple(replace(c, patients=max(4, round(c.patients * scale))) for c in COHORTS)
    return make_store(path, cohorts, {"A": ARM}, gallery=False)


def quantities(store: Path) -> dict[str, Callable[[], object]]:
    """Everything that is measured, in order; the first call reads and packs the records."""
    import advassay as aa
    from advassay import analysis

    records = aa.open_records(store)
    return {
        "success over ε (reads all records)": lambda: aa.success_curve(records, step=20),
        "success over iterations": lambda: aa.success_curve(records, "step"),
        "success over clean confidence": lambda: aa.success_curve(records, "clean_confidence"),
        "robust accuracy": lambda: aa.robust_accuracy_curve(records),
        "ε50": lambda: aa.epsilon50(records),
        "performance": lambda: aa.performance(records),
        "reliability": lambda: analysis.reliability(records),
        "survival of iterations, every ε": lambda: analysis.iteration_survival(records),
        "transitions, confidence flow": lambda: (analysis.transitions(records), analysis.confidence_flow(records)),
        "conclusions": lambda: aa.conclusions(records),
    }


def measure(store: Path) -> None:
    """Print a Markdown table: seconds (wall and CPU) of each quantity, and the process's peak memory so far."""
    print("| quantity | wall s | CPU s | peak MiB so far |\n|---|---:|---:|---:|")
    wall, cpu = time.perf_counter(), time.process_time()
    for name, compute in quantities(store).items():
        started, busy = time.perf_counter(), time.process_time()
        compute()
        spent, used = time.perf_counter() - started, time.process_time() - busy
        print(f"| {name} | {spent:.1f} | {used:.1f} | {_peak():.0f} |", flush=True)
    print(f"| **all** | {time.perf_counter() - wall:.1f} | {time.process_time() - cpu:.1f} | {_peak():.0f} |")
    load = os.getloadavg()[0]
    print(f"\n{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, load {load:.1f}.")


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--make", action="store_true", help="write the store instead of measuring it")
    parser.add_argument("--scale", type=float, default=1.0, help="with --make: fraction of the patients")
    asked = parser.parse_args()
    if asked.make:
        print(make_reference_store(asked.store, asked.scale))
    else:
        measure(asked.store)


if __name__ == "__main__":
    main()
