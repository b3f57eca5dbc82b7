"""Distance in features: what is stored is what a network's own head takes, and question 7 follows from it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from tiny_study import cpu
from torch import nn

from advassay.analysis import feature_distance
from advassay.analysis.conclusions import conclusions
from advassay.attacks.penultimate_features import penultimate_features
from advassay.checked_files import write_frame
from advassay.classifier import Classifier
from advassay.cohorts import open_cohort
from advassay.errors import AdvassayWarning, AttackError, SpecError
from advassay.records import open_records
from advassay.records.feature_distances import read_features
from advassay.spec.study_spec import Study
from advassay.store_documents import ExecutionConfig
from advassay.store_layout import Store
from advassay.study import parse_study
from advassay.study.jobs import FEATURES, enumerate_jobs
from advassay.study.plan.study_plan import plan
from advassay.study.run.runner import run
from advassay.study.upkeep.forget_patient import forget
from advassay.training import load_classifier

ONE = """
name: features
image_size_px: 32
sources:
  breast: {kind: phantoms, phantom: histology, organs: [breast], images: 160, size_px: 32, images_per_patient: 2}
cohorts:
  H-BR:
    source: breast
    image_type: histology
    classes: {tumour: {tissue: tumour}, normal: {tissue: normal}}
    per_class: 50
training: {architecture: test_resnet, updates: 12, batch_size: 16, evaluations: 1, learning_rate: 0.004}
attack: {steps: 3, precision: exact, images: 12, epsilons: [0.02, 0.04], controls: false, features: true}
"""
SHAPE = ExecutionConfig(
    batch_size=8, device="cpu", device_name="", threads=1, memory_format="contiguous", torch=torch.__version__
)


@pytest.fixture(scope="module")
def study() -> Study:
    return parse_study(ONE)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, study: Study) -> Path:
    store = tmp_path_factory.mktemp("features") / "store"
    run(study, cpu(store))
    return store


def test_features_are_the_input_of_the_layer_that_gives_the_logits() -> None:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    classifier = Classifier(nn.Sequential(body, nn.Linear(12, 2)), mean=0.5, std=0.5)
    images = torch.rand(11, 1, 9, 9)
    with torch.no_grad():
        by_hand = body((images - 0.5) / 0.5).numpy()
    np.testing.assert_allclose(penultimate_features(classifier, images.numpy(), SHAPE), by_hand, atol=1e-6)


def test_a_network_that_does_not_end_in_a_linear_layer_is_refused() -> None:
    odd = Classifier(
        nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.Unflatten(1, (2, 2)), nn.AvgPool1d(2), nn.Flatten())
    )
    with pytest.raises(AttackError, match="ends in a linear layer"):
        penultimate_features(odd, np.zeros((2, 1, 2, 2), np.float32), SHAPE)


def test_a_network_that_does_more_after_its_last_linear_layer_is_refused() -> None:
    """Of the right shape, and not the logits: what is between would make the layer's input another thing."""

    class Halved(nn.Module):
        def forward(self, logits: torch.Tensor) -> torch.Tensor:
            return logits / 2

    odd = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 2), Halved()))
    with pytest.raises(AttackError, match="ends in a linear layer"):
        penultimate_features(odd, np.ones((2, 1, 2, 2), np.float32), SHAPE)


def test_stored_distances_are_those_of_torchattacks_images_by_hand(measured: Path) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    store, records = Store(measured), open_records(measured)
    (opened,) = records.transfers
    cohort = open_cohort(store.cohort("H-BR"))
    ids = cohort.attack_sample(12)
    images, labels = torch.from_numpy(cohort.images(ids)), cohort.labels(ids)
    of = dict(cohort.manifest.select("image_id", "patient_id").iter_rows())
    patients = np.array([of[image_id] for image_id in ids])
    assert len(set(patients)) < 12  # some patient has two images in the sample, which are no pair
    network = load_classifier(store.classifier(opened.header.classifier) / "model.safetensors", device="cpu")

    def seen(x: torch.Tensor) -> np.ndarray:
        with network.attack_mode(), torch.no_grad():
            inner = network.module.forward_features(network.normalise(x))
            return network.module.forward_head(inner, pre_logits=True).flatten(1).double().numpy()

    table, clean = read_features(opened.folder), seen(images)
    assert len(table) == 24
    for epsilon in (0.02, 0.04):
        with network.attack_mode():
            peer = torchattacks.PGD(network, eps=epsilon, alpha=0.01, steps=3, random_start=False)
            moved = seen(peer(images, torch.from_numpy(labels)))
        for row in table.filter(pl.col("epsilon") == epsilon).iter_rows(named=True):
            i = ids.index(row["image_id"])
            assert row["feature_attacked"] == pytest.approx(np.linalg.norm(moved[i] - clean[i]), rel=1e-4)
            apart = np.linalg.norm(clean - clean[i], axis=1)
            same, other = (found & (patients != patients[i]) for found in (labels == labels[i], labels != labels[i]))
            assert row["feature_same"] == pytest.approx(apart[same].mean(), rel=1e-4)
            assert row["feature_other"] == pytest.approx(apart[other].mean(), rel=1e-4)
            pixels = (images - images[i]).double().flatten(1).norm(dim=1).numpy()
            assert row["pixel_other"] == pytest.approx(pixels[other].mean(), rel=1e-6)
            assert row["feature_noise"] > 0


