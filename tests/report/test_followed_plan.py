"""Figures, tables and exports follow the frozen plan: its arm, step size, readings and level, to the digit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from simulate import Cohort, make_store
from test_page import Page
from written_report import Report

from advassay.report import compare, gather, write_report
from advassay.report.data.findings import Findings
from advassay.report.figures.figure import figures
from advassay.report.figures.image_figures import fig1, fig2
from advassay.report.figures.success_by_epsilon import fig3a
from advassay.report.figures.success_by_iteration import fig3b
from advassay.report.figures.success_by_training_size import fig3d
from advassay.spec.attack_spec import Arm
from advassay.store_layout import Store
from advassay.study import load_study
from advassay.study.run.preregistration import freeze_analysis_plan

COHORTS = (
    Cohort("X-TB", "X-ray", ("tuberculosis", "norm"), epsilon50=0.04, slope=1.2, patients=30, lost_again=0.15),
    Cohort("H-BR", "histology", epsilon50=0.08, slope=0.9, patients=30, lost_again=0.15, sizes=(40, 80, 160)),
)
ARMS = {
    "C": Arm(epsilons=(0.001, 0.005, 0.02), step_sizes=("epsilon/4",), steps=8, loss="margin"),
    "A": Arm(epsilons=(0.02, 0.04, 0.08, 0.2), step_sizes=(0.05, 0.025), steps=8),
}
PLAN = {"arm": "A", "step_size": 0.025, "success": "any", "dose": "as recorded", "level": 0.9, "epsilon": 0.04}
"""The second arm, its second step size, the other readings and another level."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_store(tmp_path_factory.mktemp("planned") / "store", COHORTS, ARMS)
    study = yaml.safe_load((root / "study.yaml").read_text())
    study["analysis"] |= PLAN
    (root / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    freeze_analysis_plan(load_study(root / "study.yaml"), Store(root))
    return root


@pytest.fixture(scope="module")
def found(store: Path) -> Findings:
    return gather(store)


@pytest.fixture(scope="module")
def planned_report(store: Path) -> Report:
    return Report(store, write_report(store))


def rows_of(found: Findings, number: int) -> list[dict[str, Any]]:
    return list(found.conclusions[number - 1].details)


def test_the_main_tables_hold_the_plans_arm_and_step_size_and_say_its_reading_and_level(found: Findings) -> None:
    for name in ("success_by_epsilon", "performance", "reliability", "transitions", "units", "confidence_flow"):
        if name in found.tables:
            table = found.tables[name]
            assert table.select("arm", "step_size").unique().rows() == [("A", "0.025")], name
    for name in ("success_by_epsilon", "success_by_iteration", "success_by_confidence", "success_by_visibility"):
        assert found.tables[name].select("success", "level").unique().rows() == [("any", 0.9)], name
    assert found.tables["epsilon50"].select("success", "dose", "level").unique().rows() == [("any", "as recorded", 0.9)]


def test_the_ends_of_the_curves_are_those_of_conclusion_1(found: Findings) -> None:
    curves = found.tables["success_by_epsilon"].sort("epsilon")
    for row in rows_of(found, 1):
        curve = curves.filter(cohort=row["cohort"])
        assert curve["rate"].to_list()[0] == row["rate_from"]
        assert curve["rate"].to_list()[-1] == row["rate_to"]
        assert curve["n"].to_list()[0] == row["n"]


def test_epsilon50_of_the_table_is_that_of_conclusion_2(found: Findings) -> None:
    table = found.tables["epsilon50"].filter(arm="A")
    for row in rows_of(found, 2):
        [shown] = table.filter(cohort=row["cohort"]).iter_rows(named=True)
        assert (shown["text"], shown["text_255"]) == (row["epsilon50"], row["epsilon50_255"])
        assert (shown["low"], shown["high"]) == (row["epsilon50_low"], row["epsilon50_high"])


def test_success_over_iterations_is_that_of_conclusion_3(found: Findings) -> None:
    curves = found.of_main_arm("success_by_iteration")
    for row in rows_of(found, 3):
        assert row["epsilon"] == 0.04
        curve = curves.filter(cohort=row["cohort"], epsilon=row["epsilon"]).sort("step")
        assert curve["rate"].to_list()[-1] == row["rate"]
        rise = curve["rate"].to_list()[-1] - curve["rate"].to_list()[row["half"] - 1]
        assert rise == pytest.approx(row["rise"], abs=1e-12)


def test_the_largest_bins_of_confidence_hold_the_images_of_conclusion_4(found: Findings) -> None:
    bins = found.of_main_arm("success_by_confidence")
    for row in rows_of(found, 4):
        assert bins.filter(cohort=row["cohort"])["n"].sum() == row["n"]


def test_captions_name_arm_step_size_reading_and_level(found: Findings) -> None:
    caption = fig3a(found).caption
    assert "at any iteration up to the last" in caption
    assert "Arm A: projected-sign, cross-entropy loss, L∞, step 0.025 (of 0.025 and 0.05), 8 iterations" in caption
    assert "An image counts from the first iterate that misclassifies it (reading: any)" in caption
    assert "90 % intervals" in caption
    assert "In conclusion 3" in fig3b(found).caption
    assert "at ε = 0.04" in fig3b(found).caption.split("In conclusion 3")[1]
    assert not [figure.key for figure in figures(found) if "95 % interval" in figure.caption + figure.description]


def test_figure_3d_shows_the_arm_that_attacked_the_series_and_says_that_it_is_not_the_plans(found: Findings) -> None:
    figure = fig3d(found)
    assert figure is not None
    assert figure.numbers is not None
    assert set(figure.numbers["arm"]) == {"C"}
    assert "conclusion 5 is judged in arm A, which attacked no networks of other sizes" in figure.caption


def test_image_figures_say_whose_images_they_show(found: Findings) -> None:
    for figure in (fig1(found), fig2(found)):
        assert figure is not None
        assert "Arm C" in figure.caption
        assert "the verdicts rest on arm A, of which no images were kept" in figure.caption


def test_the_page_says_the_level_in_every_header_and_what_it_follows(planned_report: Report) -> None:
    text = " ".join(" ".join(Page(planned_report.html).text).split())
    assert "95 % from" not in text
    assert "90 % from" in text
    assert "ε₅₀ with 90 % interval" in text
    assert "attack arm A (the main arm), step size 0.025; success at any iteration" in text
    numbers = planned_report.table("success_by_epsilon")
    assert numbers.select(pl.col("arm", "step_size", "success", "level").unique()).rows() == [("A", 0.025, "any", 0.9)]


def test_the_json_says_the_plan(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_report(store, path, "json")
    plan = json.loads(path.read_text())["plan"]
    assert {name: plan[name] for name in PLAN} == PLAN | {"step_size": "0.025"}


def test_a_comparison_shows_each_store_in_its_plans_arm_by_the_first_ones_readings(store: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(store, other)
    (other / "analysis.json").unlink()
    made = compare([store, store])
    assert made.level == 0.9
    assert made.tables["curves"].select("arm", "step_size").unique().rows() == [("A", "0.025")]
    planned = gather(store).tables["success_by_epsilon"].sort("cohort", "epsilon")["rate"].to_list()
    first = made.tables["curves"].filter(store=made.names[0]).sort("cohort", "epsilon")["rate"].to_list()
    assert first == planned
    mixed = compare([store, other])
    assert set(mixed.tables["curves"].filter(store="other")["arm"]) == {"C"}
    assert any("other: its analysis plan has other readings or another level" in text for text in mixed.warnings)
