"""Errors of analysis and report: each says what to do next, and wrong calls meet one instead of a traceback."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner
from written_report import Report

import advassay
from advassay.analysis import robust_accuracy_curve, success_curve
from advassay.analysis.conclusions import conclusions
from advassay.cli.program import app
from advassay.errors import AdvassayError, SpecError
from advassay.records import open_records
from advassay.report import write_comparison, write_report

ROOT = Path(advassay.__file__).parent
OURS = ("SpecError", "ReportError", "StoreError")


def _raised(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        raised = node.exc if isinstance(node, ast.Raise) else None
        if isinstance(raised, ast.Call) and isinstance(raised.func, ast.Name) and raised.func.id in OURS:
            yield raised


def test_every_error_of_analysis_and_report_says_what_to_do_next() -> None:
    paths = [path for room in ("analysis", "report") for path in (ROOT / room).rglob("*.py")]
    calls = [(path, call) for path in paths for call in _raised(path)]
    assert len(calls) > 20
    assert not [f"{path.name}:{call.lineno}" for path, call in calls if len(call.args) < 2]


@pytest.mark.parametrize("asked", [
    {"arm": "Z"}, {"over": "step", "epsilon": 0.5}, {"step": 99}, {"step": -1}, {"step_size": "7"},
    {"by": "patient"}, {"epsilon": 0.02}, {"over": "time"},
])  # fmt: skip
def test_what_is_not_recorded_is_refused_with_a_next_step(report: Report, asked: dict[str, object]) -> None:
    with pytest.raises(SpecError) as caught:
        success_curve(open_records(report.store), **asked)  # type: ignore[arg-type]
    assert caught.value.fix


@pytest.mark.parametrize("epsilon", [-3, 0, 5])
def test_conclusions_refuse_an_epsilon_outside_the_range(report: Report, epsilon: float) -> None:
    with pytest.raises(SpecError, match="above 0 and at most 1"):
        conclusions(open_records(report.store), epsilon)


def test_robust_accuracy_over_confidence_is_refused(report: Report) -> None:
    with pytest.raises(SpecError, match="robust accuracy"):
        robust_accuracy_curve(open_records(report.store), "clean_confidence")


def test_a_folder_in_the_place_of_a_file_is_told_before_the_work(report: Report, tmp_path: Path) -> None:
    with pytest.raises(AdvassayError, match="is a folder"):
        write_report(report.store, tmp_path)
    with pytest.raises(AdvassayError, match="is a folder"):
        write_comparison([report.store, report.store], tmp_path)
    told = CliRunner().invoke(app, ["analyse", str(report.store), "-o", str(tmp_path)])
    assert told.exit_code == SpecError.exit_code


def test_analyse_makes_the_folder_of_its_output(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "new" / "curve.csv"
    assert CliRunner().invoke(app, ["analyse", str(report.store), "-o", str(path)]).exit_code == 0
    assert path.read_text(encoding="utf-8").startswith("cohort,")


def test_over_training_sizes_the_sizes_are_printed(report: Report) -> None:
    told = CliRunner().invoke(app, ["analyse", str(report.store), "--over", "train_size"]).stdout
    assert "train_size" in told
