"""A study that is killed again and again: does it end as one that was left alone?

    python -m benchmarks.kills --kills 100         # about half an hour on one core
    python -m benchmarks.kills --kills 6           # to see that it works

Two tiny studies: phantoms, and DICOM files, which processes of their own decode. `advassay attack`, and with every
sixth store `advassay run` with its report, is killed (SIGKILL to its whole process group) at random times and before
the n-th file operation in its store, n going through all there are; single decoding processes are killed under it; and
it is asked to stop (SIGTERM, SIGINT). The same command goes on, and is killed again. After `CHAIN` kills it is left
alone, and its store is compared with an undisturbed one: images, weights, rows and gallery bit for bit, documents and
headers field by field but for times and cost, the report's tables.

`--upkeep N`: `advassay merge`, `forget` and `prune` are each killed N times before their n-th file operation, n spread
over all there are, on a copy of the undisturbed store; the same command is then left alone, and the store compared with
one in which the command was not killed.

Prints a Markdown table; exit 1 where a store differs or a command ended in a traceback.
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
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from advassay.cli.program import main as main_of_the_program
from advassay.records import open_records
from benchmarks.kill_hook import environment, install

CHAIN = 8
"""Kills that one store goes through before it is left alone and compared."""
UPKEEP = ("merge", "forget", "prune")
SHARED = """
training: {architecture: test_resnet, updates: 6, batch_size: 16, evaluations: 2, learning_rate: 0.003}
attack:
  steps: 3
  images: 8
  control_images: 2
  epsilons: [0.02, 0.1]
  arms: {A: {}, C: {loss: margin, step_sizes: [epsilon/4], epsilons: [0.005], images: 6}}
"""
PHANTOMS = f"""
name: killed-phantoms
image_size_px: 40
sources:
  chest: {{kind: phantoms, phantom: chest, images: 90, size_px: 40, signal: 3, prevalence: {{tuberculosis: 0.5}}}}
cohorts:
  X-TB:
    source: chest
    image_type: X-ray
    classes: {{tuberculosis: {{tuberculosis: present}}, norm: {{norm: present}}}}
    per_class: 30
    train_sizes: [0.5]
{SHARED}"""
DICOM = f"""
name: killed-dicom
image_size_px: 40
sources:
  archive: {{kind: dicom, path: dicom}}
cohorts:
  X-SEX:
    source: archive
    image_type: X-ray
    classes: {{female: {{sex: F}}, male: {{sex: M}}}}
    per_class: 24
    scaling: percentile
{SHARED}"""
APART = ("created", "updated", "versions", "cost", "cost_apart", "seconds")
"""Fields that say how long something took, and when."""


IMPORTED = (
    *("torch", "timm", "cv2", "scipy.stats", "statsmodels.api", "altair", "vl_convert"),
    *(
        "advassay.study.run.runner",
        "advassay.training",
        "advassay.attacks",
        "advassay.attacks.stream",
        "advassay.cohorts",
    ),
    *("advassay.analysis", "advassay.report", "advassay.report.output.write_report", "advassay.training.training_loop"),
)
"""What a run needs, imported once before it is forked; nothing of it is used here, so that no thread is started."""


def import_all() -> None:
    """Import what the program needs, before it is forked."""
    for name in IMPORTED:
        import_module(name)


@dataclass
class Subject:
    """One study, and what its store is when nothing disturbs it."""

    name: str
    study: Path
    data: Path
    whole: Path
    operations: dict[str, int] = field(default_factory=dict)
    """Verb → file operations in the store."""
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass
class Tally:
    """What was done, and how it ended."""

    kills: Counter[str] = field(default_factory=Counter)
    """How, and in which stage → number."""
    stores: int = 0
    differences: list[str] = field(default_factory=list)
    tracebacks: list[str] = field(default_factory=list)


class Forked:
    """`advassay` in a process forked from this one, in a session of its own: it need not import everything again.

    `call`: what it runs instead of the program.
    """

    def __init__(
        self, arguments: list[str], env: dict[str, str], folder: Path, call: Callable[[], object] = main_of_the_program
    ) -> None:
        self._told, self._count, self._call = folder / "said.txt", folder / "operations.txt", call
        self.returncode: int | None = None
        self.pid = os.fork()
        if not self.pid:
            self._run(arguments, env)

    def _run(self, arguments: list[str], env: dict[str, str]) -> None:
        code, counted = 1, None
        try:
            os.setsid()
            told = os.open(self._told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(told, 1)
            os.dup2(told, 2)
            os.environ.update(env)
            sys.argv = ["advassay", *arguments[3:]]
            counted = install() if env else None
            self._call()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            if counted is not None:
                self._count.write_text(str(counted()))
            sys.stderr.flush()
            os._exit(code)

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
            if pid:  # a process that ends by os._exit leaves idle workers of joblib
                with suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
        return self.returncode

    def wait(self) -> int:
        """The exit code, once it has ended."""
        while (code := self.poll()) is None:
            time.sleep(0.01)
        return code

    def said(self) -> str:
        return self._told.read_text(errors="replace")

    def operations(self) -> int:
        return int(self._count.read_text())


def command(subject: Subject, store: Path, verb: str = "run") -> list[str]:
    """The command that runs a subject's study in a store."""
    options = ["--store", str(store), "--data", str(subject.data), "--device", "cpu", "--threads", "1", "-q"]
    return [sys.executable, "-m", "advassay.cli", verb, str(subject.study), *options]


