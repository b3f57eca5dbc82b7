"""A checkpoint attacked on a folder of images per class."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import save_file
from tiny_study import cpu

from advassay.errors import AdvassayWarning, CohortError, StoreError
from advassay.records import open_records
from advassay.store_documents import TrainingDocument
from advassay.study import attack_external_model, stored_study
from advassay.study.plan.study_plan import plan

FAST = ["attack.steps=2", "attack.images=4", "attack.arms={A: {}}"]


@pytest.fixture
def model(finished: Path) -> Path:
    """The tiny study's network of breast tiles: classes tumour (0), normal (1)."""
    for path in sorted(finished.glob("classifiers/*/training.json")):
        document = TrainingDocument.model_validate_json(path.read_text())
        if document.cohort == "H-BR" and document.full:
            return path.with_name("model.safetensors")
    raise AssertionError("the tiny study trains a full H-BR network")


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """Folders normal, tumour: alphabetical order is not the checkpoint's."""
    rng = np.random.default_rng(0)
    for name in ("normal", "tumour"):
        (tmp_path / "my tiles" / name).mkdir(parents=True)
        for i in range(4):
            pixels = rng.integers(0, 256, (50, 60, 3), dtype=np.uint8)
            cv2.imwrite(str(tmp_path / "my tiles" / name / f"{i}.png"), pixels)
    return tmp_path / "my tiles"


def test_labels_follow_the_checkpoint_and_images_are_taken_as_it_wants_them(
    model: Path, tiles: Path, tmp_path: Path
) -> None:
    (header,) = attack_external_model(model, tiles, cpu(tmp_path / "mine"), overrides=[*FAST, "attack.images=null"])
    assert header.class_names == ("tumour", "normal")
    assert (header.cohort, header.image_size_px, header.channels) == ("my-tiles", 40, 3)
    assert header.images == 8
    run = open_records(tmp_path / "mine").run(header.run_id)
    assert run.images["label"].value_counts().sort("label").rows() == [(0, 4), (1, 4)]
    assert not header.patients_known


def test_the_plan_counts_the_runs_of_a_network_that_was_brought_along(model: Path, tiles: Path, tmp_path: Path) -> None:
    here = cpu(tmp_path / "mine")
    (header,) = attack_external_model(model, tiles, here, overrides=FAST)
    rows = [row for row in plan(stored_study(here.store), here, timed=False).rows if row.stage == "attack"]
    assert [(row.what, row.have == row.total > 0) for row in rows] == [(f"network {header.classifier}, arm A", True)]


def test_a_second_folder_joins_the_store(model: Path, tiles: Path, tmp_path: Path) -> None:
    store = tmp_path / "mine"
    attack_external_model(model, tiles, cpu(store), overrides=FAST)
    tiles.rename(tmp_path / "others")
    for path in (tmp_path / "others").glob("*/*.png"):
        cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    attack_external_model(model, tmp_path / "others", cpu(store), overrides=FAST)
    assert open_records(store).cohorts == ["my-tiles", "others"]


def test_the_same_folder_is_continued_and_another_of_its_name_or_another_model_is_a_cohort_of_its_own(
    model: Path, tiles: Path, tmp_path: Path
) -> None:
    store = tmp_path / "mine"
    (first,) = attack_external_model(model, tiles, cpu(store), overrides=FAST)
    assert attack_external_model(model, tiles, cpu(store), overrides=FAST) == [first]
    for path in shutil.copytree(tiles, tmp_path / "elsewhere" / tiles.name).glob("*/*.png"):
        cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    attack_external_model(model, tmp_path / "elsewhere" / tiles.name, cpu(store), overrides=FAST)
    with safe_open(model, "pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file({name: t * 1.01 for name, t in tensors.items()}, tmp_path / "second.safetensors", metadata=metadata)
    attack_external_model(tmp_path / "second.safetensors", tiles, cpu(store), overrides=FAST)
    headers = open_records(store).headers
    assert [header.cohort for header in headers] == ["my-tiles", "my-tiles-2", "my-tiles-3"]
    assert len({header.cohort_identity for header in headers}) == 2
    assert len({header.classifier for header in headers}) == 2


def test_folders_that_are_no_classes_are_refused(model: Path, tiles: Path, tmp_path: Path) -> None:
    (tiles / "normal").rename(tiles / "benign")
    with pytest.raises(CohortError, match=r"classes \(tumour, normal\), got benign, tumour"):
        attack_external_model(model, tiles, cpu(tmp_path / "mine"), overrides=FAST)


def test_a_class_without_images_is_said(model: Path, tiles: Path, tmp_path: Path) -> None:
    (tiles / "normal").rename(tmp_path / "elsewhere")
    with pytest.warns(AdvassayWarning, match="no images of class normal"):
        attack_external_model(model, tiles, cpu(tmp_path / "mine"), overrides=FAST)


def test_a_studys_store_is_not_mixed_with_own_images(model: Path, tiles: Path, copied: Path) -> None:
    with pytest.raises(StoreError, match="holds the study 'tiny'"):
        attack_external_model(model, tiles, cpu(copied), overrides=FAST)


def test_images_whose_gradient_is_rounded_away_are_attacked_again_beside_the_declared_run(
    model: Path, tiles: Path, tmp_path: Path
) -> None:
    certain = tmp_path / "certain.safetensors"
    with safe_open(model, "pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    last = [name for name in tensors if name.startswith("fc.")]
    assert last
    save_file(tensors | {name: 1e4 * tensors[name] for name in last}, certain, metadata=metadata)
    store = tmp_path / "mine"
    (header,) = attack_external_model(certain, tiles, cpu(store), overrides=FAST)
    assert header.flag_counts["saturated"] > 0
    records = open_records(store)
    assert records.headers == [header]
    (again,) = records.reruns
    assert (again.rerun_of, again.attack["loss"]) == (header.run_id, "margin")
    assert header.attack["loss"] == "cross-entropy"
    assert 0 < again.images <= header.images


def test_amplitudes_cannot_be_found_where_every_image_is_attacked(model: Path, tiles: Path, tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="auto needs tuning images in every cohort, my-tiles has none"):
        attack_external_model(model, tiles, cpu(tmp_path / "mine"), overrides=["attack.arms={A: {epsilons: auto}}"])
    assert not (tmp_path / "mine").exists()


def test_the_arm_of_fine_steps_decides_where_it_runs(model: Path, tiles: Path, tmp_path: Path) -> None:
    attack_external_model(
        model, tiles, cpu(tmp_path / "mine"), overrides=[*FAST, "attack.arms={A: {}, C: {loss: margin}}"]
    )
    attack_external_model(model, tiles, cpu(tmp_path / "other"), overrides=FAST)
    plans = [open_records(tmp_path / name).analysis for name in ("mine", "other")]
    assert [found and (found.plan.arm, found.prespecified) for found in plans] == [("C", True), ("A", True)]
