"""The examples for clusters: their commands are the program's, and the job array ends with one store's records."""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tiny_study import TINY, assert_equal_records

from advassay.cli.program import app

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = [path for path in sorted(EXAMPLES.rglob("*")) if path.is_file() and path.suffix != ".md"]


def commands(path: Path) -> Iterator[list[str]]:
    """The advassay commands of a file, as words; variables stand for themselves."""
    text = re.sub(r"\\+\n\s*", " ", path.read_text())
    for line in re.findall(r"(?:^\s*|entrypoint: |--\s+)(advassay .*)$", text, re.MULTILINE):
        line = re.sub(r"\$SLURM_ARRAY_TASK_ID/\$SLURM_ARRAY_TASK_MAX|\$\{number\}/\$\{params.parts\}", "1/3", line)
        yield shlex.split(re.sub(r"\$\{[^}]*\}|\$SLURM_\w+", "4", line))


def test_every_command_of_an_example_is_one_that_the_program_knows() -> None:
    from typer.main import get_command

    verbs = get_command(app).commands  # type: ignore[attr-defined]
    found = [words for path in FILES for words in commands(path)]
    assert len(found) == 5
    for _, verb, *arguments in found:
        verbs[verb].make_context(verb, list(arguments))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("slurm/*")), ids=lambda path: path.name)
def test_a_batch_script_is_read_by_the_shell(path: Path) -> None:
    subprocess.run(["bash", "-n", str(path)], check=True)


def test_every_pod_of_the_cluster_asks_for_the_token_and_sees_the_volume() -> None:
    job = yaml.safe_load((EXAMPLES / "kubernetes" / "rayjob.yaml").read_text())
    cluster = job["spec"]["rayClusterSpec"]
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        (container,) = group["template"]["spec"]["containers"]
        given = {one["name"]: one for one in container["env"]}
        assert given["RAY_AUTH_MODE"]["value"] == "token"
        assert "secretKeyRef" in given["RAY_AUTH_TOKEN"]["valueFrom"]
        assert container["volumeMounts"] == [{"name": "work", "mountPath": "/mnt/study"}]
        assert group["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]


@pytest.mark.slow
def test_the_job_array_ends_with_the_records_of_one_process(begun: Path, finished: Path, tmp_path: Path) -> None:
    study, bin_, requeued = tmp_path / "tiny.yaml", tmp_path / "bin", tmp_path / "requeued"
    study.write_text(TINY)
    bin_.mkdir()
    for name, line in {
        "advassay": f'exec {sys.executable} -m advassay.cli "$@"',
        "scontrol": f'echo "$@" >> {requeued}',
    }.items():
        (bin_ / name).write_text(f"#!/bin/bash\n{line}\n")
        (bin_ / name).chmod(stat.S_IRWXU)
    left = [1, 2, 3]
    codes: list[int] = []
    for _ in range(8):  # as the batch system does: what was put back is begun again
        started = [(number, task(number, study, begun, bin_)) for number in left]
        ended = [(number, *process.communicate(timeout=600), process.returncode) for number, process in started]
        assert all(code in (0, 9) for *_, code in ended), ended
        codes += [code for *_, code in ended]
        left = [number for number, *_, code in ended if code == 9]
        if not left:
            break
    assert not left
    assert len(requeued.read_text().splitlines() if requeued.exists() else []) == codes.count(9)
    assert_equal_records(finished, begun)


def task(number: int, study: Path, store: Path, bin_: Path) -> subprocess.Popen[str]:
    variables = {
        "PATH": f"{bin_}:{os.environ['PATH']}",
        "SLURM_ARRAY_JOB_ID": "7",
        "SLURM_ARRAY_TASK_ID": str(number),
        "SLURM_ARRAY_TASK_MAX": "3",
        "SLURM_CPUS_PER_TASK": "1",
    }
    return subprocess.Popen(
        ["bash", str(EXAMPLES / "slurm" / "array.sbatch"), str(study), str(store)],
        env=os.environ | variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
