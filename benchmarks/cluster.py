"""A study on a cluster: what handing out work costs, and whether its records are those of one process.

    python -m benchmarks.cluster                      # about 15 minutes on two cores
    python -m benchmarks.cluster --part engine        # seconds; no Ray
    python -m benchmarks.cluster --kills 2            # to see that it works
    python -m benchmarks.cluster --part chaos         # another 15 minutes

engine   the dispatcher with workers that only say they worked: pieces it hands out per second beside those that 200
         GPUs at 1,000 gradient steps per second ask for, and its memory from 10⁴ to 10⁶ images
records  a tiny study in one process, on Ray with 1 and 2 workers, and in three parts: rows bit for bit
kills    the same on Ray, workers killed (SIGKILL) at random moments: rows bit for bit, none lost, none doubled

chaos    the same on a head and two nodes (raylets of this machine) while, at random moments, workers are killed or
         stopped (SIGSTOP), nodes and the head are killed, and the store's disk is full: rows bit for bit

Batches are those that the program chooses. What is done is kept in runs/bench-cluster: the same command goes on. Prints
Markdown tables; exit 1 where records differ.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from advassay.progress import Silent
from advassay.records import Run, open_records
from advassay.store_layout import Store
from advassay.study import make_environment, parse_study
from advassay.study.jobs import enumerate_jobs
from advassay.study.launchers.dispatcher import Answer, Call, Dispatcher
from advassay.study.launchers.ray_launcher import RayCluster, RayWorkers
from advassay.study.run.run_pieces import BegunRun, Piece, PieceDone
from advassay.study.run.runner import run
from advassay.study.store_locks import work_session

STUDY = """
name: tiny
image_size_px: 40
sources:
  chest: {kind: phantoms, phantom: chest, images: 120, size_px: 40, signal: 3, prevalence: {tuberculosis: 0.5}}
cohorts:
  X-TB:
    source: chest
    image_type: X-ray
    classes: {tuberculosis: {tuberculosis: present}, norm: {norm: present}}
    per_class: 40
training: {architecture: test_resnet, updates: 4, batch_size: 16, evaluations: 1, learning_rate: 0.003}
attack:
  steps: 3
  images: 12
  epsilons: [0.02, 0.1]
  arms: {A: {}, C: {loss: margin, step_sizes: [epsilon/4], epsilons: [0.005]}}
"""
GPUS, GPU_RATE = 200, 1000.0
POINTS, STEPS = 10, 20
"""Of the reference study's grid."""
COLUMNS = ("image_id", "step_size", "epsilon", "label", "logits", "gradient_norm", "linf", "l2", "ssim")


class PretendedWorkers:
    """Workers that say at once that they did what a GPU would have done."""

    def __init__(self, number: int, images: int) -> None:
        self._free, self._images, self._number = list(range(number)), images, number
        self._came: deque[tuple[int, Call, Answer]] = deque()

    def idle(self) -> Sequence[int]:
        return self._free

    def number(self) -> int:
        return self._number

    def node(self, worker: Any) -> str:
        return "pretended"

    def submit(self, worker: Any, call: Call, prepared: tuple[str, ...], patience: float | None) -> None:
        self._free.remove(worker)
        self._came.append((worker, call, self._answer(call)))

    def results(self, timeout: float) -> list[tuple[int, Call, Answer]]:
        found = [self._came.popleft() for _ in range(len(self._came))]
        self._free.extend(worker for worker, *_ in found)
        return found

    def _answer(self, call: Call) -> Answer:
        points = frozenset(("0.01", epsilon / 100) for epsilon in range(POINTS))
        if call.piece is not None:
            steps = call.piece.images * POINTS * STEPS
            return Answer(PieceDone(call.piece.images, call.piece.images * POINTS, steps), steps / GPU_RATE)
        begun = BegunRun("run", (Piece(0, self._images, points),), self._images * POINTS * STEPS, 32)
        values: dict[str, Any] = {"do": True, "lock name": f"run-{call.job.kin}", "begin": begun, "end": "run"}
        return Answer(values[call.step], 0.01)


