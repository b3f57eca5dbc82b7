"""Millions of metadata rows → cohorts: rows, seconds and memory, on 2 cores.

    python benchmarks/selection.py                 # 2,000,000 made-up rows, as of an archive with reports read
    python benchmarks/selection.py --rows 200000

The table is made first, in a process of its own. What is measured is the whole way of `advassay select`: reading the
table from disk, the rules of four cohorts (age bands, balance of sex, equal classes, caps, exclusion of other findings,
one image a patient), and the split by patient. Peak memory is that of the measuring process, imports included.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CORES = 2
PREVALENCE = {
    "pneumosclerosis": 0.0117, "emphysema": 0.0049, "fibrosis": 0.0104, "pneumonia": 0.003, "focal_shadows": 0.0015,
    "bronchitis": 0.0004, "tuberculosis": 0.0007, "aortic_rotation": 0.0115,
}  # fmt: skip
"""Shares as in the reference study's archive of 1,908,926 records (Kovalev & Voynov 2019); X-AO's for the aorta."""

STUDY = """
name: selection
sources: {archive: {kind: table, path: rows.parquet}}
cohorts:
  X-NR2:
    source: archive
    where: &frontal {norm: present, view: [PA, AP]}
    classes: {age 20–35: {age: {range: [20, 35]}}, age 50–70: {age: {range: [50, 70]}}}
    balance: [sex]
    equal_classes: true
    per_class: 100000
  X-NR3:
    source: archive
    where: *frontal
    classes:
      age 17–24: {age: {range: [17, 24]}}
      age 25–41: {age: {range: [25, 41]}}
      age 42–80: {age: {range: [42, 80]}}
    balance: [sex]
    equal_classes: true
  X-AO:
    source: archive
    classes: {rotation: {aortic_rotation: present}, norm: {norm: present}}
    other_findings: excluded
    per_class: {rotation: 10980, norm: 16020}
  X-TB:
    source: archive
    classes: {tuberculosis: {tuberculosis: present}, norm: {norm: present}}
    other_findings: excluded
    images_per_patient: one
training: {updates: 1}
"""


def make_table(rows: int, path: Path) -> None:
    """Made-up rows with about 1.6 images a patient, and norm in as many as the reference study found (64 %)."""
    import numpy as np
    import polars as pl

    rng = np.random.default_rng(0)
    patient = np.sort(rng.integers(0, int(rows / 1.6), rows))
    stated = {name: rng.random(rows) < share for name, share in PREVALENCE.items()}
    ill = np.logical_or.reduce(list(stated.values()))
    norm = ~ill & (rng.random(rows) < 0.66)
    words = np.array(["not stated", "present"])
    frame = pl.DataFrame(
        {
            "image": pl.Series(np.arange(rows)).cast(pl.String).str.zfill(8) + ".dcm",
            "patient_id": "P" + pl.Series(patient).cast(pl.String).str.zfill(8),
            "age": np.where(rng.random(rows) < 0.01, np.nan, rng.integers(15, 90, rows)),
            "sex": rng.choice(["F", "M"], rows, p=(0.55, 0.45)),
            "view": rng.choice(["PA", "AP", "LL"], rows, p=(0.85, 0.05, 0.1)),
            "norm": words[norm.astype(int)],
            **{name: words[has.astype(int)] for name, has in stated.items()},
        }
    )
    frame.write_parquet(path)


def measure(folder: Path) -> None:
    """Select the cohorts of STUDY from the table in `folder`; prints the figures."""
    began, busy = time.perf_counter(), time.process_time()
    from advassay.store_layout import Store
    from advassay.study import parse_study, select_cohorts
    from advassay.study.environment import RunEnvironment

    selected = select_cohorts(parse_study(STUDY), RunEnvironment(Store(folder / "store"), data=folder))
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    for one in selected.values():
        print(f"{one.cohort}: {one.flow.candidates:,} rows → {one.frame.height:,} images, {one.counts()['validation']}")
    rows = next(iter(selected.values())).flow.candidates
    print(f"{rows:,} rows, {len(selected)} cohorts: {seconds:.1f} s ({busy:.1f} s of CPU), peak memory {peak:.2f} GiB")
    print(f"load of the machine at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.folder:
        measure(asked.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        make_table(asked.rows, Path(folder, "rows.parquet"))
        two_cores = os.environ | {"POLARS_MAX_THREADS": str(CORES)}
        subprocess.run([sys.executable, __file__, "--folder", folder], check=True, env=two_cores)


if __name__ == "__main__":
    main()
