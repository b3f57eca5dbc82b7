"""A study on a head and two nodes that is disturbed at random moments: the part `chaos` of benchmarks.cluster.

The nodes are real raylets of this machine (ray.cluster_utils.Cluster). The command that runs the study is a process of
its own; where a disturbance ends it, the same command is given again. The rows are then compared, bit for bit, with
those of one undisturbed process.

    worker   SIGKILL to a process that attacks
    raylet   all processes of one node killed; another node joins
    head     all processes of the head killed, and the nodes; a new cluster, the same command
    pause    SIGSTOP to a process that attacks; it is not woken
    disk     the store's disk (a tmpfs of a few MB; needs root) full for some seconds; where the command ends, it is
             given again
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advassay.study import make_environment, parse_study
from advassay.study.launchers.ray_launcher import OBJECT_STORE, OWN, QUIET, RayCluster
from advassay.study.run.runner import run
from benchmarks.cluster import begun_like, command, compare

STUDY = """
name: disturbed
image_size_px: 40
sources:
  chest: {kind: phantoms, phantom: chest, images: 240, size_px: 40, signal: 3, prevalence: {tuberculosis: 0.5}}
cohorts:
  X-TB:
    source: chest
    image_type: X-ray
    classes: {tuberculosis: {tuberculosis: present}, norm: {norm: present}}
    per_class: 100
training: {architecture: test_resnet, updates: 4, batch_size: 16, evaluations: 1, learning_rate: 0.003}
attack:
  steps: 20
  images: 24
  epsilons: [0.02, 0.05, 0.1]
  arms:
    A: {step_sizes: [0.01, epsilon/4]}
    B: {loss: margin, step_sizes: [0.01, epsilon/4]}
"""
FIRST_PATIENCE = 45.0
"""Seconds for a piece of which it is not known how long it takes; a fifteenth of it at least for the others."""
PAUSES = (1.0, 9.0)
"""Seconds between two disturbances, at least and at most; the first one once a shard is there."""
RUN_SECONDS = 900.0
"""A command that takes longer hangs."""
KINDS = ("worker", "worker", "worker", "raylet", "pause", "head", "worker", "raylet", "pause", "disk")
"""What is done, in this proportion, in random order."""
DISK_MB = 24
STARTS = 5


@dataclass
class Nodes:
    """A head without cores, and two nodes with one each."""

    folder: Path
    cluster: Any = None

    def start(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster()
        self._add(num_cpus=0, include_dashboard=False)
        for _ in range(2):
            self.join()

    def join(self) -> None:
        self._add(num_cpus=1)

    def _add(self, **more: Any) -> None:
        """Add a node. Ray gives up where one takes half a minute to begin, as on a busy machine: it is tried again."""
        for left in reversed(range(STARTS)):
            try:
                self.cluster.add_node(object_store_memory=OBJECT_STORE, **more)
                return
            except Exception as error:  # Ray raises nothing more precise
                if not left or "timed out during startup" not in str(error):
                    raise

    def workers(self) -> list[int]:
        """Processes of this cluster that attack."""
        raylets = {info.process.pid for node in self.cluster.worker_nodes for info in node.all_processes["raylet"]}
        return [pid for pid in _children(raylets) if _name_of(pid).startswith("ray::RayWorker")]

    def lose_node(self, random_: random.Random) -> None:
        self.cluster.remove_node(random_.choice(sorted(self.cluster.worker_nodes, key=id)), allow_graceful=False)
        self.join()

    def lose_head(self) -> None:
        """The head first; then what is left, as its nodes end by themselves only after a while."""
        self.cluster.remove_node(self.cluster.head_node, allow_graceful=False)
        time.sleep(2.0)
        self.stop()

    def stop(self) -> None:
        for node in [*self.cluster.worker_nodes, *([self.cluster.head_node] if self.cluster.head_node else [])]:
            self.cluster.remove_node(node, allow_graceful=False)


def _children(parents: set[int]) -> list[int]:
    """Processes whose parent is one of these."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            if int(stat.rpartition(")")[2].split()[1]) in parents:
                found.append(int(entry.name))
    return sorted(found)


def _name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path | None]:
    """A drive of DISK_MB MB at `folder`; None where it cannot be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    asked = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(asked, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(disk: Path) -> Path:
    """Fill a drive to its last byte."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as out:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    out.write(bytes(size))
            except OSError:
                continue
    return ballast


def disturbed_runs(folder: Path, number: int, seed: int) -> list[dict[str, Any]]:
    """Runs of the study until `number` disturbances have been made: what was done, and how the rows compare."""
    folder = (folder / "chaos").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.update({name: value for name, value in (QUIET | OWN).items() if name not in os.environ})
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", os.urandom(32).hex())
    truth = _undisturbed(folder)
    kept = folder / f"done-{seed}.json"
    done: list[dict[str, Any]] = json.loads(kept.read_text()) if kept.exists() else []
    while (left := number - sum(len(one["disturbances"]) for one in done)) > 0:
        random_ = random.Random(f"{seed} {len(done)}")
        with _small_disk(folder / "disk") as disk:
            plan = [kind for kind in random_.sample(KINDS, len(KINDS)) if disk or kind != "disk"]
            store = begun_like(_new(disk or folder / "stores", len(done)), truth)
            for name in ("cohorts", "classifiers"):
                shutil.copytree(truth / name, store / name)
            one = _disturbed_run(folder, store, disk, plan[: min(left, 5)], random_)
            done.append(one | compare(store, truth))
        kept.write_text(json.dumps(done, indent=2))
        print(json.dumps(done[-1]), file=sys.stderr)
    return done