def undisturbed(name: str, text: str, folder: Path) -> Subject:
    """Run a study to its end, and count the file operations in its store."""
    study = folder / f"{name}.yaml"
    study.write_text(text)
    subject = Subject(name, study, folder, folder / f"{name}-whole")
    known = folder / f"{name}.json"
    if known.exists():  # of an earlier call with the same --keep
        subject.operations, subject.seconds = json.loads(known.read_text())
        return subject
    operations, seconds = 0, 0.0
    for verb in ("attack", "run"):  # the second adds the report
        began = time.monotonic()
        done = Forked(command(subject, subject.whole, verb), environment(folder / "hook", subject.whole), folder)
        if done.wait():
            raise SystemExit(f"{name}: the undisturbed run failed: {done.said()}")
        operations, seconds = operations + done.operations(), seconds + time.monotonic() - began
        subject.operations[verb], subject.seconds[verb] = operations, seconds
    known.write_text(json.dumps([subject.operations, subject.seconds]))
    return subject


def fresh(subject: Subject, store: Path) -> Path:
    """An empty store with the whole one's compute shape: rows are promised to be equal for one shape."""
    store.mkdir()
    shutil.copy(subject.whole / "compute.json", store)
    return store


def stage(subject: Subject, store: Path) -> str:
    """How far a store has come."""
    if not list(store.glob("cohorts/*/preparation.json")):
        return "prepare"
    networks = len(list(subject.whole.glob("classifiers/*/training.json")))
    if len(list(store.glob("classifiers/*/training.json"))) < networks:
        return "train"
    runs = [path for path in subject.whole.glob("records/*/header.json")]
    headers = [store / path.relative_to(subject.whole) for path in runs]
    if any(not path.exists() or not finished(path) for path in headers):
        return "attack and gallery"
    return "report"


def finished(header: Path) -> bool:
    """Whether a run's last session has ended; a header that is being replaced has not."""
    try:
        cost = json.loads(header.read_text())["cost"]
    except (OSError, ValueError):
        return False
    return bool(cost["sessions_finished"])


