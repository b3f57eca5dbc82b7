"""`advassay analyse` and `advassay conclusions` print what the functions give."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from advassay.analysis import success_curve
from advassay.analysis.conclusions import conclusions
from advassay.cli.program import app
from advassay.records import open_records
from advassay.spec.attack_spec import Arm
from tests.simulate import Cohort, make_store

ARM = Arm(epsilons=(0.02, 0.1), step_sizes=(0.01,), steps=20)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verbs") / "s"
    return make_store(path, (Cohort("a", "X-ray"), Cohort("b", "histology")), {"A": ARM}, gallery=False)


def test_analyse_prints_the_curve_as_json(store: Path) -> None:
    options = ["--over", "epsilon", "--by", "cohort", "--step", "20", "--success", "last", "--json"]
    told = CliRunner().invoke(app, ["analyse", str(store), *options])
    assert told.exit_code == 0, told.output
    expected = success_curve(open_records(store), over="epsilon", by="cohort", step=20, success="last").frame
    assert json.loads(told.stdout)["rows"] == expected.to_dicts()


def test_analyse_writes_csv_and_prints_a_table(store: Path, tmp_path: Path) -> None:
    file = tmp_path / "curve.csv"
    told = CliRunner().invoke(app, ["analyse", str(store), "--over", "step", "--by", "class", "-o", str(file)])
    assert told.exit_code == 0, told.output
    assert pl.read_csv(file).height == 2 * 20
    shown = CliRunner().invoke(app, ["analyse", str(store), "--robust-accuracy"])
    assert shown.stdout.startswith("robust accuracy")


def test_analyse_names_what_the_records_do_not_have(store: Path) -> None:
    told = CliRunner().invoke(app, ["analyse", str(store), "--step", "99"])
    assert told.exit_code == 2
    assert "step: 0 to 20" in told.stderr


def test_conclusions_print_all_five_verdicts(store: Path) -> None:
    found = conclusions(open_records(store))
    told = CliRunner().invoke(app, ["conclusions", str(store), "--json"])
    assert [one["verdict"] for one in json.loads(told.stdout)] == [one.verdict for one in found]
    shown = CliRunner().invoke(app, ["conclusions", str(store)]).stdout
    for one in found:
        assert f"{one.number}. {one.title}: {one.verdict.upper()} {one.breadth}".rstrip() in shown


def test_conclusions_say_what_they_rest_on_and_by_which_plan(store: Path) -> None:
    shown = " ".join(CliRunner().invoke(app, ["conclusions", str(store)]).stdout.split())
    for one in conclusions(open_records(store)):
        assert one.headline in shown
        assert f"{one.number}. {one.title}: {one.verdict.upper()}" in shown
    assert "Based on 2 cohorts with" in shown
    assert "The verdicts are not pre-specified: this store holds no analysis plan" in shown
