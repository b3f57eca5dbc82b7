"""A model and images in, numbers with intervals out; and what is refused."""

from __future__ import annotations

import html
import json
import warnings
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from tiny_models import TinyCnn, as_input, bars, write_folders
from torch import nn

import advassay as aa
from advassay.errors import AdvassayWarning, CohortError, InputError, SourceError, SpecError, StoreError
from advassay.records import open_records
from advassay.report.figures.answer_figures import moving_part
from advassay.spec.study_spec import AttackSpec
from advassay.study import make_environment, stored_study
from advassay.study.config.name_checks import check_arms
from advassay.study.plan.study_plan import plan
from advassay.workflows import EvaluationResult
from advassay.workflows.image_source import ImageOptions, class_order
from advassay.workflows.presets import PRESETS, arms_for

Arrays = tuple[np.ndarray, np.ndarray]
NAMES = ("wide", "tall")


def evaluated(model: object, images: object, labels: object = None, **more: object) -> EvaluationResult:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AdvassayWarning)
        return aa.evaluate(model, images, labels, **{"preset": "quick", "device": "cpu", "limit": 8} | more)  # type: ignore[arg-type]


def test_every_number_is_the_one_that_analysis_gives(quick: EvaluationResult) -> None:
    records = open_records(quick.store)
    scores = aa.performance(records, arm="margin")
    for row in scores.iter_rows(named=True):
        found = quick.robust_accuracy(row["epsilon"]) if row["epsilon"] else quick.accuracy
        assert (found.value, found.low, found.high, found.n) == (row["accuracy"], row["low"], row["high"], row["n"])
    half = aa.epsilon50(records, arm="margin").row(0, named=True)
    assert (quick.epsilon50.value, quick.epsilon50.low, quick.epsilon50.high) == (
        half["estimate"],
        half["low"],
        half["high"],
    )
    assert quick.epsilon50.text == f"{half['text_255']} grey levels of 255"


def test_the_preset_limits_the_images_and_patients_are_the_clusters(quick: EvaluationResult) -> None:
    (header,) = open_records(quick.store).headers
    assert (header.images, header.patients_known, header.train_size) == (32, True, None)
    assert header.class_names == NAMES
    assert quick.accuracy.n == 32
    assert "patients" in quick.answer.sentences[0]


def test_labels_go_with_their_images(quick: EvaluationResult, network: TinyCnn, images: Arrays) -> None:
    pixels, labels = images
    logits = network(as_input(pixels)).detach().numpy()
    right = logits.argmax(1) == labels
    run = open_records(quick.store).runs[0]
    clean = run.column("logits")[:, 0]
    label = run.column("label")
    seen = {(round(float(z[0]), 3), int(y)) for z, y in zip(clean, label, strict=True)}
    assert seen <= {(round(float(z[0]), 3), int(y)) for z, y in zip(logits, labels, strict=True)}
    assert right.mean() > 0.7


def test_the_answer_says_where_half_of_the_images_are_lost_and_what_it_rests_on(quick: EvaluationResult) -> None:
    first, second, *evidence = quick.answer.sentences
    assert "this model gets right" in first
    assert "grey levels of 255" in first
    assert second.startswith("Accuracy falls from ")
    assert "sensitivity for tall " in second
    assert "AUROC " in second
    assert any("planted adversarials" in text for text in evidence)
    assert any(text.startswith("Random noise of the same size") for text in evidence)


def test_the_page_begins_with_the_same_sentences(quick: EvaluationResult, tmp_path: Path) -> None:
    page = quick.report(tmp_path / "page.html").read_text()
    answer = page[page.index('id="answer"') : page.index('id="verdicts"')]
    for sentence in quick.answer.sentences:
        assert html.escape(sentence) in answer
    assert quick.answer.evaluation is not None
    assert quick.answer.evaluation.weights_sha256 in answer
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_the_table_has_a_row_for_each_amplitude_and_the_chart_draws_it(quick: EvaluationResult) -> None:
    frame = quick.to_polars()
    assert frame["epsilon_255"].round(4).to_list() == [0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0]
    assert (frame["low"] <= frame["rate"]).all()
    assert "layer" in quick.plot().to_dict() or "facet" in quick.plot().to_dict()
    assert repr(quick).startswith("EvaluationResult(")
    assert len(repr(quick)) < 300


