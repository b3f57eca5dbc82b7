"""DICOM files → scaled, resized, encoded rows of a shard: our `prepare` beside a plain pydicom + OpenCV script.

    python -m benchmarks.preparing           # 40 to 240 radiographs of 1300 × 1600 a syntax; 40 minutes on 2 cores
    python -m benchmarks.preparing --small   # to see that it works

Both begin with a folder and end with a Parquet shard of 16-bit PNGs and their columns. The plain script is a loop in
one process: dcmread, pixel_array, the scaling (np.percentile, or pydicom's apply_voi_lut, or division by the largest
value), MONOCHROME1 turned around, cv2.resize by area, cv2.imencode. Ours also screens headers, names every image by its
content, looks for duplicates, splits by patients and reads each file in a process that may die. Processor time is that
of the process and its children, wall time beside it with one worker on one processor and with two on two; in turn,
medians, less what the same program costs on ten files.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pydicom
from pydicom.pixels import apply_voi_lut

from advassay.sources.synthetic_archive.archive_plan import PlannedFile, plan_archive
from advassay.sources.synthetic_archive.archive_writer import dataset, encoded

SIDE = 224
SCALINGS = ("percentile", "voi", "full-range")
COUNTS = {"explicit": 240, "rle": 120, "jpeg-ls": 60, "jpeg2000": 40}
"""Radiographs of each syntax: slower decoders get fewer."""
SYNTAXES = tuple(COUNTS)
FEW = 10
"""Radiographs of the run that is taken off, so that starts and imports do not count: each class needs some per side."""


def write_files(folder: Path, syntax: str, count: int, rows: int, columns: int) -> None:
    """12-bit radiographs with a window, half of them MONOCHROME1, each another picture of another patient."""
    plan = next(file for file in plan_archive(1).files if file.fate == "kept")
    folder.mkdir()
    for number in range(count):
        rng = np.random.default_rng(number)
        smooth = cv2.resize(rng.random((9, 9), np.float32), (columns, rows), interpolation=cv2.INTER_CUBIC)
        pixels = np.clip(smooth * 3000 + 500 + rng.normal(0, 12, (rows, columns)), 0, 4095).astype(np.uint16)
        changed = {"syntax": syntax, "bits": 12, "rows": rows, "columns": columns, "image": number, "view": "PA"}
        changed |= {"patient_id": f"P{number}", "sex": "FM"[number % 2], "accession_number": f"A{number}"}
        changed |= {"photometric": ("MONOCHROME1", "MONOCHROME2")[number // 2 % 2]}
        ds = dataset(PlannedFile(**{**vars(plan), **changed}), pixels, number)
        ds.WindowCenter, ds.WindowWidth = 2048, 4096
        (folder / f"{number:05d}.dcm").write_bytes(encoded(ds, syntax))


def plain(folder: Path, out: Path, scaling: str) -> None:
    """The script that somebody would write in an afternoon."""
    cv2.setNumThreads(1)
    images = []
    for path in sorted(folder.iterdir()):
        ds = pydicom.dcmread(path)
        pixels = ds.pixel_array
        if scaling == "percentile":
            low, high = np.percentile(pixels, (0.5, 99.5))
            unit = np.clip((pixels.astype(np.float32) - low) / (high - low), 0, 1)
        elif scaling == "voi":
            unit = apply_voi_lut(pixels, ds).astype(np.float32) / (2**ds.BitsStored - 1)
        else:
            unit = pixels.astype(np.float32) / (2**ds.BitsStored - 1)
        if ds.PhotometricInterpretation == "MONOCHROME1":
            unit = 1 - unit
        small = cv2.resize(unit, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        png = cv2.imencode(".png", np.rint(np.clip(small, 0, 1) * 65535).astype(np.uint16))[1].tobytes()
        images.append({"image": {"bytes": png, "path": path.name}, "sex": ds.PatientSex, "age": ds.get("PatientAge")})
    pq.write_table(pa.Table.from_pylist(images), out / "images.parquet")


def ours(folder: Path, out: Path, scaling: str, workers: int) -> None:
    """One cohort by `prepare`; the number of workers is the number of processors this process may use."""
    from advassay.cohorts import prepare
    from advassay.spec.cohort_spec import CohortSpec
    from advassay.spec.source_spec import DicomSource

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:workers])
    spec = CohortSpec(source="d", classes={"f": {"sex": "F"}, "m": {"sex": "M"}}, scaling=scaling)
    source = DicomSource(kind="dicom", path=str(folder))
    document = prepare(
        *("c", spec, source),
        **{"size_px": SIDE, "seed": 0, "folder": out / "cohort", "data": None},
        **{"key": b"0123456789abcdef", "private": out / "private.parquet"},
    )
    assert sum(sum(counts.values()) for counts in document.counts.values()) == len(list(folder.iterdir()))


class Cost(NamedTuple):
    """Seconds of processors and of a clock."""

    cpu: float
    wall: float


def measured(way: str, folder: Path, scaling: str, workers: int) -> Cost:
    """What one way costs over `folder` in a process of its own, its start and imports included."""
    with tempfile.TemporaryDirectory() as out:
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        part = ["--way", way, str(folder), out, scaling, str(workers)]
        subprocess.run([sys.executable, "-W", "ignore", "-m", "benchmarks.preparing", *part], check=True)
        wall = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall)


def row(folder: Path, few: Path, name: str, scaling: str, runs: int) -> str:
    """Rates of all ways over the files that `folder` has beyond `few`, from medians of runs in turn."""
    count = len(list(folder.iterdir())) - len(list(few.iterdir()))
    ways = {"plain": ("plain", 1), "one": ("ours", 1), "two": ("ours", 2)}
    taken: dict[tuple[str, Path], list[Cost]] = {(way, place): [] for way in ways for place in (folder, few)}
    for _ in range(runs):
        for way, place in taken:
            kind, workers = ways[way]
            taken[way, place].append(measured(kind, place, scaling, workers))
    clocks = {key: [median(clock) for clock in zip(*costs, strict=True)] for key, costs in taken.items()}
    rate = {
        way: Cost(*(count / (a - b) for a, b in zip(clocks[way, folder], clocks[way, few], strict=True)))
        for way in ways
    }
    cells = (rate["plain"].cpu, rate["one"].cpu, rate["one"].cpu / rate["plain"].cpu, rate["plain"].wall)
    cells += (rate["one"].wall, rate["two"].wall, rate["two"].wall / rate["one"].wall)
    shown = [f"{value:,.1f}" if place not in (2, 6) else f"{value:.2f}" for place, value in enumerate(cells)]
    return f"| {name}, {scaling} | " + " | ".join(shown) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--count", type=int, help="radiographs of each syntax, above 10; else as many as are usual")
    parser.add_argument("--syntaxes", nargs="+", default=SYNTAXES, choices=SYNTAXES)
    parser.add_argument("--scalings", nargs="+", choices=SCALINGS, help="else all of explicit, percentile of others")
    parser.add_argument("--way", nargs=5, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.way:
        way, folder, out, scaling, workers = asked.way
        if way == "plain":
            plain(Path(folder), Path(out), scaling)
        else:
            ours(Path(folder), Path(out), scaling, int(workers))
        return
    rows, columns, runs = (400, 300, 1) if asked.small else (1600, 1300, asked.runs)
    print(f"{platform.machine()}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}")
    print("\n| | plain, per CPU s | ours, per CPU s | ours / plain (CPU) | plain, per s | ours, per s |", end="")
    print(" ours on two cores, per s | two / one |")
    print(f"|---|{'---|' * 7}")
    with tempfile.TemporaryDirectory() as place:
        for syntax in asked.syntaxes:
            folder, few = Path(place, syntax), Path(place, "few")
            write_files(folder, syntax, 14 if asked.small else asked.count or COUNTS[syntax], rows, columns)
            few.mkdir()
            for path in sorted(folder.iterdir())[:FEW]:
                shutil.copy(path, few)
            for scaling in asked.scalings or (SCALINGS if syntax == "explicit" else SCALINGS[:1]):
                print(row(folder, few, f"{columns} × {rows}, {syntax}", scaling, runs), flush=True)
            shutil.rmtree(folder)
            shutil.rmtree(few)


if __name__ == "__main__":
    main()
