from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from blocks import ARM, IMAGES, block, header, images, writer

from advassay import success
from advassay.errors import AdvassayWarning, FormatError, StoreError
from advassay.records import Example, RunWriter, open_records, read_gallery, read_image, run_identity, write_example
from advassay.spec.attack_spec import Arm
from advassay.store_layout import Store
from tests.simulate import ARMS, COHORTS, make_store, population, write_run


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cohorts = tuple(replace(c, patients=8) for c in COHORTS)
    return make_store(tmp_path_factory.mktemp("simulated") / "store", cohorts, ARMS)


def test_a_store_opens_with_all_it_holds(store: Path) -> None:
    records = open_records(store)
    assert records.cohorts == ["X-NR2", "X-TB", "H-OV-TH", "H-BR"]  # the study's order, not the alphabet's
    assert (records.main_arm, records.arms) == ("A", ["A", "B", "C"])
    assert set(records.preparations) == set(records.cohorts)
    assert records.training(records.headers[0].classifier) in records.trainings
    assert records.gallery()
    assert "simulated" in records.study_text
    assert open_records(store / "records").cohorts[0] in records.cohorts


def test_outcomes_say_what_success_says(store: Path) -> None:
    records = open_records(store)
    run = records.runs[0]
    rows = run.rows()
    outcomes = records.outcomes().filter(pl.col("run_id") == run.header.run_id).collect()
    assert outcomes.height == len(rows) * 21
    for (_, epsilon), where in run.index.points().items():
        logits, labels = np.swapaxes(rows.logits[where], 0, 1), rows.label[where]
        mine = outcomes.filter(pl.col("epsilon") == epsilon)
        for reading in ("last", "any"):
            fallen = success.has_succeeded(logits, labels, reading).T.reshape(-1)
            assert (mine[f"fallen_{reading}"].to_numpy() == fallen).all()
        assert mine["clean_confidence"].to_numpy() == pytest.approx(np.repeat(success.confidence(logits[0]), 21))
        rate = mine.filter(pl.col("attackable") & (pl.col("step") == 20))["fallen_last"].mean()
        assert rate == pytest.approx(success.attack_success_rate(logits, labels)[20])


def test_outcomes_are_made_while_they_are_read(store: Path) -> None:
    outcomes = open_records(store).outcomes()
    few = (
        outcomes.filter(pl.col("cohort") == "X-TB", pl.col("step") == 3).select("image_id", "margin").head(5).collect()
    )
    assert few.columns == ["image_id", "margin"]
    assert few.height == 5
    assert outcomes.collect_schema() == outcomes.head(1).collect().schema


def test_a_changed_study_supersedes_its_earlier_run(tmp_path: Path) -> None:
    longer = ARM.model_copy(update={"loss": "margin"})
    for arm in (ARM, longer):
        run_id = run_identity(classifier="c0", arm=arm, cohort_identity="k0")
        opened = RunWriter(tmp_path / "records" / run_id, header(arm))
        opened.add_images(images())
        opened.append(block(IMAGES))
        opened.finish()
    records = open_records(tmp_path)
    assert [h.attack["loss"] for h in records.headers] == ["margin"]
    assert [h.attack["loss"] for h in records.superseded] == ["cross-entropy"]


def test_a_cohort_prepared_anew_supersedes_every_run_on_its_old_images(tmp_path: Path) -> None:
    for identity, size in (("old", 40), ("old", 80), ("new", 50)):
        changes = {"run_id": f"{identity}{size}", "cohort_identity": identity, "full": False, "train_size": size}
        RunWriter(tmp_path / "records" / f"{identity}{size}", header(**changes)).finish()
    records = open_records(tmp_path)
    assert [h.run_id for h in records.headers] == ["new50"]
    assert [h.run_id for h in records.superseded] == ["old40", "old80"]


def test_a_run_folder_without_a_header_is_left_out_with_a_warning(tmp_path: Path) -> None:
    writer(tmp_path / "records" / header().run_id)
    (tmp_path / "records" / "beheaded" / "shards").mkdir(parents=True)
    with pytest.warns(AdvassayWarning, match="beheaded"):
        assert len(open_records(tmp_path).headers) == 1


