"""`advassay select`: the flow chart of every cohort, as a table, JSON and CSV, without an image being there."""

from __future__ import annotations

import json

import polars as pl
import pytest
from typer.testing import CliRunner

from advassay.cli.program import app

STUDY = """
name: s
sources: {a: {kind: table, path: table.csv}}
cohorts:
  X-AGE:
    source: a
    where: {view: [PA, AP]}
    classes: {young: {age: {range: [20, 35]}}, old: {age: {range: [50, 70]}}}
    equal_classes: true
training: {updates: 1}
"""


@pytest.fixture
def asked(tmp_path):
    rows = [{"image": f"absent/{i}.png", "patient_id": f"P{i}", "age": 20 + i, "view": "LL" if i == 5 else "PA"}
            for i in range(50)]  # fmt: skip
    pl.DataFrame(rows).write_csv(tmp_path / "table.csv")
    (tmp_path / "study.yaml").write_text(STUDY)
    return ["select", str(tmp_path / "study.yaml"), "--data", str(tmp_path)]


def test_counts_in_out_and_why_are_told_without_any_image(asked, tmp_path):
    made = CliRunner().invoke(app, [*asked, "--json", "--flow", str(tmp_path / "flow.csv")])
    assert made.exit_code == 0, made.output
    stages = {row["stage"]: row for row in json.loads(made.stdout)}
    assert [(row["kept"], row["left_out"]) for row in stages.values()] == [(50, 0), (49, 1), (35, 14), (30, 5), (30, 0)]
    assert stages["in a class"]["classes"] == {"young": 15, "old": 20}
    assert stages["balanced"]["reasons"] == {"equal classes: not drawn": 5}
    assert stages["split"]["classes"] == {"young": 15, "old": 15}
    written = pl.read_csv(tmp_path / "flow.csv")
    assert written.filter(part="reason", stage="eligible")["images"].to_list() == [1]


def test_the_chart_is_printed_for_people(asked):
    shown = CliRunner().invoke(app, asked).stdout
    assert "X-AGE" in shown
    assert "view: other value than where.view accepts 1" in shown
    assert "training" in shown