def disturb(subject: Subject, store: Path, verb: str, how: str, number: int, rng: random.Random, tally: Tally) -> bool:
    """Run the command and disturb it once. Returns whether it had not ended before."""
    share = subject.operations[verb] // CHAIN  # so that a chain of kills goes through all of them
    kill_at = 1 + number * 7919 % share if how == "operation" else 0
    hooked = environment(store.parent / "hook", store, kill_at=kill_at)
    process = Forked(command(subject, store, verb), hooked, store.parent)
    if how != "operation":
        wait_until(
            process, time.monotonic() + rng.uniform(0.02, 2 / CHAIN) * subject.seconds[verb], children=how == "worker"
        )
    alive = process.poll() is None
    if alive and how == "worker":
        alive = kill_a_child(process.pid)
    elif alive and how != "operation":
        asked = {"group": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}[how]
        (os.killpg if how == "group" else os.kill)(process.pid, asked)
    process.wait()
    said = process.said()
    hit = process.returncode == -signal.SIGKILL if how in ("operation", "group") else alive
    if "Traceback" in said:
        tally.tracebacks.append(f"{subject.name}, {how}: {said.splitlines()[-1]}")
    if how in ("SIGTERM", "SIGINT") and hit and (process.returncode or 0) > 0 and "To go on: advassay" not in said:
        tally.tracebacks.append(f"{subject.name}, {how}: exit {process.returncode} without what to type next: {said}")
    if hit:
        tally.kills[f"{how}; {stage(subject, store)}"] += 1
    return hit


def wait_until(process: Forked, when: float, *, children: bool) -> None:
    """Wait for a time; with `children`, for the first child process before it."""
    while process.poll() is None and time.monotonic() < when:
        if children and child_of(process.pid):
            return
        time.sleep(0.01)


def child_of(pid: int) -> list[int]:
    """Processes that decode for the process."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        threads = [path / "children" for path in Path(f"/proc/{pid}/task").iterdir()]
        return sorted(
            {int(child) for path in threads for child in path.read_text().split()} | set(map(int, text.split()))
        )
    except OSError:
        return []


def kill_a_child(pid: int) -> bool:
    """Kill one process of those that decode. Returns whether there was one."""
    for child in child_of(pid)[:1]:
        os.kill(child, signal.SIGKILL)
        return True
    return False


def leave_alone(subject: Subject, store: Path, verb: str, tally: Tally) -> None:
    """Let the command run to its end, and compare the store."""
    done = Forked(command(subject, store, verb), {}, store.parent)
    if done.wait() or "Traceback" in done.said():
        tally.tracebacks.append(f"{subject.name}, {store.name}: exit {done.returncode}: {done.said()[-500:]}")
        return
    tally.stores += 1
    tally.differences += [f"{subject.name}, {store.name}: {text}" for text in compared(subject.whole, store, verb)]


def compared(whole: Path, store: Path, verb: str) -> list[str]:
    """Where two stores say different things."""
    return list(told_apart(lambda: differences(whole, store, verb), store.parent))


def told_apart(call: Callable[[], object], folder: Path) -> Any:
    """What `call` gives, as JSON holds it, called in a process of its own: reading a table starts threads, and a
    process with threads must not be forked. `folder`: for the answer. Raises RuntimeError where the call fails.
    """
    answer = folder / "answer.json"
    process = Forked([], {}, folder, lambda: answer.write_text(json.dumps(call())))
    if process.wait():
        raise RuntimeError(process.said()[-500:])
    return json.loads(answer.read_text())


def subject_of_upkeep(verb: str, subject: Subject, store: Path) -> list[str]:
    """A copy of the undisturbed store with something for the verb to do. Returns the command's arguments."""
    shutil.rmtree(store, ignore_errors=True)  # of an earlier call with the same --keep
    shutil.copytree(subject.whole, store, ignore=shutil.ignore_patterns("report", ".lock"))
    private = subject.whole.with_name(f"{subject.whole.name}.sources.parquet")
    shutil.copy(private, store.with_name(f"{store.name}.sources.parquet"))
    lacking, part, *_ = sorted(path.parent for path in store.glob("records/*/header.json"))
    options: list[str] = []
    if verb == "merge":
        options = [str(subject.whole)]
        shutil.rmtree(lacking)
        sorted(part.glob("shards/*.parquet"))[0].unlink()
    elif verb == "forget":
        table = lacking / "images.parquet"
        options = ["--patient", told_apart(lambda: pl.read_parquet(table)["patient_id"][0], store.parent)]
    else:
        shutil.copytree(part, store / "superseded" / f"{part.name}-earlier")
        (lacking / "images.parquet.damaged").write_bytes(b"set aside")
    return [sys.executable, "-m", "advassay.cli", verb, str(store), *options]