def test_the_table_and_question_7_follow_from_what_is_stored(measured: Path) -> None:
    records = open_records(measured)
    frame = feature_distance(records)
    (opened,) = records.transfers
    rows = opened.rows()
    right = (rows.logits[:, 0].argmax(-1) == rows.label) & (rows.epsilon == 0.02)
    kept = pl.DataFrame({"image_id": rows.image_id[right].tolist(), "l2": rows.l2[right, 2].astype(float)})
    here = read_features(opened.folder).filter(pl.col("epsilon") == 0.02).join(kept, on="image_id")
    by_hand = (here["feature_attacked"] / here["feature_other"]).sum() / (here["l2"] / here["pixel_other"]).sum()
    found = frame.row(0, named=True)
    assert (found["n"], found["epsilon"], found["networks"]) == (int(right.sum()), 0.02, 1)
    assert found["ratio"] == pytest.approx(by_hand)
    asked = {one.number: one for one in conclusions(records)}
    assert list(asked) == [1, 2, 3, 4, 5, 7]  # nothing was transferred: no question 6
    assert asked[7].estimate == pytest.approx(by_hand)


def test_one_distance_that_is_no_number_takes_its_image_out_and_no_more(measured: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(measured, store)
    before = feature_distance(open_records(store)).row(0, named=True)
    (opened,) = open_records(store).transfers
    table, rows = read_features(opened.folder), opened.rows()
    right = rows.image_id[(rows.logits[:, 0].argmax(-1) == rows.label) & (rows.epsilon == 0.02)]
    lost = pl.when(pl.col("image_id") == str(right[0])).then(float("nan"))
    write_frame(opened.folder / "features.parquet",
                table.with_columns(lost.otherwise(pl.col("feature_other")).alias("feature_other")))  # fmt: skip
    after = feature_distance(open_records(store)).row(0, named=True)
    assert after["n"] == before["n"] - 1
    assert after["ratio"] == pytest.approx(before["ratio"], rel=0.5)
    assert np.isfinite(after["ratio_high"])


def test_it_is_listed_priced_found_done_and_refused_where_nothing_is_trained(
    study: Study, measured: Path, tmp_path: Path
) -> None:
    assert [job.stage for job in enumerate_jobs(study)].count(FEATURES) == 1
    before, after = (plan(study, cpu(where), timed=False) for where in (tmp_path / "empty", measured))
    assert {row.stage: row.total for row in before.rows if row.stage in ("features", "scoring")} == {
        "features": 12 * (3 + 1), "scoring": 2 * 12 * 5
    }  # fmt: skip
    assert [row for row in after.rows if row.missing] == []
    with pytest.raises(SpecError, match=r"attack\.features: cohorts whose networks are trained here"):
        parse_study(ONE.replace("per_class: 50", "split: none"))


def test_distances_that_are_lost_are_measured_again_and_a_patient_is_taken_out(
    study: Study, measured: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(measured, store)
    (opened,) = open_records(store).transfers
    before = read_features(opened.folder)
    (opened.folder / "features.parquet").unlink()
    run(study, cpu(store))
    again = read_features(opened.folder)
    keys = ["image_id", "epsilon"]
    np.testing.assert_allclose(
        again.sort(keys)["feature_attacked"].to_numpy(), before.sort(keys)["feature_attacked"].to_numpy(), rtol=1e-5
    )
    (opened.folder / "features.parquet").write_bytes(b"torn")
    assert [row.stage for row in plan(study, cpu(store), timed=False).rows if row.missing] == ["features", "scoring"]
    with pytest.warns(AdvassayWarning, match=r"features.parquet could not be read; it is written anew"):
        run(study, cpu(store))
    assert len(read_features(opened.folder)) == len(before)
    patient = opened.images["patient_id"][0]
    gone = opened.images.filter(pl.col("patient_id") == patient)["image_id"].to_list()
    forget(Store(store), patient)
    assert not read_features(opened.folder)["image_id"].is_in(gone).any()
    assert len(read_features(opened.folder)) == len(before) - 2 * len(gone)


def test_a_damaged_table_that_may_hold_a_patient_goes_with_the_patient(measured: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(measured, store)
    (opened,) = open_records(store).transfers
    (opened.folder / "features.parquet").write_bytes(b"torn")
    done = forget(Store(store), opened.images["patient_id"][0])
    assert not (opened.folder / "features.parquet").exists()
    assert any(name.endswith("features.parquet") for name in done.unreadable)
