"""Headers and decoded images per second of processor time, beside a plain pydicom loop; a row per transfer syntax.

    python -m benchmarks.dicom           # 600 headers, 12 images of 2 megapixels a syntax; about 3 minutes on 2 cores
    python -m benchmarks.dicom --small   # to see that it works

Ours does more: worker processes, facts from closed lists, technical rules, VOI to 16 bits. The plain
loop is `dcmread(stop_before_pixels=True)` and eight tags as text; `dcmread` and `pixel_array`. One worker, runs in
turn, medians. Processor time is that of this process and its worker; wall time, which a busy machine blurs, is beside.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import NamedTuple

import cv2
import numpy as np
import pydicom

from advassay.sources.dicom.pixel_reader import PixelRules
from advassay.sources.dicom.worker_pool import DicomWorkerPool
from advassay.sources.read_failures import Unreadable
from advassay.sources.synthetic_archive.archive_plan import SYNTAXES, PlannedFile, plan_archive
from advassay.sources.synthetic_archive.archive_writer import dataset, encoded

TAGS = ("PatientID", "PatientAge", "PatientSex", "ViewPosition", "BodyPartExamined", "Modality", "Rows", "Columns")
RULES = PixelRules(scaling="voi")
PACKAGES = ("pydicom", "python-gdcm", "pylibjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle", "numpy")


def files(folder: Path, syntax: str, count: int, rows: int, columns: int) -> list[str]:
    """`count` 12-bit radiographs in one transfer syntax: a smooth picture with the noise of a detector."""
    plan = next(file for file in plan_archive(1).files if file.fate == "kept")
    made = []
    for number in range(count):
        rng = np.random.default_rng(number)
        smooth = cv2.resize(rng.random((9, 9), np.float32), (columns, rows), interpolation=cv2.INTER_CUBIC)
        noisy = smooth * 3000 + 500 + rng.normal(0, 12, (rows, columns))
        pixels = np.clip(noisy, 0, 4095).astype(np.uint16)
        file = PlannedFile(**{**vars(plan), "syntax": syntax, "bits": 12, "rows": rows, "columns": columns, "image": 1})
        path = folder / f"{syntax.replace(' ', '-')}-{rows}-{number}"
        path.write_bytes(encoded(dataset(file, pixels, number), syntax))
        made.append(str(path))
    return made


def plain_headers(paths: list[str]) -> None:
    for path in paths:
        ds = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        [str(ds.get(tag)) for tag in TAGS]


def plain_pixels(paths: list[str]) -> None:
    for path in paths:
        ds = pydicom.dcmread(path, force=True)
        if "TransferSyntaxUID" not in ds.file_meta:
            ds.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
        assert ds.pixel_array.ndim == 2


def our_headers(crew: DicomWorkerPool) -> Callable[[list[str]], None]:
    def read(paths: list[str]) -> None:
        assert all(facts.get("reason") is None for facts in crew.headers(paths))

    return read


def our_pixels(crew: DicomWorkerPool) -> Callable[[list[str]], None]:
    def read(paths: list[str]) -> None:
        assert not any(isinstance(image, Unreadable) for image in crew.pixels(paths, RULES, lambda image: image))

    return read


def rates(
    ways: dict[str, Callable[[list[str]], None]], crew: DicomWorkerPool, paths: list[str], runs: int
) -> dict[str, Rate]:
    """Files per second of each way: medians of `runs`, the ways in turn; a first round warms disk and processes."""
    taken: dict[str, list[Rate]] = {name: [] for name in ways}
    for turn in range(runs + 1):
        for name, way in ways.items():
            wall, cpu = time.perf_counter(), _cpu_s(crew)
            way(paths)
            spent = Rate(_cpu_s(crew) - cpu, time.perf_counter() - wall)
            if turn:
                taken[name].append(spent)
    return {
        name: Rate(*(len(paths) / median(clock) for clock in zip(*each, strict=True))) for name, each in taken.items()
    }


class Rate(NamedTuple):
    """By processor time and by wall time."""

    cpu: float
    wall: float


def _cpu_s(crew: DicomWorkerPool) -> float:
    """Processor seconds of this process and of the crew's live workers."""
    ticks = 0
    for worker in crew._all:
        fields = Path(f"/proc/{worker.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def row(name: str, rate: dict[str, Rate]) -> str:
    plain, ours = rate["pydicom"], rate["ours"]
    cells = (plain.cpu, ours.cpu, plain.wall, ours.wall)
    return f"| {name} | " + " | ".join(f"{value:,.1f}" for value in cells) + f" | {ours.cpu / plain.cpu:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    headers, images, rows, columns, runs = (60, 4, 400, 300, 1) if asked.small else (600, 12, 1600, 1300, 5)
    crew = DicomWorkerPool(1)
    print(f"{platform.machine()}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f};", end=" ")
    print(", ".join(f"{name} {_version(name)}" for name in PACKAGES))
    print("\n| | pydicom, per CPU s | ours, per CPU s | pydicom, per s | ours, per s | ours / pydicom (CPU) |")
    print(f"|---|{'---|' * 5}")
    with tempfile.TemporaryDirectory() as place:
        paths = files(Path(place), "explicit", headers, 64, 64)
        ways = {"pydicom": plain_headers, "ours": our_headers(crew)}
        print(row(f"headers ({headers} files)", rates(ways, crew, paths, runs)), flush=True)
        for syntax in SYNTAXES:
            paths = files(Path(place), syntax, images, rows, columns)
            ways = {"pydicom": plain_pixels, "ours": our_pixels(crew)}
            print(row(f"images {columns} × {rows}, {syntax}", rates(ways, crew, paths, runs)), flush=True)
            for path in paths:
                Path(path).unlink()
    crew.close()


def _version(name: str) -> str:
    try:
        return version(name)
    except ModuleNotFoundError:
        return "absent"


if __name__ == "__main__":
    main()
