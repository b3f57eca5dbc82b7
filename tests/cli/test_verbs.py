"""The command line as a user meets it: help, exit codes, clean messages."""

from __future__ import annotations

import errno
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from advassay import errors
from advassay.cli import doctor, output_tables
from advassay.cli.error_handling import EXIT_CODES
from advassay.cli.program import GROUPS, app, summary_of
from advassay.optional_libraries import EXTRAS

runner = CliRunner()
STUDY = """
name: small
image_size_px: 40
sources: {chest: {kind: phantoms, phantom: chest, images: 60, size_px: 40}}
cohorts:
  A: {source: chest, classes: {m: {sex: M}, f: {sex: F}}, train_sizes: [0.5]}
training: {architecture: test_resnet, updates: 4}
attack: {steps: 3, epsilons: [0.02], arms: {A: {}}}
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(STUDY)
    return path


def test_help_comes_at_once() -> None:
    """Half a second is promised; what makes it so is that no heavy library is imported."""
    code = (
        "import sys, time; t = time.perf_counter(); from advassay.cli import main\n"
        "heavy = {'torch', 'polars', 'numpy', 'pydantic', 'pyarrow', 'rich'} & set(sys.modules)\n"
        "print(time.perf_counter() - t, *heavy)"
    )
    results = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split() for _ in "ab"
    ]
    assert all(result[1:] == [] for result in results)
    assert min(float(result[0]) for result in results) < 0.5


def test_help_lists_the_verbs_of_a_study() -> None:
    result = runner.invoke(app, ["--help"])
    assert result.exit_code == 0
    for verb in ("init", "demo", "plan", "prepare", "train", "attack", "run", "status", "report", "doctor", "schema"):
        assert f"\n  {verb} " in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["plan", "absent.yaml"], 2, "Error: STUDY: no such file: absent.yaml"),
        (["plan", "STUDY", "--set", "attack.step=1"], 2, "'step' is not a part of attack. Close matches: steps"),
        (["plan", "STUDY", "--scale", "0"], 2, "--scale: expected a number above 0"),
        (["plan", "STUDY", "--data", "absent"], 2, "--data: expected a folder, got absent"),
        (["plan", "STUDY", "--set", "training.architecture=inception_v3"], 3, "images of 75 px or more, got A 40 px"),
        (["plan", "STUDY", "--set", "attack.arms={A: {}, B: {steps: 3}}"], 2, "A and B differ only in"),
        (["run", "STUDY", "--store", "STUDY"], 6, "--store: expected a folder"),
        (["status", "absent"], 6, "Error: STORE: expected a folder with a study.yaml"),
        (["report", "absent"], 6, "Error: STORE: no such folder: absent."),
        (["compare", "absent"], 7, "Error: STORE: expected at least two, got 1."),
        (["attack"], 2, "give STUDY, or --model and --images"),
        (["attack", "STUDY", "--model", "m"], 2, "give STUDY, or --model and --images"),
        (["attack", "--model", "STUDY", "--images", "."], 5, "no model format recognises this file"),
        (["init", "absent"], 3, "absent"),
        (["plan", "STUDY", "--device", "tpu"], 2, "'tpu' is not one of 'auto', 'cpu', 'cuda'"),
        (["plan", "STUDY", "--no-such-option"], 2, "No such option"),
    ],
)
def test_a_mistake_is_one_clean_message_and_its_exit_code(
    study: Path, arguments: list[str], code: int, message: str
) -> None:
    result = runner.invoke(app, [str(study) if word == "STUDY" else word for word in arguments])
    assert message in result.stderr.replace("\n", " ")
    assert result.exit_code == code
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_the_help_shows_every_verb_in_a_group_with_its_whole_summary_and_every_exit_code() -> None:
    shown = " ".join(runner.invoke(app, ["--help"], terminal_width=100).stdout.split())
    for heading, verbs in GROUPS.items():
        assert f" {heading}: " in shown
        for verb in verbs:
            assert summary_of(typer.main.get_command(app).commands[verb.__name__]) in shown  # type: ignore[attr-defined]
    for code, meaning in EXIT_CODES.items():
        assert f" {code} {meaning}" in f"{shown} "


def test_every_exit_code_of_an_error_is_in_the_table() -> None:
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.AdvassayError)
    ]
    assert {kind.exit_code for kind in kinds} <= EXIT_CODES.keys()


def test_a_shell_can_have_the_script_that_completes_verbs() -> None:
    environment = {**os.environ, "_ADVASSAY_COMPLETE": "complete_bash", "COMP_WORDS": "advassay con", "COMP_CWORD": "1"}
    code = "import sys; sys.argv = ['advassay']; from advassay.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.split() == ["conclusions"]


def test_ctrl_c_says_how_to_continue(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("advassay.study.run.runner.run", interrupted)
    command = ["run", str(study), "--store", str(study.parent / "my store"), "--set", "attack.epsilons=[0.02, 0.1]"]
    monkeypatch.setattr("sys.argv", [".venv/bin/advassay", *command])
    result = runner.invoke(app, command)
    assert result.exit_code == 130
    *_, line = result.stderr.splitlines()
    told = line.removeprefix("Stopped; nothing is lost. To go on: ")
    assert shlex.split(told) == ["advassay", *command]


def test_a_warning_is_shown_once_in_plain_words(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import warnings

    from advassay.errors import AdvassayWarning

    def warning(*_: object, **__: object) -> dict[str, object]:
        for _ in range(2):
            warnings.warn("a choice that weakens the evidence", AdvassayWarning, stacklevel=1)
        warnings.warn("a library's own business", FutureWarning, stacklevel=1)
        return {}

    monkeypatch.setattr("advassay.study.prepare", warning)
    result = runner.invoke(app, ["prepare", str(study), "--store", str(study.parent / "store")])
    assert result.stderr.count("a choice that weakens") == 1
    assert "Note: a choice" in result.stderr
    assert "own business" not in result.stderr


def test_plan_prints_documented_columns_and_writes_nothing(study: Path) -> None:
    store = study.parent / "store"
    result = runner.invoke(app, ["plan", str(study), "--store", str(store), "--no-measure", "--json"])
    found = json.loads(result.stdout)
    assert all(row.keys() == output_tables.PLAN_COLUMNS.keys() for row in found["rows"])
    stages = [row["stage"] for row in found["rows"]]
    assert stages == ["prepare", "train", "attack", "controls", "doubling", "re-run", "train", "attack"]
    assert found["rows"][0]["total"] == 60
    assert not store.exists()
    table = runner.invoke(app, ["plan", str(study), "--store", str(store), "--no-measure"])
    assert "images: 60 to do of 60" in table.stdout


def test_scale_and_set_reach_the_plan(study: Path) -> None:
    result = runner.invoke(
        app, ["plan", str(study), "--no-measure", "--json", "--set", "attack.steps=7", "--set", "cohorts.A.per_class=5"]
    )
    rows = {row["stage"]: row for row in json.loads(result.stdout)["rows"][:3]}
    assert rows["prepare"]["total"] == 10
    assert rows["attack"]["total"] % 7 == 0


def test_schema_describes_every_field_of_a_study() -> None:
    schema = json.loads(runner.invoke(app, ["schema"]).stdout)
    assert {"sources", "cohorts", "training", "attack", "figures"} <= schema["properties"].keys()
    assert "Adam" in schema["$defs"]["TrainingSpec"]["properties"]["learning_rate"]["description"]


def test_doctor_prints_documented_columns(tmp_path: Path) -> None:
    result = runner.invoke(app, ["doctor", "--json", "--store", str(tmp_path)])
    found = json.loads(result.stdout)
    assert all(row.keys() == doctor.COLUMNS.keys() for row in found)
    assert {"python", "torch", "processor", "bfloat16", "data folder", "disk", "GPU", "threads"} <= {
        r["what"] for r in found
    }


def test_doctor_says_what_works_by_extra_and_is_content_with_the_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("advassay.optional_libraries.find_spec", lambda name: None)
    monkeypatch.setattr("advassay.report.output.write_report.shutil.which", lambda name: None)
    result = runner.invoke(app, ["doctor", "--json", "--store", str(tmp_path)])
    found = {row["what"]: row for row in json.loads(result.stdout)}
    assert result.exit_code == 0
    assert found["base"]["ok"] is True
    for extra, (work, _) in EXTRAS.items():
        assert found[f"[{extra}]"]["ok"] is None
        assert found[f"[{extra}]"]["found"] == f"cannot {work}"
        assert found[f"[{extra}]"]["hint"] == f"optional: pip install 'advassay[{extra}]'"
    assert found["PDF of the page"]["found"] == "no Chromium found"
    assert "GPU" not in found


def test_doctor_fails_where_something_will_not_work(tmp_path: Path) -> None:
    result = runner.invoke(app, ["doctor", "--data", str(tmp_path / "absent")])
    assert result.exit_code == 1
    assert "PROBLEM data folder" in " ".join(result.stdout.split())


def test_a_full_disk_is_told_without_a_traceback(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "model.safetensors")

    monkeypatch.setattr("advassay.study.train", full)
    result = runner.invoke(app, ["train", str(study), "--store", str(study.parent / "store")])
    assert result.exit_code == 1
    assert "No space left on device: model.safetensors" in result.stderr
