"""`advassay datasets`: recipes listed, shown, checked; the exit code says whether something is missing."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from typer.testing import CliRunner

from advassay.cli.program import app
from advassay.study import load_study

RUN = CliRunner()


def test_all_recipes_are_listed_with_where_to_ask() -> None:
    listed = json.loads(RUN.invoke(app, ["datasets", "--json"]).stdout)
    assert {"padchest", "lc25000", "pcam", "chestmnist"} <= {one["name"] for one in listed}
    assert all(one["licence"] and one["ask"] and one["facts"] for one in listed)
    assert "nih-chestxray14" in RUN.invoke(app, ["datasets"]).stdout


def test_what_show_prints_is_yaml_with_sources_and_cohorts() -> None:
    shown = yaml.safe_load(RUN.invoke(app, ["datasets", "show", "nih-chestxray14"]).stdout)
    assert shown["cohorts"]["X-NR2"]["classes"]["age 20–35"] == {"age": {"range": [20, 35]}}
    assert shown["sources"]["nih"]["recipe"] == "nih-chestxray14"


def test_check_exits_with_1_where_something_is_missing(tmp_path: Path) -> None:
    result = RUN.invoke(app, ["datasets", "check", "lc25000", str(tmp_path), "-q"])
    assert result.exit_code == 1
    assert "No image of lc25000 was found here." in result.stdout
    found = json.loads(RUN.invoke(app, ["datasets", "check", "lc25000", str(tmp_path), "--json", "-q"]).stdout)
    assert (found["verdict"], found["published"]) == ("not found", 25000)


def test_a_study_is_written_once_and_loads(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    assert RUN.invoke(app, ["datasets", "study", "breakhis", "-o", str(file)]).exit_code == 0
    assert list(load_study(file).cohorts) == ["H-BR"]
    assert RUN.invoke(app, ["datasets", "study", "breakhis", "-o", str(file)]).exit_code == 2


def test_what_is_lacking_is_said() -> None:
    assert "a folder is needed" in RUN.invoke(app, ["datasets", "check", "lc25000"]).stderr
    assert "the name of a recipe is needed" in RUN.invoke(app, ["datasets", "show"]).stderr
