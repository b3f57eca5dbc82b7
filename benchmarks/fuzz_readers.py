"""Mutated files through the DICOM and the table readers: nothing may crash, hang, swell or go uncounted.

    python -m benchmarks.fuzz_readers --cases 10000        # about 5 minutes on an idle core
    python -m benchmarks.fuzz_readers --cases 400          # to see that it works

Case n is drawn from n alone, so a finding is repeated with --first n --cases 1. Each DICOM case is read as a
source reads it: header, then pixels with scaling voi, by processes that are stopped after 20 and 60 seconds and may use
3.2 GiB; a table has 10 seconds and 4 GiB. Prints the outcomes; exit 1 where one is neither a result nor a reason.
"""

from __future__ import annotations

import argparse
import gzip
import io
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
from pydicom.dataset import Dataset

from advassay.errors import SourceError
from advassay.sources.dicom.header_reader import HEADER
from advassay.sources.dicom.pixel_reader import PixelRules
from advassay.sources.dicom.worker_pool import DicomWorkerPool
from advassay.sources.read_failures import Unreadable
from advassay.sources.synthetic_archive.archive_plan import SYNTAXES, plan_archive
from advassay.sources.synthetic_archive.archive_writer import dataset, encoded
from advassay.sources.table_files import read_table

LIMIT_S = 10.0
TABLE_BYTES = 4 << 30
WORDS = (b"\0", b"\xff", b"\x7f", b"\x80", b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f", b"\\", b"DICM", b"SQ")


@cache
def dicom_seeds() -> list[bytes]:
    """One small radiograph in each transfer syntax that can be written here, plain and with many tags; one gzipped."""
    plan = next(file for file in plan_archive(1).files if file.fate == "kept")
    rng = np.random.default_rng(0)
    pixels = (rng.random((40, 48)) * 4095).astype(np.uint16)
    small = replace(plan, bits=12, rows=40, columns=48, image=1)
    made = [encoded(dataset(replace(small, syntax=name), pixels, 0), name) for name in SYNTAXES]
    made += [encoded(_with_many_tags(dataset(replace(small, syntax=name), pixels, 0)), name) for name in SYNTAXES]
    return [*made, gzip.compress(made[0], mtime=0)]


def _with_many_tags(ds: Dataset) -> Dataset:
    """Padding, shutters, orientation, codes, descriptions, a character set: whatever decides about pixels and facts."""
    ds.SpecificCharacterSet, ds.PatientID, ds.PatientSex = "ISO_IR 144", "Иванов-17", ""
    ds.BodyPartExamined = ds.ViewPosition = ""
    view, part = Dataset(), Dataset()
    view.CodeValue, view.CodingSchemeDesignator = "272479007", "SCT"
    part.CodeValue, part.CodingSchemeDesignator = "T-D3000", "SRT"
    ds.ViewCodeSequence, ds.AnatomicRegionSequence = [view], [part]
    ds.SeriesDescription, ds.ProtocolName = "Thorax PA", "CHEST"
    ds.PresentationIntentType, ds.PatientOrientation = "FOR PRESENTATION", ["R", "F"]
    ds.PixelPaddingValue, ds.PixelPaddingRangeLimit = 0, 40
    ds.ShutterShape = ["RECTANGULAR", "CIRCULAR", "POLYGONAL"]
    ds.ShutterLeftVerticalEdge, ds.ShutterRightVerticalEdge = 2, 47
    ds.ShutterUpperHorizontalEdge, ds.ShutterLowerHorizontalEdge = 2, 39
    ds.CenterOfCircularShutter, ds.RadiusOfCircularShutter = [20, 24], 30
    ds.VerticesOfThePolygonalShutter = [2, 2, 2, 46, 39, 46, 39, 2]
    return ds


@cache
def table_seeds() -> list[tuple[str, bytes]]:
    """A CSV, a TSV and a Parquet file of the same rows."""
    frame = pl.DataFrame(
        {"image": [f"i{n}.png" for n in range(30)], "age": range(30), "patient_id": ["P,1", 'a"b', "é"] * 10}
    )
    made = []
    for suffix, save in ((".csv", frame.write_csv), (".parquet", frame.write_parquet)):
        into = io.BytesIO()
        save(into)
        made.append((suffix, into.getvalue()))
    return [*made, (".tsv", frame.write_csv(separator="\t").encode())]


def mutated(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """`data` with one to eight wounds: bits, bytes, lengths, pieces cut out, doubled, swapped in from `other`."""
    body = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        kind, place = int(rng.integers(8)), int(rng.integers(max(1, len(body))))
        size = int(rng.choice((1, 2, 4, 16, 256)))
        if kind in (4, 5) and rng.random() < 0.9:  # the first bytes say what a file is: most wounds lie behind them
            place = min(len(body), max(place, 144))
        if kind == 0 and body:
            body[place % len(body)] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            body[place : place + size] = rng.bytes(size)
        elif kind == 2:
            word = WORDS[int(rng.integers(len(WORDS)))]
            body[place : place + len(word)] = word
        elif kind == 3:
            body[place : place + 4] = struct.pack("<I", int(rng.integers(1 << 32)))
        elif kind == 4:
            del body[place : len(body) if rng.random() < 0.3 else place + size]
        elif kind == 5:
            body[place:place] = body[place : place + size] * int(rng.choice((1, 2, 50)))
        elif kind == 6:
            start = int(rng.integers(max(1, len(other))))
            body[place : place + size] = other[start : start + size]
        elif (at := body.find(b"\x28\0", place)) >= 0:  # the tags that decide about memory: group 0028
            body[at + 8 : at + 10] = struct.pack("<H", int(rng.choice((0, 1, 255, 32767, 65535))))
    return bytes(body)


def dicom_cases(first: int, cases: int, folder: Path) -> Iterator[Path]:
    seeds = dicom_seeds()
    for number in range(first, first + cases):
        rng = np.random.default_rng([1, number])
        one, other = (seeds[int(rng.integers(len(seeds)))] for _ in range(2))
        path = folder / f"case-{number}"
        path.write_bytes(mutated(one, other, rng))
        yield path


def run_dicom(first: int, cases: int) -> Counter[str]:
    """Outcome → cases. An image or a reason each; anything else raises here."""
    rules, seen = PixelRules("voi", most_pixels=4_000_000, turn=True), Counter[str]()
    crew = DicomWorkerPool(2, rules.most_pixels)
    with tempfile.TemporaryDirectory() as place:
        for start in range(first, first + cases, 512):
            paths = [str(p) for p in dicom_cases(start, min(512, first + cases - start), Path(place))]
            for facts in crew.headers(paths):
                assert set(facts) <= set(HEADER), facts
                seen[f"header: {facts.get('reason') or 'read'}"] += 1
            for result in crew.pixels(paths, rules, lambda image: image):
                seen[f"pixels: {result.named if isinstance(result, Unreadable) else 'read'}"] += 1
            for path in paths:
                Path(path).unlink()
    crew.close()
    return seen


def run_tables(first: int, cases: int) -> Counter[str]:
    """The same for tables, in processes of their own: 500 cases each, memory capped, a time limit a case."""
    seen = Counter[str]()
    for start in range(first, first + cases, 500):
        count = min(500, first + cases - start)
        part = ["--tables-only", "--first", str(start), "--cases", str(count)]
        done = subprocess.run([sys.executable, "-m", "benchmarks.fuzz_readers", *part], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"tables {start} … {start + count - 1}: exit {done.returncode}\n{done.stderr[-2000:]}")
        for line in done.stdout.splitlines():
            outcome, _, number = line.rpartition("\t")
            seen[outcome] += int(number)
    return seen


def table_process(first: int, cases: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (TABLE_BYTES, TABLE_BYTES))
    seen, seeds = Counter[str](), table_seeds()
    with tempfile.TemporaryDirectory() as place:
        for number in range(first, first + cases):
            rng = np.random.default_rng([2, number])
            suffix, data = seeds[int(rng.integers(len(seeds)))]
            path = Path(place, f"case{suffix}")
            path.write_bytes(mutated(data, seeds[0][1], rng))
            signal.setitimer(signal.ITIMER_REAL, LIMIT_S)  # ends the process: the parent says which cases
            try:
                read_table(path)
                seen["table: read"] += 1
            except SourceError:
                seen["table: refused (SourceError)"] += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
    for outcome, number in seen.items():
        print(f"{outcome}\t{number}")


def timed(run: Callable[[int, int], Counter[str]], first: int, cases: int) -> tuple[Counter[str], float]:
    start = time.perf_counter()
    return run(first, cases), time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000, help="of both kinds together: two thirds are DICOM")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--tables-only", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.tables_only:
        table_process(asked.first, asked.cases)
        return
    dicom = max(1, asked.cases * 2 // 3)
    for name, run, cases in (("DICOM", run_dicom, dicom), ("tables", run_tables, asked.cases - dicom)):
        outcomes, seconds = timed(run, asked.first, cases)
        print(f"\n{name}: {cases} cases in {seconds:.0f} s\n")
        for outcome, number in sorted(outcomes.items(), key=lambda item: (item[0].split(":")[0], -item[1])):
            print(f"| {outcome} | {number} |")
    print(f"\nlargest reader process: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