def keep_up(verb: str, subject: Subject, folder: Path, kills: int, tally: Tally) -> None:
    """Kill one verb of upkeep before file operations spread over all it makes; the same command goes on."""
    whole = folder / f"{verb}-whole"
    done = Forked(subject_of_upkeep(verb, subject, whole), environment(folder / "hook", whole), folder)
    if done.wait():
        raise SystemExit(f"{verb}: the undisturbed command failed: {done.said()}")
    operations = done.operations()
    print(f"{verb}: {operations} file operations", flush=True)
    for number in range(kills):
        store = folder / f"{verb}-{number}"
        arguments = subject_of_upkeep(verb, subject, store)
        kill_at = 1 + number * operations // kills
        process = Forked(arguments, environment(folder / "hook", store, kill_at=kill_at), folder)
        if process.wait() == -signal.SIGKILL:
            tally.kills[f"operation; {verb}"] += 1
        again = Forked(arguments, {}, folder)
        finished_before = verb == "forget" and "a pseudonym that the store knows" in (again.wait(), again.said())[1]
        if "Traceback" in process.said() + again.said() or (again.wait() and not finished_before):
            tally.tracebacks.append(f"{verb}, operation {kill_at}: exit {again.returncode}: {again.said()[-500:]}")
            continue
        tally.stores += 1
        tally.differences += [f"{verb}, operation {kill_at}: {text}" for text in compared(whole, store, "attack")]
        shutil.rmtree(store)


def differences(whole: Path, store: Path, verb: str = "run") -> list[str]:
    """Where two stores say different things; reports are compared where the verb writes one."""
    found = [*_files(whole, store), *_documents(whole, store), *_tables(whole, store), *_rows(whole, store)]
    return [*found, *(_reports(whole, store) if verb == "run" else ())]


def _files(whole: Path, store: Path) -> list[str]:
    """Files that are in one store only, or whose bytes differ though they should not; leftovers of killed processes."""
    patterns = ("cohorts/*/*", "classifiers/*/*", "records/*/*.*", "gallery/*")
    names = {p.relative_to(root) for root in (whole, store) for pattern in patterns for p in root.glob(pattern)}
    found = [f"{name} is in one store only" for name in names if (whole / name).exists() != (store / name).exists()]
    left = [str(path.relative_to(store)) for path in store.rglob(".*.writing*")]
    same = [name for name in names if name.suffix in (".png", ".safetensors")]
    return (
        found
        + [f"{name} was left behind" for name in left]
        + [f"{name} differs" for name in same if (whole / name).read_bytes() != (store / name).read_bytes()]
    )


def _documents(whole: Path, store: Path) -> list[str]:
    """Documents that differ in more than times and cost."""
    names = [p.relative_to(whole) for pattern in ("*/*/*.json", "gallery/*.json") for p in whole.glob(pattern)]
    return [str(name) for name in names if _plain(whole / name) != _plain(store / name)]


def _plain(path: Path) -> object:
    content = json.loads(path.read_text())
    return {name: value for name, value in content.items() if name not in (*APART, "content_sha256")}


def _tables(whole: Path, store: Path) -> list[str]:
    """Parquet tables that differ, shards apart."""
    tables = [*whole.glob("cohorts/*/*.parquet"), *whole.glob("records/*/images.parquet")]
    names = [path.relative_to(whole) for path in tables]
    return [str(name) for name in names if not pl.read_parquet(whole / name).equals(pl.read_parquet(store / name))]