def test_what_is_no_store_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such folder"):
        open_records(tmp_path / "nowhere")
    with pytest.raises(StoreError, match="expected a store with records/"):
        open_records(tmp_path)
    (tmp_path / "header.json").write_text('{"format_version": "1", "run_id": "x"}')
    with pytest.raises(FormatError, match="cohort"):
        open_records(tmp_path)


def test_a_store_that_was_prepared_but_not_attacked_opens_without_runs(store: Path, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text((store / "study.yaml").read_text())
    shutil.copytree(store / "cohorts", tmp_path / "cohorts")
    records = open_records(tmp_path)
    assert records.headers == []
    assert set(records.preparations) == {"X-NR2", "X-TB", "H-OV-TH", "H-BR"}
    with pytest.raises(StoreError, match="no run is recorded yet"):
        _ = records.main_arm


def test_a_run_with_no_rows_has_empty_arrays_of_the_right_shape(tmp_path: Path) -> None:
    writer(tmp_path).finish()
    records = open_records(tmp_path)
    assert records.runs[0].rows().logits.shape == (0, 4, 2)
    assert records.outcomes().collect().height == 0


def example(**changes: object) -> Example:
    fields = {
        "cohort": "X-TB", "run_id": "r", "image_id": "i", "label": 0, "class_names": ("tb", "norm"), "epsilon": 0.02,
        "step_size": "0.01", "steps": 20, "predicted": 1, "clean_probabilities": (0.9, 0.1),
        "adversarial_probabilities": (0.2, 0.8), "bits": 16,
    }  # fmt: skip
    return Example(**(fields | changes))


@pytest.mark.parametrize(("bits", "channels"), [(16, 1), (8, 1), (8, 3), (16, 3)])
def test_gallery_images_are_lossless_at_their_depth(tmp_path: Path, bits: int, channels: int) -> None:
    levels = np.random.default_rng(0).integers(0, 2**bits, (channels, 5, 7))
    clean = (levels / (2**bits - 1)).astype(np.float32)
    kept = write_example(tmp_path, example(bits=bits), clean, 1 - clean)
    stored = np.moveaxis(np.atleast_3d(read_image(tmp_path, kept.clean_file)), -1, 0)
    assert (stored == levels).all()
    inverse = np.atleast_3d(read_image(tmp_path, kept.adversarial_file))
    assert (np.moveaxis(inverse, -1, 0) == 2**bits - 1 - levels).all()


def test_an_example_written_again_replaces_the_earlier_one(tmp_path: Path) -> None:
    image = np.zeros((1, 4, 4), np.float32)
    write_example(tmp_path, example(), image, image)
    write_example(tmp_path, example(predicted=0), image, image)
    write_example(tmp_path, example(epsilon=0.04), image, image)
    kept = read_gallery(tmp_path)
    assert [(e.epsilon, e.predicted, e.fallen) for e in kept] == [(0.02, 0, False), (0.04, 1, True)]


def test_step_sizes_come_in_the_order_of_the_study_and_by_name_without_it(tmp_path: Path) -> None:
    arm = Arm(step_sizes=(0.05, "epsilon/4", 0.01), epsilons=(0.02,), steps=3)
    for name, loss in (("A", "cross-entropy"), ("B", "margin")):
        rules = arm.model_copy(update={"loss": loss})
        write_run(Store(tmp_path), COHORTS[0], population(COHORTS[0]), name, rules)
    assert open_records(tmp_path).step_sizes("A") == ("0.01", "0.05", "epsilon/4")
    text = 'attack: {step_sizes: ["epsilon / 4", 5e-2], arms: {A: {step_sizes: [0.05, epsilon/4, 1/100, 0.3]}, B: {}}}'
    (tmp_path / "study.yaml").write_text(text)
    found = open_records(tmp_path)
    assert found.step_sizes("A") == ("0.05", "epsilon/4", "0.01")
    assert found.step_sizes("B") == ("epsilon/4", "0.05", "0.01")
    assert found.step_sizes("C") == ()