def _new(folder: Path, number: int) -> Path:
    store = folder / f"store-{number}"
    shutil.rmtree(store, ignore_errors=True)
    return store


def _undisturbed(folder: Path) -> Path:
    store = folder / "undisturbed"
    if not (store / ".done").exists():
        shutil.rmtree(store, ignore_errors=True)
        subprocess.run(command(folder, store, STUDY), check=True, stdout=subprocess.DEVNULL)
        (store / ".done").touch()
    return store


def _disturbed_run(
    folder: Path, store: Path, disk: Path | None, plan: Sequence[str], random_: random.Random
) -> dict[str, Any]:
    """One run of the study, disturbed as planned as long as it lasts."""
    nodes, made, commands, odd = Nodes(folder), list[str](), 0, list[str]()
    began, ballast = time.monotonic(), None
    log = folder / "command.log"
    nodes.start()
    try:
        process = _begin(store, nodes, log)
        commands, started, expected = 1, time.monotonic(), False
        first = random_.uniform(0.0, PAUSES[1])
        due = started + first
        while True:
            time.sleep(0.05)
            if (code := process.poll()) is not None:
                if code == 0:
                    break
                if not expected:
                    odd.append(f"exit code {code}: {' '.join(log.read_text().split())[-300:]}")
                if len(odd) > 2:
                    break
                if ballast is not None:
                    ballast.unlink(missing_ok=True)
                    ballast = None
                process = _begin(store, nodes, log)
                commands, started, expected = commands + 1, time.monotonic(), False
                due = started + random_.uniform(*PAUSES)
            if time.monotonic() - started > RUN_SECONDS:
                odd.append("hangs")
                process.kill()
                process.wait()
                expected = True
            if not any(store.glob("records/*/shards/*.parquet")):
                due = time.monotonic() + first
            if time.monotonic() < due or len(made) == len(plan):
                continue
            kind = plan[len(made)]
            if kind in ("worker", "pause"):
                if not (running := nodes.workers()):
                    continue
                try:
                    os.kill(random_.choice(running), signal.SIGKILL if kind == "worker" else signal.SIGSTOP)
                except ProcessLookupError:
                    continue
            elif kind == "raylet":
                nodes.lose_node(random_)
            elif kind == "head":
                expected = True
                nodes.lose_head()
                _ended(process, odd)
                nodes.start()
            elif kind == "disk" and disk is not None:
                expected = True
                ballast = _fill(disk)
            made.append(kind)
            due = time.monotonic() + random_.uniform(*PAUSES)
    finally:
        if process.poll() is None:
            process.kill()
        nodes.stop()
    told = json.loads((store / "cluster.json").read_text()) if (store / "cluster.json").exists() else {}
    return {
        "disturbances": made, "commands": commands, "unexpected": odd, "seconds": time.monotonic() - began,
        "set_aside": len(told.get("aside", ())),
    }  # fmt: skip


def _ended(process: subprocess.Popen[bytes], odd: list[str]) -> None:
    """Wait for a command whose cluster has gone."""
    try:
        process.wait(timeout=RUN_SECONDS)
    except subprocess.TimeoutExpired:
        odd.append("did not end with its cluster")
        process.kill()
        process.wait()


def _begin(store: Path, nodes: Nodes, log: Path) -> subprocess.Popen[bytes]:
    """The command, given to the cluster as it is now."""
    asked = [sys.executable, "-m", "benchmarks.cluster_chaos", str(store), nodes.cluster.address]
    with log.open("wb") as out:
        return subprocess.Popen(asked, stdout=out, stderr=subprocess.STDOUT)


def print_disturbances(found: Sequence[dict[str, Any]]) -> None:
    made = Counter(kind for one in found for kind in one["disturbances"])
    print("| run | disturbed by | commands | rows | lost | doubled | bit for bit | set aside | unexpected |")
    print("|---:|---|---:|---:|---:|---:|---|---:|---|")
    for number, one in enumerate(found, 1):
        equal = "yes" if one["equal"] else "NO"
        print(
            f"| {number} | {', '.join(one['disturbances'])} | {one['commands']} | {one['rows']} | {one['lost']} | "
            f"{one['doubled']} | {equal} | {one['set_aside']} | {'; '.join(one['unexpected']) or '–'} |"
        )
    print(f"\n{sum(made.values())} disturbances: {', '.join(f'{n} {kind}' for kind, n in sorted(made.items()))}.\n")


def main(arguments: Sequence[str]) -> None:
    """The command under test: the study on the cluster at an address. Exit code 1 on any error."""
    store, address = arguments
    cluster = RayCluster(address, 1, "cpu", FIRST_PATIENCE)
    run(parse_study(STUDY), make_environment(Path(store), device="cpu", threads=1), launcher=cluster.launch)
    for problem in cluster.set_aside:
        print(problem, file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