def test_an_amplitude_that_was_not_attacked_is_refused_with_those_that_were(quick: EvaluationResult) -> None:
    with pytest.raises(SpecError, match=r"0.0625/255, 0.125/255.*, got 3/255"):
        quick.robust_accuracy("3/255")


def test_the_same_call_computes_nothing_and_more_images_only_what_is_new(
    network: TinyCnn, images: Arrays, tmp_path: Path
) -> None:
    pixels, labels = images
    first = evaluated(network, pixels, labels, store=tmp_path / "mine")
    (before,) = open_records(first.store).headers
    evaluated(network, pixels, labels, store=tmp_path / "mine")
    (again,) = open_records(first.store).headers
    assert again == before
    evaluated(network, pixels, labels, store=tmp_path / "mine", limit=12)
    (more,) = open_records(first.store).headers
    assert (more.run_id, more.images) == (before.run_id, 12)
    assert more.cost.gradient_evaluations < 2 * before.cost.gradient_evaluations


def test_a_required_amplitude_is_attacked(network: TinyCnn, images: Arrays, tmp_path: Path) -> None:
    result = evaluated(network, *images, store=tmp_path / "mine", require="robust_accuracy@3/255 >= 0.5")
    assert result.robust_accuracy("3/255").n == 8


def test_folders_are_read_in_the_order_of_the_models_classes(network: TinyCnn, images: Arrays, tmp_path: Path) -> None:
    folder = write_folders(tmp_path / "images", *images, NAMES)  # sorted: tall, wide
    result = evaluated(network, folder, store=tmp_path / "mine", class_names=NAMES, patient_pattern="^(p[0-9]+)_")
    (header,) = open_records(result.store).headers
    assert header.class_names == NAMES
    assert header.patients_known
    arrays = evaluated(network, *images, store=tmp_path / "arrays")
    assert result.accuracy.value == arrays.accuracy.value
    assert result.robust_accuracy("1/255").value == arrays.robust_accuracy("1/255").value
    turned = evaluated(network, folder, store=tmp_path / "turned")
    assert turned.accuracy.value == pytest.approx(1 - arrays.accuracy.value)


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_table_names_images_labels_and_patients(
    network: TinyCnn, images: Arrays, tmp_path: Path, ending: str
) -> None:
    folder = write_folders(tmp_path / "images", *images, NAMES)
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))
    table = pl.DataFrame(
        {
            "image": files,
            "label": [NAMES.index(file.split("/")[0]) for file in files],
            "patient": [file.split("/")[1].split("_")[0] for file in files],
        }
    )
    path = folder / f"table{ending}"
    table.write_csv(path) if ending == ".csv" else table.write_parquet(path)
    result = evaluated(network, path, store=tmp_path / "mine", class_names=NAMES)
    (header,) = open_records(result.store).headers
    assert (header.class_names, header.patients_known) == (NAMES, True)
    assert result.accuracy.value == evaluated(network, *images, store=tmp_path / "arrays").accuracy.value


def test_an_npz_of_images_and_labels_is_the_same_as_the_arrays(
    network: TinyCnn, images: Arrays, tmp_path: Path
) -> None:
    np.savez(tmp_path / "images.npz", images=images[0], labels=images[1])
    result = evaluated(network, tmp_path / "images.npz", store=tmp_path / "mine")
    arrays = evaluated(network, as_input(images[0]), torch.from_numpy(images[1]), store=tmp_path / "arrays")
    assert result.to_polars().drop("cohort").equals(arrays.to_polars().drop("cohort"))


def test_a_prepared_cohort_is_evaluated_with_its_classes(
    quick: EvaluationResult, network: TinyCnn, tmp_path: Path
) -> None:
    (cohort,) = (quick.store / "cohorts").iterdir()
    result = evaluated(network, cohort, store=tmp_path / "again", limit=32)
    (header,) = open_records(result.store).headers
    assert header.class_names == NAMES
    assert header.patients_known
    assert result.accuracy.value == quick.accuracy.value


