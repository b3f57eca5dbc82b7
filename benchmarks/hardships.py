"""A tiny study's store in hard times: every file damaged in every way, a full disk, hostile input.

    python -m benchmarks.hardships                  # about 20 minutes on one core
    python -m benchmarks.hardships --every 8        # every eighth case, to see that it works
    python -m benchmarks.hardships --part full      # the full disks alone

Each case is a command in a process of its own, forked where its time and memory are not measured. It ends well (exit
0), or with one clear error (an exit code of ours and a text that begins with "Error:"); a traceback, a time over the
limit or memory over the limit is a failure. After a damage or a full disk the same command goes on, and the rows must
be those of the undisturbed store.

Prints a Markdown table; exit 1 where a case failed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.kill_hook import LARGEST, environment
from benchmarks.kills import PHANTOMS, Forked, Subject, command, compared, fresh, import_all, undisturbed

LIMIT_S, LIMIT_KB = 10.0, 1_000_000
"""What a hostile input may take; importing the program takes part of it."""
KINDS = {
    "header": "records/*/header.json",
    "images of a run": "records/*/images.parquet",
    "shard": "records/*/shards/*.parquet",
    "preparation": "cohorts/*/preparation.json",
    "manifest": "cohorts/*/manifest.parquet",
    "prepared images": "cohorts/*/images-*.parquet",
    "training": "classifiers/*/training.json",
    "weights": "classifiers/*/model.safetensors",
    "gallery index": "gallery/index.json",
    "gallery image": "gallery/*.png",
    "compute shapes": "compute.json",
    "study": "study.yaml",
    "table of the report": "report/tables/*.csv",
    "private table": "../damaged.sources.parquet",
}
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda data: b"",
    "cut off": lambda data: data[: len(data) // 2],
    "zeros": lambda data: bytes(len(data)),
    "a bit flipped": lambda data: _flipped(data, len(data) * 3 // 7),
}
READERS = ("analyse", "conclusions", "status", "report")


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :]


@dataclass
class Outcome:
    """How a command ended."""

    group: str
    what: str
    end: str
    """well | clear error | traceback | no clear error | too slow | too large | other rows"""


def ended(arguments: list[str], folder: Path, env: dict[str, str] | None = None) -> tuple[str, str]:
    """(how `advassay ARGUMENTS` ended, what it said); `folder`: for what it says."""
    program = [sys.executable, "-m", "advassay.cli"]
    if env is not None and int(env[LARGEST]):  # what it says must not be cut off with the files: a pipe has no size
        done = subprocess.run([*program, *arguments], env=env, capture_output=True, text=True)
        code, said = done.returncode, done.stderr + done.stdout
    else:
        process = Forked([*program, *arguments], env or {}, folder)
        code, said = process.wait(), process.said()
    if "Traceback (most recent call last)" in said:
        return "traceback", said
    if code == 0:
        return "well", said
    return ("clear error" if "Error:" in said else "no clear error"), said


def damaged(subject: Subject, folder: Path, number: int) -> Iterator[tuple[int, Callable[[], Iterator[Outcome]]]]:
    """Every kind of file in every way."""
    for kind, pattern in KINDS.items():
        for name, change in DAMAGES.items():
            number += 1
            yield (
                number,
                lambda kind=kind, pattern=pattern, name=name, change=change: _damaged(  # type: ignore[misc]
                    subject, folder, kind, pattern, name, change
                ),
            )


def _damaged(
    subject: Subject, folder: Path, kind: str, pattern: str, name: str, change: Callable[[bytes], bytes]
) -> Iterator[Outcome]:
    store = folder / "damaged"
    shutil.rmtree(store, ignore_errors=True)
    shutil.copytree(subject.whole, store)
    shutil.copy(folder / f"{subject.whole.name}.sources.parquet", folder / "damaged.sources.parquet")
    path = store / pattern if pattern.startswith("..") else sorted(store.glob(pattern))[0]
    path.write_bytes(change(path.read_bytes()))
    for verb in READERS:
        end, said = ended([verb, str(store)], folder)
        if end == "clear error" and path.name not in said:
            end = "no clear error"
        yield Outcome("damaged, read", f"{kind} {name}: {verb}", end)
    end, said = ended(command(subject, store)[3:], folder)
    if end == "clear error" and path.name not in said:
        end = "no clear error"
    if end == "well" and (apart := [text for text in compared(subject.whole, store, "attack") if "rows of" in text]):
        end = f"other rows: {apart}"
    yield Outcome("damaged, same command", f"{kind} {name}", end)


def full(subject: Subject, folder: Path, number: int) -> Iterator[tuple[int, Callable[[], Iterator[Outcome]]]]:
    """A disk that is full from the n-th file operation on, and files that may not grow beyond some bytes."""
    points = [1 + subject.operations["run"] * k // 24 for k in range(24)]
    for settings in [{"full_at": n} for n in points] + [{"largest": 1 << k} for k in range(8, 22)]:
        number += 1
        yield number, lambda settings=settings: _full(subject, folder, settings)  # type: ignore[misc]


def _full(subject: Subject, folder: Path, settings: dict[str, int]) -> Iterator[Outcome]:
    store = folder / "full"
    shutil.rmtree(store, ignore_errors=True)
    (folder / "full.sources.parquet").unlink(missing_ok=True)
    hooked = environment(folder / "hook", fresh(subject, store), **settings)  # type: ignore[arg-type]
    end, _ = ended(command(subject, store)[3:], folder, hooked)
    yield Outcome("full disk", str(settings), end)
    end, said = ended(command(subject, store)[3:], folder)
    if end == "well" and (apart := compared(subject.whole, store, "run")):
        end = f"other rows: {apart}"
    yield Outcome("after a full disk, same command", str(settings), end if end == "well" else f"{end}: {said[-300:]}")


def hostile(folder: Path, number: int) -> Iterator[tuple[int, Callable[[], Iterator[Outcome]]]]:
    """Study files, tables, names and places that are made to do harm."""
    for name, arguments in _hostile(folder):
        number += 1
        yield number, lambda name=name, arguments=arguments: _measured(name, arguments)  # type: ignore[misc]


WATCH = """
import json, resource, subprocess, sys
code = subprocess.call(sys.argv[2:], stdout=1, stderr=1)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
open(sys.argv[1], "w").write(json.dumps([code, used.ru_utime + used.ru_stime, used.ru_maxrss]))
"""
"""Runs a command from a process that is small itself. Linux counts the memory of the process that forks (getrusage(2):
ru_maxrss survives execve), and this harness has imported everything."""


def _measured(name: str, arguments: list[str]) -> Iterator[Outcome]:
    began = time.monotonic()
    with tempfile.NamedTemporaryFile("r") as measured:
        said = subprocess.run(
            [sys.executable, "-I", "-S", "-c", WATCH, measured.name, sys.executable, "-m", "advassay.cli", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True,
        ).stdout  # fmt: skip
        code, seconds, kilobytes = json.loads(measured.read())
    end = "clear error" if code and "Error:" in said else "no clear error"
    if "Traceback (most recent call last)" in said:
        end = "traceback"
    elif seconds > LIMIT_S:
        end = f"too slow: {seconds:.0f} s of processor, {time.monotonic() - began:.0f} s"
    elif kilobytes > LIMIT_KB:
        end = f"too large: {kilobytes / 1e6:.2f} GB"
    yield Outcome("hostile input", name, end)


def _hostile(folder: Path) -> Iterator[tuple[str, list[str]]]:
    def aliased(first: str, item: str, width: int, depth: int) -> str:
        lines = [f"b0: &b0 {first}"]
        lines += [f"b{n}: &b{n} " + item % ", ".join([f"*b{n - 1}"] * width) for n in range(1, depth)]
        return "\n".join(lines)

    texts = {
        "aliases in lists": aliased("[x, x]", "[%s]", 9, 12),
        "aliases merged": aliased("{k: v}", "{<<: [%s]}", 10, 10),
        "an anchor that contains itself": "a: &a {b: *a}",
        "an anchor that merges itself": "a: &a {<<: *a}",
        "a long chain of aliases": "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 5000))]),
        "50,000 brackets": "a: " + "[" * 50_000,
        "a million values": "a: [" + "x, " * 1_000_000 + "]",
        "a Python object": "a: !!python/object/apply:os.system [ls]",
        "binary": "a: \0\1\2",
    }
    for name, text in texts.items():
        path = folder / f"{name.replace(' ', '-')}.yaml"
        path.write_text(PHANTOMS + text + "\n")
        yield f"YAML: {name}", ["plan", str(path), "--no-measure"]
    yield "YAML: an endless file", ["plan", "/dev/zero", "--no-measure"]
    columns = {
        "a dictionary": pa.DictionaryArray.from_arrays(
            pa.array(np.zeros(50_000_000, np.int32)), pa.array(["x" * 1000])
        ),
        "few rows of a long text": pa.DictionaryArray.from_arrays(
            pa.array(np.zeros(20_000, np.int32)), pa.array(["x" * 1_000_000])
        ),
        "a run of numbers": pa.array(np.zeros(200_000_000, np.int64)),
    }
    for name, column in columns.items():
        path = folder / f"{name.replace(' ', '-')}.parquet"
        pq.write_table(pa.table({"image": column}), path)
        yield f"Parquet: {name}", ["init", str(path), "-o", str(folder / "never.yaml")]
    replaced = {
        "a cohort's name of 300 letters": ("X-TB:", "x" * 300 + ":"),
        "classes equal but for case": ("norm: {norm", "Tuberculosis: {norm"),
        "a class like a path": ("norm: {norm", '"../x": {norm'),
        "10^12 phantoms": ("images: 90", "images: 1000000000000"),
        "images of 10^6 px": ("image_size_px: 40", "image_size_px: 1000000"),
    }
    for name, (old, new) in replaced.items():
        path = folder / f"{name.replace(' ', '-').replace('/', '')}.yaml"
        path.write_text(PHANTOMS.replace(old, new, 1))
        yield f"names and numbers: {name}", ["plan", str(path), "--no-measure"]
    study = folder / "good.yaml"
    study.write_text(PHANTOMS)
    for place in ("/dev/null/x", "/proc/x", str(study), f"{study}/x", "/", str(folder / ("y" * 300))):
        yield f"a store at {place[:40]}", ["run", str(study), "--store", place, "-q", "--device", "cpu"]


PARTS = ("damaged", "full", "hostile")


def _cases(part: str, subject: Subject, folder: Path) -> Iterator[tuple[int, Callable[[], Iterator[Outcome]]]]:
    if part == "damaged":
        return damaged(subject, folder, 0)
    return full(subject, folder, 0) if part == "full" else hostile(folder, 0)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--every", type=int, default=1, help="take every N-th case")
    options.add_argument("--part", choices=PARTS, action="append", help="this part alone; may be given again")
    asked = options.parse_args()
    # Figures are drawn in the process itself: workers would import the libraries anew for every report.
    os.environ["LOKY_MAX_CPU_COUNT"] = "1"
    folder = Path(tempfile.mkdtemp(prefix="hardships-"))
    import_all()
    subject = undisturbed("phantoms", PHANTOMS, folder)
    outcomes: list[Outcome] = []
    for part in asked.part or PARTS:
        for number, case in _cases(part, subject, folder):
            for outcome in case() if number % asked.every == 0 else ():
                outcomes.append(outcome)
                print(f"{outcome.group}: {outcome.what}: {outcome.end}", file=sys.stderr, flush=True)
    ends = ("well", "clear error")
    print("\n| what | tried | well | clear error | traceback or worse |\n|---|---:|---:|---:|---:|")
    for group in dict.fromkeys(outcome.group for outcome in outcomes):
        counts = Counter(one.end if one.end in ends else "worse" for one in outcomes if one.group == group)
        print(f"| {group} | {counts.total()} | {counts['well']} | {counts['clear error']} | {counts['worse']} |")
    worse = [one for one in outcomes if one.end not in ends]
    for one in worse:
        print(f"{one.group}: {one.what}: {one.end}")
    shutil.rmtree(folder)
    raise SystemExit(bool(worse))


if __name__ == "__main__":
    main()