def _reports(whole: Path, store: Path) -> list[str]:
    """The report's tables that differ, but those that say how long something took."""
    names = [path.relative_to(whole) for path in whole.glob("report/tables/*.csv")]
    timed = ("runs",)
    return [
        str(name) for name in names
        if name.stem not in timed and not ((store / name).exists() and _text(whole / name) == _text(store / name))
    ]  # fmt: skip


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _rows(whole: Path, store: Path) -> list[str]:
    """Runs whose rows differ in a bit."""
    one, other = open_records(whole), open_records(store)
    found = []
    for header in (*one.headers, *one.reruns):
        rows, others = one.run(header.run_id).rows(), other.run(header.run_id).rows()
        names = (
            "image_id",
            "step_size",
            "epsilon",
            "restart",
            "label",
            "logits",
            "gradient_norm",
            "linf",
            "l2",
            "ssim",
        )
        same = all(np.array_equal(getattr(rows, n), getattr(others, n), equal_nan=n == "gradient_norm") for n in names)
        if not same:
            found.append(f"rows of {header.run_id}")
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kills", type=int, default=100)
    options.add_argument(
        "--upkeep", type=int, default=12, help="kills of each of merge, forget and prune (default: 12)"
    )
    options.add_argument("--seed", type=int, default=0)
    options.add_argument(
        "--keep",
        type=Path,
        help="folder for the stores (default: a temporary one); kept, it spares the undisturbed runs",
    )
    asked = options.parse_args()
    import_all()
    folder = asked.keep or Path(tempfile.mkdtemp(prefix="kills-"))
    folder.mkdir(parents=True, exist_ok=True)
    rng, tally, began = random.Random(asked.seed), Tally(), time.monotonic()
    archive = [
        sys.executable,
        "-m",
        "advassay.cli",
        "phantoms",
        "--archive",
        str(folder / "dicom"),
        "--patients",
        "60",
        "-q",
    ]
    if not (folder / "dicom").exists():
        subprocess.run(archive, check=True, capture_output=True)
    subjects = [undisturbed("phantoms", PHANTOMS, folder), undisturbed("dicom", DICOM, folder)]
    for subject in subjects:
        print(f"{subject.name}: file operations {subject.operations}, seconds {subject.seconds}", flush=True)
    number = asked.seed * 101 * CHAIN  # other operations and stages for another seed
    while sum(tally.kills.values()) < asked.kills and not (tally.differences or tally.tracebacks):
        subject = subjects[1 if number // CHAIN % 4 == 3 else 0]  # every fourth store is the DICOM one
        ways = ("operation", "group", "operation", "SIGTERM", "operation", "group", "operation", "SIGINT")
        ways = ("worker", *ways[1:]) if subject.name == "dicom" else ways
        store = fresh(subject, folder / f"{subject.name}-{number // CHAIN}")
        verb = "attack" if number // CHAIN % 6 else "run"
        for way in ways[: asked.kills - sum(tally.kills.values())]:
            disturb(subject, store, verb, way, number, rng, tally)
            number += 1
        leave_alone(subject, store, verb, tally)
        print(f"{sum(tally.kills.values())} kills, {tally.stores} stores, {time.monotonic() - began:.0f} s", flush=True)
    for verb in UPKEEP if asked.upkeep else ():
        keep_up(verb, subjects[0], folder, asked.upkeep, tally)
    print("\n| how | stage | times |\n|---|---|---:|")
    for what, times in sorted(tally.kills.items()):
        how, where = what.split("; ")
        print(f"| {how} | {where} | {times} |")
    kills, seconds = sum(tally.kills.values()), time.monotonic() - began
    print(f"\n{kills} kills of {tally.stores} stores in {seconds:.0f} s:", end=" ")
    print(f"{len(tally.differences)} differences from the undisturbed stores, {len(tally.tracebacks)} tracebacks")
    print("\n".join([*tally.differences, *tally.tracebacks]))
    raise SystemExit(bool(tally.differences or tally.tracebacks))


if __name__ == "__main__":
    main()