def test_images_without_labels_are_judged_by_the_models_own_decision(
    network: TinyCnn, images: Arrays, tmp_path: Path
) -> None:
    (tmp_path / "flat").mkdir()
    for path in write_folders(tmp_path / "images", *images, NAMES).rglob("*.png"):
        path.rename(tmp_path / "flat" / path.name)
    result = evaluated(network, tmp_path / "flat", store=tmp_path / "mine")
    assert result.accuracy.value == 1.0
    assert result.answer.evaluation is not None
    assert result.answer.evaluation.labels == "model"
    text = " ".join(result.answer.sentences)
    assert "The images have no labels" in text
    assert "AUROC" not in text
    assert "gets right" not in text
    decided = network(as_input(images[0])).argmax(1).tolist()
    (preparation,) = open_records(result.store).preparations.values()
    assert preparation.counts["validation"] == {f"class {c}": decided.count(c) for c in (0, 1)}
    assert evaluated(network, tmp_path / "flat", store=tmp_path / "mine").accuracy.n == 8


def test_standard_finds_its_amplitudes_on_images_that_it_then_leaves_out(network: TinyCnn, tmp_path: Path) -> None:
    pixels, labels = bars(60, seed=3)
    result = evaluated(network, pixels, labels, store=tmp_path / "mine", preset="standard", limit=None)
    records = open_records(result.store)
    (preparation,) = records.preparations.values()
    tuning = sum(preparation.counts["tuning"].values())
    assert preparation.split == "tuning"
    assert 8 <= tuning <= 16
    assert {header.arm for header in records.headers} == {"margin", "cross-entropy"}
    assert {header.images for header in records.headers} == {60 - tuning}
    rates = result.to_polars().filter(pl.col("arm") == "margin")["rate"]
    assert rates[0] <= 0.1
    assert rates[-1] >= 0.9
    assert result.robust_accuracy("2/255").n == 60 - tuning


def test_the_stores_status_counts_everything_as_done(quick: EvaluationResult) -> None:
    here = make_environment(quick.store, device="cpu")
    rows = plan(stored_study(here.store), here, timed=False).rows
    assert {row.stage for row in rows} >= {"prepare", "attack", "controls"}
    assert [row for row in rows if row.missing] == []


def test_full_adds_the_worst_case_suite_and_the_reference_studys_attacks(
    network: TinyCnn, images: Arrays, tmp_path: Path
) -> None:
    result = evaluated(network, *images, store=tmp_path / "mine", preset="full", limit=6)
    headers = {header.arm: header for header in open_records(result.store).headers}
    suite = {"apgd-margin", "apgd-cross-entropy", "square", "fab", "hopskipjump"}
    assert set(headers) == {"margin", "cross-entropy", "reference"} | suite
    attacked = {(point.step_size, point.epsilon) for point in headers["cross-entropy"].points}
    assert {("0.01", 0.02), ("0.01", 0.2), ("epsilon/4", 0.02)} <= attacked
    worst = result.worst_case("2/255")
    assert worst.value is not None
    assert worst.value <= min(result.robust_accuracy("2/255").value, result.accuracy.value)  # type: ignore[type-var]
    assert any("Under the worst of 7 attacks, image by image" in text for text in result.answer.sentences)


@pytest.mark.parametrize("name", PRESETS)
def test_the_arms_of_a_preset_are_runs_of_their_own(name: str) -> None:
    for classes in (2, 3):
        arms = {arm: {"epsilons": [0.01]} | rules for arm, rules in arms_for(PRESETS[name], classes).items()}  # type: ignore[index]
        check_arms(AttackSpec.model_validate({"arms": arms}))
        assert next(iter(arms)) == "margin"


def test_another_model_is_refused_in_the_same_store(quick: EvaluationResult, images: Arrays) -> None:
    with pytest.raises(StoreError, match="holds the evaluation of another model"):
        evaluated(TinyCnn(), *images, store=quick.store)


def test_the_same_weights_with_another_mean_are_another_model(
    quick: EvaluationResult, network: TinyCnn, images: Arrays
) -> None:
    with pytest.raises(StoreError, match="or of the same weights used otherwise"):
        evaluated(network, *images, store=quick.store, mean=0.5)


