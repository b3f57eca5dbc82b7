"""The shipped study on a made-up archive recovers the truth: per reason left out, per class, per stage."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest

from advassay.flow_chart import FlowRow, flow_of
from advassay.sources.archive import write_archive
from advassay.study import load_study, select_cohorts, site
from advassay.study.preparing import prepare_cohort

STUDY = Path(__file__).parents[3] / "studies" / "archive-example.yaml"
REASONS = {
    "truncated": "unreadable: cut short", "cut short": "unreadable: damaged", "empty file": "unreadable: empty file",
    "not DICOM": "not DICOM", "other modality": "other modality", "other body part": "other body part",
    "localiser": "localiser", "no image": "not an image", "colour": "colour image",
    "too small": "unusable: too small", "lateral": "lateral view",
}  # fmt: skip
"""Fate of a file → the reason under which its header leaves it out. The others need pixels."""
AGES = {"age 20–35": (20, 35), "age 50–70": (50, 70)}


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("archive") / "in"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("advassay.sources.archive.plan.SIDES", (64, 80))
        patch.setattr("advassay.sources.archive.plan.LARGE", 128)
        write_archive(folder, patients=130)
    return folder


@pytest.fixture(scope="module")
def truth(archive) -> pl.DataFrame:
    files = pl.read_csv(archive / "truth/files.csv", infer_schema_length=None)
    said = pl.read_csv(archive / "truth/reports.csv").filter(~pl.col("empty"))
    return files.join(said, on="accession_number", how="left")


def study_on(archive: Path):
    small = "sources.archive.smallest_side_px=50"
    return load_study(STUDY, overrides=[f"archive={archive}", small, "image_size_px=32"])


@pytest.fixture(scope="module")
def chart(archive, tmp_path_factory) -> dict[str, FlowRow]:
    store = tmp_path_factory.mktemp("run") / "store"
    key = store.parent / "key"
    key.write_bytes(b"a key of 16 bytes or more")
    document = prepare_cohort(study_on(archive), "X-NR2", site(store, device="cpu", key_file=key))
    written = b"".join(path.read_bytes() for path in store.rglob("*") if path.suffix in (".json", ".yaml"))
    assert b"PHANTOM" not in written
    return {row.stage: row for row in flow_of(document)}


def test_every_file_the_headers_refuse_is_counted_under_the_reason_it_was_made_with(chart, truth):
    refused = truth.filter(pl.col("fate").is_in(list(REASONS)))
    expected = refused["fate"].replace_strict(REASONS).value_counts()
    assert chart["candidates"].kept == truth.height
    assert chart["usable files"].reasons == dict(expected.iter_rows())


def _by_class(rows: pl.DataFrame) -> dict[str, int]:
    return {name: rows.filter(pl.col("age").is_between(*ages)).height for name, ages in AGES.items()}


def test_classes_are_those_of_the_reports_and_the_ages(chart, truth):
    usable = truth.filter(~pl.col("fate").is_in(list(REASONS)))
    norm = usable.filter(norm="present")
    assert (chart["eligible"].entering, chart["eligible"].kept) == (usable.height, norm.height)
    assert sum(chart["eligible"].reasons.values()) == usable.height - norm.height
    assert chart["eligible"].reasons["norm: no value"] == usable["norm"].null_count()
    assert chart["in a class"].classes == _by_class(norm)


def test_what_only_pixels_show_is_left_out_and_the_rest_is_balanced(chart, truth):
    in_class = truth.filter(~pl.col("fate").is_in(list(REASONS))).filter(norm="present")
    in_class = in_class.filter(pl.any_horizontal(pl.col("age").is_between(*ages) for ages in AGES.values()))
    undecodable = in_class.filter(pl.col("fate").is_in(["blank", "undecodable"])).height
    assert chart["readable images"].left_out == undecodable
    whole = in_class.filter(pl.col("fate").is_in(["kept", "duplicate"]))
    sound = whole.filter(fate="kept")
    assert chart["distinct images"].classes == _by_class(sound)
    assert chart["distinct images"].left_out == whole.height - sound.height
    fewest = min(_by_class(sound.filter(sex=sex))[name] for sex in "FM" for name in AGES)
    assert chart["balanced"].classes == dict.fromkeys(AGES, 2 * fewest)
    assert chart["balanced"].reasons["sex: no value to balance by"] == sound["sex"].null_count()
    assert sum(chart["split"].roles.values()) == 4 * fewest


def test_the_fates_occur_so_that_the_counts_above_mean_something(truth):
    assert set(truth["fate"]) == {*REASONS, "kept", "blank", "undecodable", "duplicate"}


def test_each_image_of_a_finding_is_about_that_finding_alone_and_each_patient_once(archive, truth, tmp_path):
    study = study_on(archive)
    only = study.model_copy(update={"cohorts": {"X-AO": study.cohorts["X-AO"].model_copy(update={"split": "none"})}})
    [selected] = select_cohorts(only, site(tmp_path / "none", device="cpu")).values()
    usable = truth.filter(~pl.col("fate").is_in(list(REASONS)))
    others = ["pneumosclerosis", "emphysema", "fibrosis", "pneumonia", "focal_shadows", "bronchitis", "tuberculosis"]
    alone = ~pl.any_horizontal(pl.col(name).is_in(["present", "uncertain"]) for name in others)
    rotation = usable.filter(aortic_rotation="present").filter(alone)
    norm = usable.filter(norm="present")
    charted = {row.stage: row for row in selected.chart()}
    assert charted["in a class"].classes == {"rotation": rotation.height, "norm": norm.height}
    patients = pl.concat([rotation, norm])["patient_id"].n_unique()
    assert charted["balanced"].kept == patients == selected.frame.height


@pytest.mark.skipif("ADVASSAY_DATA" not in os.environ, reason="ADVASSAY_DATA names no data folder")
def test_of_the_real_samples_chest_radiographs_stay(archive, tmp_path):
    study = study_on(archive)
    only = study.model_copy(update={"cohorts": {"samples": study.cohorts["samples"]}})
    here = site(tmp_path / "store", device="cpu", data=Path(os.environ["ADVASSAY_DATA"]))
    [selected] = select_cohorts(only, here).values()
    assert selected.counts()["validation"] == {"women": 8, "men": 3}
