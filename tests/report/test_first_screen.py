"""The answer about one model on one data set: what is said, and what is left unsaid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from simulate import Cohort, make_store

from advassay.analysis import epsilon50, performance
from advassay.checked_files import write_document
from advassay.records import open_records
from advassay.report.data.findings import Findings, gather
from advassay.report.data.first_screen import FirstScreen, first_screen
from advassay.store_documents import Evaluation, PlantedTest
from advassay.store_layout import Store

PLANTED = PlantedTest(
    arm="A", step_size="0.01", epsilon=0.02, steps=20, images=16, found=16, one_step=1, noise=0, noise_draws=32,
    features="penultimate", readouts=6, left_out=0,
)  # fmt: skip


def store_with(folder: Path, **cohort: object) -> Path:
    return make_store(folder / "store", (Cohort("X-A", "X-ray", **cohort),), gallery=False)  # type: ignore[arg-type]


def answer(store: Path, planted: PlantedTest | None = None, labels: str = "given") -> FirstScreen:
    document = Evaluation(
        preset="quick", architecture="net", classifier="0" * 16, weights_sha256="0" * 64, labels=labels, planted=planted
    )  # type: ignore[arg-type]
    write_document(Store(store).evaluation, document)
    found = first_screen(gather(store))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store_with(tmp_path_factory.mktemp("one"))


def test_the_first_sentence_is_epsilon50_as_analysis_gives_it(store: Path) -> None:
    found = gather(store)
    row = epsilon50(open_records(store), arm=found.main_arm).row(0, named=True)
    assert row["side"] == "inside"
    assert f"{row['text_255']}" in answer(store).sentences[0]
    assert f"({row['n']} images of {row['patients']} patients)" in answer(store).sentences[0]


def test_scores_are_those_of_the_table_with_their_intervals(store: Path) -> None:
    found = gather(store)
    scores = performance(open_records(store), arm=found.main_arm)
    for epsilon in (0.0, found.epsilon):
        row = next(r for r in scores.iter_rows(named=True) if r["epsilon"] == epsilon)
        assert f"{row['accuracy']:.2f} [{row['low']:.2f}, {row['high']:.2f}]" in answer(store).sentences[1]
        assert f"{row['auroc']:.2f}" in answer(store).sentences[1]


def test_beyond_the_attacked_amplitudes_it_says_on_which_side(tmp_path: Path) -> None:
    robust = answer(store_with(tmp_path / "robust", epsilon50=50.0)).sentences[0]
    assert robust.startswith("Even a change of ")
    assert "A stronger attack may find more." in robust
    fragile = answer(store_with(tmp_path / "fragile", epsilon50=0.00001)).sentences[0]
    assert fragile.startswith("More than half of the images this model gets right are misclassified already")


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    """Two cohorts with an ε50 inside the grid, one above it, one of three classes."""
    cohorts = (
        Cohort("X-A", "X-ray", epsilon50=0.02), Cohort("H-B", "histology", ("a", "b", "c"), epsilon50=0.08),
        Cohort("H-C", "histology", epsilon50=50.0),
    )  # fmt: skip
    return gather(make_store(tmp_path_factory.mktemp("several") / "store", cohorts, gallery=False))


def test_several_cohorts_have_one_line_each_and_one_sentence_together(several: Findings) -> None:
    found = first_screen(several)
    assert found is not None
    assert [line.cohort for line in found.headlines] == ["X-A", "H-B", "H-C"]
    assert "the smallest in X-A, the largest in H-B" in found.sentences[0]
    assert "not even by the largest change that was tried (51 grey levels of 255) in H-C" in found.sentences[0]


def test_a_line_gives_the_scores_of_the_tables(several: Findings) -> None:
    found = first_screen(several)
    assert found is not None
    line, of_three = found.headlines[:2]
    performance = several.of_main_arm("performance").filter(cohort="X-A")
    for name, column in (("accuracy", "accuracy"), ("sensitivity", "sensitivity"), ("specificity", "specificity")):
        score = line.score(name)
        assert score is not None
        for share, epsilon in ((score.clean, 0.0), (score.attacked, several.epsilon)):
            assert share.value == pytest.approx(performance.filter(epsilon=epsilon)[column][0])
            assert share.low <= share.value <= share.high
    assert [score.name for score in of_three.scores] == ["accuracy", "AUROC"]
    header = several.headers()[0]
    assert line.noise == header.controls.noise[f"{several.epsilon:g}"]


def test_a_network_has_one_auroc_that_of_all_scored_images(several: Findings) -> None:
    found = first_screen(several)
    assert found is not None
    for line in found.headlines:
        row = several.tables["cohorts"].filter(cohort=line.cohort).row(0, named=True)
        score = line.score("AUROC")
        assert score is not None
        assert (score.clean.value, score.clean.low, score.clean.high) == (
            row["auroc"], row["auroc_low"], row["auroc_high"]
        )  # fmt: skip
        assert 0 <= row["auroc_low"] < row["auroc"] <= row["auroc_high"] <= 1


def test_what_was_not_tried_is_said(several: Findings) -> None:
    found = first_screen(several)
    assert found is not None
    text = " ".join(found.not_shown)
    assert "Attackers who do not know the network" in text
    assert "each was trained once" in text
    assert all(sentence.endswith(".") for sentence in found.not_shown)


def test_a_cohort_with_two_main_networks_has_no_single_answer(several: Findings) -> None:
    runs = [*several.runs, several.headers()[0].model_copy(update={"classifier": "f" * 16})]
    assert first_screen(replace(several, runs=runs)) is None


def test_an_attack_that_misses_what_was_planted_is_called_weak(store: Path) -> None:
    strong = answer(store, PLANTED)
    assert not strong.weak
    assert any("found 100% of planted adversarials (16 of 16); one step alone finds 1" in s for s in strong.sentences)
    weak = answer(store, PLANTED.model_copy(update={"found": 9}))
    assert weak.weak
    assert any("It is weak on this model: low success rates here do not show robustness." in s for s in weak.sentences)
    easy = answer(store, PLANTED.model_copy(update={"one_step": 15}))
    assert any("this test tells little about this model" in s for s in easy.sentences)
    nothing = answer(store, PLANTED.model_copy(update={"images": 0, "found": 0, "left_out": 16}))
    assert any("No adversarial could be planted in 16 images" in s for s in nothing.sentences)


def test_without_labels_nothing_is_said_of_how_often_the_model_is_right(store: Path) -> None:
    text = " ".join(answer(store, labels="model").sentences)
    assert "The images have no labels" in text
    assert "gets right" not in text
    assert "AUROC" not in text