def test_too_few_class_names_are_refused(images: Arrays, tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="expected one for each of the model's 3 outputs, got 2"):
        evaluated(TinyCnn(3), *images, store=tmp_path / "mine", class_names=NAMES)


def test_folders_that_are_no_classes_of_the_model_are_refused(network: TinyCnn, images: Arrays, tmp_path: Path) -> None:
    folder = write_folders(tmp_path / "images", *images, ("wide", "ring"))
    with pytest.raises(CohortError, match=r"classes of the model \(wide, tall\), .* also name ring"):
        evaluated(network, folder, store=tmp_path / "mine", class_names=NAMES)


def test_images_of_several_sizes_need_a_stated_size(network: TinyCnn, images: Arrays, tmp_path: Path) -> None:
    import cv2

    folder = write_folders(tmp_path / "images", *images, NAMES)
    cv2.imwrite(str(folder / "tall" / "a.png"), np.zeros((40, 30), np.uint8))
    with pytest.raises(CohortError, match="size_px: expected the side of the square images"):
        evaluated(network, folder, store=tmp_path / "mine", class_names=NAMES)
    assert evaluated(network, folder, store=tmp_path / "mine", class_names=NAMES, size_px=28).accuracy.n == 8


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.full((4, 1, 28, 28), 3.0), r"values in \[0, 1\], got 3 to 3"),
        (np.zeros((4, 2, 28, 28), np.uint8), "1 or 3 channels"),
        (np.zeros((4, 1, 28, 28), np.int64), "floats in .*, uint8 or uint16, got int64"),
        (np.zeros((28, 28), np.uint8), r"\(image, channel, height, width\), got shape \(28, 28\)"),
    ],
)
def test_arrays_that_are_no_images_are_refused(network: TinyCnn, tmp_path: Path, given: np.ndarray, said: str) -> None:
    with pytest.raises(InputError, match=said):
        evaluated(network, given, np.zeros(len(given), int), store=tmp_path / "mine")


def test_labels_beyond_the_classes_and_a_path_to_nothing_are_refused(
    network: TinyCnn, images: Arrays, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="class indices 0 to 1, got 5"):
        evaluated(network, images[0], images[1] + 4, store=tmp_path / "mine", class_names=NAMES)
    with pytest.raises(SourceError, match="which does not exist"):
        evaluated(network, tmp_path / "nothing", store=tmp_path / "mine")
    with pytest.raises(SpecError, match="preset: one of quick, standard, full, got 'fast'"):
        evaluated(network, *images, store=tmp_path / "mine", preset="fast")


def test_what_it_costs_is_said_before_anything_is_attacked(network: TinyCnn, images: Arrays, tmp_path: Path) -> None:
    told: list[str] = []

    def note(text: str) -> None:
        told.append(text)
        assert not (tmp_path / "mine" / "records").exists()

    result = evaluated(network, *images, store=tmp_path / "mine", announce=note)
    assert len(told) == 1
    assert told[0].startswith("quick: 8 images, at most ")
    steps = int(told[0].split("at most ")[1].split(" gradient")[0].replace(",", ""))
    (header,) = open_records(result.store).headers
    assert header.cost.gradient_evaluations <= steps


def test_a_function_of_images_is_told_apart_by_its_code_and_the_network_it_calls(
    network: TinyCnn, images: Arrays, tmp_path: Path
) -> None:
    result = evaluated(lambda x: network(x), *images, store=tmp_path / "mine")
    assert result.accuracy.n == 8
    with pytest.raises(StoreError):
        evaluated(lambda x: -network(x), *images, store=tmp_path / "mine")


def test_a_number_that_a_function_encloses_makes_it_another_model(
    network: TinyCnn, images: Arrays, tmp_path: Path
) -> None:
    def scaled(factor: float) -> object:
        return lambda x: network(x * factor)

    evaluated(scaled(1.0), *images, store=tmp_path / "mine")
    with pytest.raises(StoreError, match="another model"):
        evaluated(scaled(0.5), *images, store=tmp_path / "mine")