def engine(images: int) -> dict[str, Any]:
    """The dispatcher over runs of so many images each."""
    study = parse_study(STUDY)
    with tempfile.TemporaryDirectory() as folder, work_session(Store(Path(folder) / "store")) as session:
        dispatcher = Dispatcher(enumerate_jobs(study), PretendedWorkers(GPUS, images), session.store, session, Silent())
        tracemalloc.start()
        began = time.process_time()
        dispatcher.run()
        seconds = time.process_time() - began
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return {"images": images, "pieces": dispatcher.pieces, "seconds": seconds, "peak_bytes": peak}


# ---- records --------------------------------------------------------------------------------------------------------


def rows_of(store: Path) -> dict[str, dict[str, np.ndarray]]:
    """run_id → its columns."""
    records = open_records(store)
    return {h.run_id: {c: getattr(records.run(h.run_id).rows(), c) for c in COLUMNS} for h in records.headers}


def compare(store: Path, undisturbed: Path) -> dict[str, Any]:
    """Rows lost, doubled on the disk, and other than those of the undisturbed store."""
    mine, theirs = rows_of(store), rows_of(undisturbed)
    count = {name: sum(len(one["label"]) for one in rows.values()) for name, rows in (("m", mine), ("t", theirs))}
    stored = 0
    for run_id in mine:
        stored += sum(keys.num_rows for _, keys in Run(Store(store).run(run_id))._readable[0])
    equal = mine.keys() == theirs.keys() and all(
        np.array_equal(mine[run_id][c], theirs[run_id][c], equal_nan=theirs[run_id][c].dtype.kind == "f")
        for run_id in theirs
        for c in COLUMNS
    )
    return {"rows": count["m"], "lost": count["t"] - count["m"], "doubled": stored - count["m"], "equal": equal}


def undisturbed(folder: Path) -> Path:
    """The study in one process, by the command: what every other way is compared with."""
    store = folder / "undisturbed"
    if not (store / ".done").exists():
        shutil.rmtree(store, ignore_errors=True)
        subprocess.run(command(folder, store), check=True, stdout=subprocess.DEVNULL)
        (store / ".done").touch()
    return store


def command(folder: Path, store: Path, text: str = STUDY) -> list[str]:
    """The command that runs a study, without its report: as the only part."""
    study = folder / "study.yaml"
    study.write_text(text)
    return [sys.executable, "-m", "advassay.cli", "run", str(study), "--store", str(store), "--device", "cpu",
            "--threads", "1", "--quiet", "--part", "1/1"]  # fmt: skip


def emptied(folder: Path, like: Path, name: str) -> Path:
    """A new store with the execution configuration of another."""
    store = folder / name
    shutil.rmtree(store, ignore_errors=True)
    return begun_like(store, like)


def begun_like(store: Path, like: Path) -> Path:
    store.mkdir(parents=True)
    shutil.copy(like / "compute.json", store)
    return store


def on_ray(store: Path, cores: int, kills: int = 0, seed: int = 0) -> dict[str, Any]:
    """The study on a Ray of this machine, `kills` of its workers killed."""
    processes: list[int] = []
    greeted = RayWorkers._greeted

    def noted(self: RayWorkers, actor: Any, *about: Any) -> None:
        greeted(self, actor, *about)
        processes.append(actor.process)

    random_, ended, over = random.Random(seed), 0, threading.Event()

    def kill() -> None:
        nonlocal ended
        while ended < kills and not over.is_set():
            over.wait(random_.uniform(0.5, 6.0))
            if processes and not over.is_set():
                try:
                    os.kill(random_.choice(processes[-2:]), signal.SIGKILL)
                    ended += 1
                except ProcessLookupError:
                    continue

    killer = threading.Thread(target=kill)
    RayWorkers._greeted = noted  # type: ignore[method-assign]
    cluster = RayCluster(cores_per_worker=cores, device="cpu")
    began = time.monotonic()
    killer.start()
    try:
        run(parse_study(STUDY), make_environment(store, device="cpu", threads=1), launcher=cluster.launch)
    finally:
        over.set()
        killer.join()
        RayWorkers._greeted = greeted  # type: ignore[method-assign]
    return {"killed": ended, "set_aside": len(cluster.set_aside), "seconds": time.monotonic() - began}


