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


def with_one_that_cannot_be_formed(asked, tmp_path, verb):
    """The study with a cohort of which one class has nobody, before the sound one."""
    study = tmp_path / "study.yaml"
    bad = """
  X-NONE:
    source: a
    classes: {young: {age: {range: [20, 35]}}, ancient: {age: {range: [100, 110]}}}
  X-AGE:"""
    study.write_text(study.read_text().replace("\n  X-AGE:", bad))
    return [verb, *asked[1:]]


def test_a_cohort_that_cannot_be_formed_does_not_stop_the_others(asked, tmp_path):
    command = with_one_that_cannot_be_formed(asked, tmp_path, "select")
    made = CliRunner().invoke(app, [*command, "--json", "--flow", str(tmp_path / "flow.csv")])
    assert made.exit_code == 3
    rows = json.loads(made.stdout)
    assert {row["cohort"] for row in rows} == {"X-NONE", "X-AGE"} == set(pl.read_csv(tmp_path / "flow.csv")["cohort"])
    assert {row["stage"] for row in rows if row["cohort"] == "X-NONE"} == {"candidates", "in a class"}
    assert [row["kept"] for row in rows if row["cohort"] == "X-AGE"][-1] == 30
    errors = [line for line in made.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert errors[0].startswith("Error: cohorts.X-NONE: split: every class needs images on both sides")
    assert "50 candidates → 16 classes" in errors[0]


def test_prepare_makes_the_cohorts_that_can_be_formed(tmp_path):
    import cv2
    import numpy as np

    for number in range(40):
        (tmp_path / "images").mkdir(exist_ok=True)
        picture = np.random.default_rng(number).integers(0, 255, (90, 90)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"images/{number}.png"), picture)
    rows = [{"image": f"images/{i}.png", "patient_id": f"P{i}", "age": 20 + i} for i in range(40)]
    pl.DataFrame(rows).write_csv(tmp_path / "table.csv")
    study = STUDY.replace("    where: {view: [PA, AP]}\n", "").replace("training: {updates: 1}", "image_size_px: 80")
    (tmp_path / "study.yaml").write_text(study + "\ntraining: {updates: 1}\n")
    asked = ["select", str(tmp_path / "study.yaml"), "--data", str(tmp_path)]
    command = with_one_that_cannot_be_formed(asked, tmp_path, "prepare")
    made = CliRunner().invoke(app, [*command, "--store", str(tmp_path / "store"), "--json", "-q"])
    assert made.exit_code == 3, made.output
    assert {path.parent.name for path in tmp_path.glob("store/cohorts/*/preparation.json")} == {"X-AGE"}
    assert [path.name for path in (tmp_path / "store/cohorts").iterdir()] == ["X-AGE"]
    assert "1 of 2 cohorts prepared" in made.stderr
    assert "Error: cohorts.X-NONE: " in made.stderr
    assert {row["cohort"] for row in json.loads(made.stdout)} == {"X-NONE", "X-AGE"}