def test_labels_that_are_numbers_are_logits_in_the_order_of_numbers() -> None:
    eleven = [str(number) for number in range(11)]
    assert list(class_order(sorted(eleven), ImageOptions(), "labels")) == eleven  # 0, 1, 10, 2, … as texts
    assert class_order(["1", "2"], ImageOptions(), "labels") == {"0": "0", "1": "1", "2": "2"}
    assert set(class_order(["1", "01"], ImageOptions(), "labels")) == {"1", "01"}  # no label is lost
    assert list(class_order(["0", "99999999"], ImageOptions(), "labels")) == ["0", "99999999"]


def test_a_model_of_one_output_has_two_classes(images: Arrays, tmp_path: Path) -> None:
    torch.manual_seed(0)
    single = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 1))
    result = evaluated(single, *images, store=tmp_path / "mine")
    assert open_records(result.store).headers[0].class_names == ("0", "1")


def test_the_positive_class_is_the_finding_by_name_else_the_last_class_and_the_sentence_says_which(
    quick: EvaluationResult, network: TinyCnn, images: Arrays, tmp_path: Path
) -> None:
    assert "sensitivity for tall falls" in quick.answer.sentences[1]  # as the caller said
    assert quick.answer.evaluation is not None
    assert quick.answer.evaluation.positive_by == "given"
    unnamed = evaluated(network, *images, store=tmp_path / "unnamed")
    assert open_records(unnamed.store).headers[0].positive == "1"
    assert "sensitivity for 1 (the last class; --positive names another) " in unnamed.answer.sentences[1]
    named = evaluated(network, *images, store=tmp_path / "named", class_names=["pneumonia", "normal"])
    assert open_records(named.store).headers[0].positive == "pneumonia"
    assert "sensitivity for pneumonia (the finding, by its name) " in named.answer.sentences[1]
    with pytest.raises(SpecError, match="positive: expected one of the classes wide, tall, got 'round'"):
        evaluated(network, *images, store=tmp_path / "other", class_names=NAMES, positive="round")


def test_a_value_range_is_what_black_and_white_become(network: TinyCnn, images: Arrays, tmp_path: Path) -> None:
    def levels(x: torch.Tensor) -> torch.Tensor:
        return network(x / 255)

    ranged = evaluated(levels, *images, store=tmp_path / "ranged", value_range=(0, 255))
    plain = evaluated(network, *images, store=tmp_path / "plain")
    assert ranged.accuracy.value == plain.accuracy.value
    assert ranged.robust_accuracy("1/255").value == plain.robust_accuracy("1/255").value


def test_controls_take_no_longer_than_the_attack_itself(quick: EvaluationResult) -> None:
    (header,) = open_records(quick.store).headers
    assert header.controls is not None
    assert header.controls.doubling is not None
    assert len(header.controls.doubling.image_ids) == 8  # a sample: as many as question 3 needs would be all 32


def test_the_first_screen_shows_the_curve_where_it_moves_and_one_image_with_its_difference(
    quick: EvaluationResult, tmp_path: Path
) -> None:
    page = quick.report(tmp_path / "page.html").read_text()
    answer = page[page.index('id="answer"') : page.index('id="verdicts"')]
    assert answer.count('id="answer-curve"') == 1
    shown = answer[answer.index('id="answer-pair"') :]
    assert shown.count('<img class="pixels"') == 3
    assert "difference × " in shown
    frame = quick.findings.tables["success_by_epsilon"].sort("epsilon")
    drawn = moving_part(frame)
    assert 2 <= len(drawn) < len(frame)
    left = frame.filter(~pl.col("epsilon").is_in(drawn["epsilon"].to_list()))
    assert all(rate < 0.02 or rate > 0.98 for rate in left["rate"])


def test_markdown_and_json_begin_with_the_answer_too(quick: EvaluationResult, tmp_path: Path) -> None:
    text = quick.report(tmp_path / "page.md").read_text()
    assert text.index("## The answer") < text.index("onclusions, tested")
    assert "figures/answer-curve.png" in text
    assert (tmp_path / "page_files" / "figures" / "answer-curve.png").exists()
    data = json.loads(quick.report(tmp_path / "page.json").read_text())
    assert data["answer"] == list(quick.answer.sentences)