def in_parts(store: Path, folder: Path, parts: int) -> dict[str, Any]:
    """The study in parts, a process each."""
    began = time.monotonic()
    parted = command(folder, store)[:-1]
    started = [subprocess.Popen([*parted, f"{number}/{parts}"]) for number in range(1, parts + 1)]
    if any([process.wait() for process in started]):
        raise SystemExit("a part failed")
    return {"killed": 0, "set_aside": 0, "seconds": time.monotonic() - began}


# ---- the whole ------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster")
    parser.add_argument("--part", action="append", choices=("engine", "records", "kills", "chaos"), help="only these")
    parser.add_argument("--kills", type=int, default=20, help="kills of workers in all")
    parser.add_argument("--disturbances", type=int, default=20, help="of the part chaos, in all")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--images", type=int, nargs="*", default=[10**4, 10**5, 10**6])
    parser.add_argument("--folder", type=Path, default=Path("runs/bench-cluster"))
    asked = parser.parse_args(arguments)
    parts = asked.part or ["engine", "records", "kills"]
    asked.folder.mkdir(parents=True, exist_ok=True)
    kept = asked.folder / "done.json"
    done: dict[str, dict[str, Any]] = json.loads(kept.read_text()) if kept.exists() else {}

    def once(name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if name not in done:
            done[name] = measure()
            kept.write_text(json.dumps(done, indent=2))
        return done[name]

    if "engine" in parts:
        print_engine([once(f"engine {n}", lambda n=n: engine(n)) for n in asked.images])  # type: ignore[misc]
    table: dict[str, dict[str, Any]] = {}
    if set(parts) & {"records", "kills"}:
        truth = undisturbed(asked.folder)
        cores = os.cpu_count() or 1

        def compared(name: str, how: Callable[[Path], dict[str, Any]]) -> None:
            store = emptied(asked.folder, truth, name.replace(" ", "-")) if name not in done else asked.folder
            table[name] = once(name, lambda: how(store) | compare(store, truth))

        if "records" in parts:
            compared("Ray, 1 worker", lambda store: on_ray(store, cores))
            compared(f"Ray, {cores} workers", lambda store: on_ray(store, 1))
            compared("3 parts", lambda store: in_parts(store, asked.folder, 3))
        if "kills" in parts:
            left, number = asked.kills, 0
            while left > 0 and number < asked.kills:
                name, most = f"kills {number}", min(4, left)
                compared(name, lambda store, most=most, number=number: on_ray(store, 1, most, number))  # type: ignore[misc]
                left, number = left - table[name]["killed"], number + 1
        print_records(table)
    if "chaos" in parts:
        from benchmarks.cluster_chaos import disturbed_runs, print_disturbances

        found = disturbed_runs(asked.folder, asked.disturbances, asked.seed)
        print_disturbances(found)
        table |= {f"chaos {number}": one for number, one in enumerate(found)}
    if any(not (one["equal"] and one["lost"] == one["doubled"] == 0) for one in table.values()):
        raise SystemExit(1)


def print_engine(found: Sequence[dict[str, Any]]) -> None:
    wanted = GPUS / 60
    print("| images a run | pieces | pieces a second of one core | asked for by 200 GPUs | peak memory, kB |")
    print("|---:|---:|---:|---:|---:|")
    for one in found:
        rate = one["pieces"] / max(1e-9, one["seconds"])
        print(
            f"| {one['images']:,} | {one['pieces']:,} | {rate:,.0f} | {wanted:.1f} | {one['peak_bytes'] / 1000:,.0f} |"
        )
    print()


def print_records(table: dict[str, dict[str, Any]]) -> None:
    print("| how | workers killed | rows | lost | doubled | bit for bit | set aside |")
    print("|---|---:|---:|---:|---:|---|---:|")
    for name, one in table.items():
        equal = "yes" if one["equal"] else "NO"
        numbers = " | ".join(str(one[key]) for key in ("killed", "rows", "lost", "doubled"))
        print(f"| {name} | {numbers} | {equal} | {one['set_aside']} |")
    print()


if __name__ == "__main__":
    main()
