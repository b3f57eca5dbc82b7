"""What the page says around the verdicts: how to read them, the plan, the amplitudes, the groups."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import yaml
from simulate import ARMS, image_rows, make_store, population, write_run
from written_report import SMALL, SMALL_ARMS, Report

from advassay.analysis.conclusions.conclusion_text import basis, statistics_lines
from advassay.records import RunWriter, read_header
from advassay.report import gather
from advassay.report.figures.figure import NARROW, WIDE
from advassay.report.figures.specification_curve_chart import fig_specification
from advassay.report.tables.table import tables
from advassay.report.text.captions import describe_shared_grid, describe_unreachable
from advassay.report.text.limitations import training_chance
from advassay.report.text.passages import subgroup_sentences
from advassay.spec.analysis_plan import AnalysisPlan
from advassay.store_documents import AnalysisDocument
from advassay.store_layout import Store


def test_every_card_says_what_its_verdict_rests_on(report: Report) -> None:
    import html

    text = html.unescape(report.html)
    for one in gather(report.store).conclusions:
        assert one.headline in text
        assert basis(one) in text
        for label, line in statistics_lines(one):
            assert f"<dt>{label}</dt>" in text
            assert line in text


def test_the_page_says_how_to_read_a_verdict_and_that_no_plan_was_fixed(report: Report) -> None:
    first = report.html.split('<section id="cohorts">')[0]
    assert "How to read the verdicts" in first
    assert "that is no evidence of absence" in first
    assert "The verdicts are not pre-specified: this store holds no analysis plan" in first


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_specification_curve_keeps_to_the_schema_of_vega_lite(report: Report, width: int) -> None:
    figure = fig_specification(gather(report.store))
    assert figure is not None
    figure.draw(width).to_dict(validate=True)
    assert figure.numbers is not None
    assert figure.numbers["estimate"].is_not_null().all()


def test_what_several_trainings_add_to_the_intervals_is_said(tmp_path: Path) -> None:
    once = replace(SMALL[1], sizes=())
    root = make_store(tmp_path / "store", (SMALL[0], once), {"A": SMALL_ARMS["A"]}, gallery=False)
    assert "do not include how far another training would differ" in training_chance(gather(root))
    images = population(once)
    write_run(Store(root), once, images, "A", SMALL_ARMS["A"], primary=False, seed=1)
    study = yaml.safe_load((root / "study.yaml").read_text())
    study["cohorts"][once.name]["seeds"] = 2
    (root / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    said = training_chance(gather(root))
    assert said.startswith("Trained several times on the same images: H-BR (2).")
    assert said.endswith("X-TB has one network, so that it is not included there.")


def test_amplitudes_that_no_step_can_reach_are_called_one_attack(tmp_path: Path) -> None:
    """Eight steps of 0.01 move no pixel by more than 0.08."""
    arms = {"A": SMALL_ARMS["A"].model_copy(update={"epsilons": (0.02, 0.06, 0.1, 0.2)}), "C": ARMS["C"]}
    found = gather(make_store(tmp_path / "store", SMALL[:1], arms, gallery=False))
    [said] = describe_unreachable(found)
    assert said.startswith("Arm A, step 0.01: all iterations together move no pixel farther than 0.08.")
    assert "(ε = 0.1 and 0.2)" in said
    assert describe_unreachable(found, ["C"]) == []


def test_cohorts_on_different_grids_are_said_to_be_compared_where_they_meet(tmp_path: Path) -> None:
    root = make_store(tmp_path / "store", SMALL[:1], {"A": SMALL_ARMS["A"]}, gallery=False)
    assert describe_shared_grid(gather(root)) == []
    other = {"A": SMALL_ARMS["A"].model_copy(update={"epsilons": (0.02, 0.05, 0.2)})}
    second = replace(SMALL[0], name="X-2")
    make_store(root, (second,), other, gallery=False)
    (root / "study.yaml").unlink()  # it names the second cohort alone
    [said] = describe_shared_grid(gather(root))
    assert "X-TB 0.02 to 0.2" in said
    assert "the amplitudes that all share: ε = 0.02 and 0.2." in said


def test_groups_are_told_in_a_sentence_and_two_tables(tmp_path: Path) -> None:
    root = make_store(tmp_path / "store", SMALL[:1], {"A": SMALL_ARMS["A"]}, gallery=False)
    assert subgroup_sentences(gather(root)) == []
    plan = AnalysisPlan(arm="A", step_size=0.01, subgroups=("sex", "site"))
    document = AnalysisDocument(
        plan=plan, sha256=plan.sha256, frozen="2026-03-01T08:00:00+00:00", attacked_before=0, arm=SMALL_ARMS["A"]
    )
    (root / "analysis.json").write_text(document.model_dump_json(), encoding="utf-8")
    images = image_rows(SMALL[0], population(SMALL[0]))
    groups = pl.Series("subgroup_sex", ["f", "m"] * (len(images) // 2))
    for folder in Store(root).records.iterdir():
        RunWriter(folder, read_header(folder)).add_images(images.with_columns(groups))
    found = gather(root)
    sex, site = subgroup_sentences(found)
    assert sex.startswith("sex: no difference is shown")
    assert site == "site: the analysis plan names this column, but the records do not carry it."
    printed = tables(found)
    assert len(printed["subgroup_differences"].rows) == 1
    assert len(printed["subgroups"].rows) == 2
