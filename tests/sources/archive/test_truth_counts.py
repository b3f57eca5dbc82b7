"""The shipped study on a made-up archive recovers the truth: per reason left out, per class, per stage."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest

from advassay.flow_chart import FlowRow, flow_of
from advassay.sources.synthetic_archive import write_archive
from advassay.study import load_study, make_environment, select_cohorts
from advassay.study.run.prepare_stage import prepare_cohort

STUDY = Path(__file__).parents[3] / "studies" / "archive-example.yaml"
REASONS = {
    "truncated": "unreadable: cut short", "cut short": "unreadable: damaged", "empty file": "unreadable: empty file",
    "not DICOM": "not DICOM", "other modality": "other modality", "other body part": "other body part",
    "localiser": "localiser", "no image": "not an image", "colour": "colour image",
    "too small": "unusable: too small", "lateral": "lateral view",
}  # fmt: skip
"""Fate of a file → the reason under which its header leaves it out. The others need pixels."""
AGES = {
    "X-NR2": {"age 20–35": (20, 35), "age 50–70": (50, 70)},
    "X-NR3": {"age 17–24": (17, 24), "age 25–41": (25, 41), "age 42–80": (42, 80)},
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("archive") / "in"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("advassay.sources.synthetic_archive.archive_plan.SIDES", (64, 80))
        patch.setattr("advassay.sources.synthetic_archive.archive_plan.LARGE", 128)
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
def charts(archive, tmp_path_factory) -> dict[str, dict[str, FlowRow]]:
    """Cohort → stage → its row of the flow chart."""
    store = tmp_path_factory.mktemp("run") / "store"
    key = store.parent / "key"
    key.write_bytes(b"a key of 16 bytes or more")
    here = make_environment(store, device="cpu", key_file=key)
    made = {name: prepare_cohort(study_on(archive), name, here) for name in (*AGES, "X-TB")}
    written = b"".join(path.read_bytes() for path in store.rglob("*") if path.suffix in (".json", ".yaml"))
    assert b"PHANTOM" not in written
    return {name: {row.stage: row for row in flow_of(document)} for name, document in made.items()}


def usable(truth: pl.DataFrame) -> pl.DataFrame:
    """Files that no header refuses."""
    return truth.filter(~pl.col("fate").is_in(list(REASONS)))


def by_class(rows: pl.DataFrame, cohort: str) -> dict[str, int]:
    """Images of each class, in the order of the study."""
    if cohort in AGES:
        return {name: rows.filter(pl.col("age").is_between(*ages)).height for name, ages in AGES[cohort].items()}
    return {name: rows.filter(pl.col(name) == "present").height for name in ("tuberculosis", "norm")}


def in_class(truth: pl.DataFrame, cohort: str) -> pl.DataFrame:
    if cohort not in AGES:
        return usable(truth).filter((pl.col("tuberculosis") == "present") | (pl.col("norm") == "present"))
    ages = pl.any_horizontal(pl.col("age").is_between(*ages) for ages in AGES[cohort].values())
    return usable(truth).filter(ages, norm="present")


@pytest.mark.parametrize("cohort", [*AGES, "X-TB"])
def test_every_file_the_headers_refuse_is_counted_under_the_reason_it_was_made_with(charts, truth, cohort):
    refused = truth.filter(pl.col("fate").is_in(list(REASONS)))
    expected = refused["fate"].replace_strict(REASONS).value_counts()
    assert charts[cohort]["candidates"].kept == truth.height
    assert charts[cohort]["usable files"].reasons == dict(expected.iter_rows())


@pytest.mark.parametrize("cohort", AGES)
def test_norm_is_what_the_reports_say(charts, truth, cohort):
    files, norm = usable(truth), usable(truth).filter(norm="present")
    eligible = charts[cohort]["eligible"]
    assert (eligible.entering, eligible.kept) == (files.height, norm.height)
    assert sum(eligible.reasons.values()) == files.height - norm.height
    assert eligible.reasons["norm: no value"] == files["norm"].null_count()


@pytest.mark.parametrize("cohort", [*AGES, "X-TB"])
def test_classes_are_those_of_the_reports_and_the_ages(charts, truth, cohort):
    assert charts[cohort]["in a class"].classes == by_class(in_class(truth, cohort), cohort)


def test_what_only_pixels_show_is_left_out(charts, truth):
    rows = in_class(truth, "X-TB")
    undecodable = rows.filter(pl.col("fate").is_in(["blank", "undecodable"])).height
    assert charts["X-TB"]["readable images"].left_out == undecodable
    assert charts["X-TB"]["distinct images"].left_out == rows.filter(fate="duplicate").height
    assert charts["X-TB"]["distinct images"].classes == by_class(rows.filter(fate="kept"), "X-TB")
    assert sum(charts["X-TB"]["split"].roles.values()) == rows.filter(fate="kept").height


@pytest.mark.parametrize("cohort", AGES)
def test_classes_are_as_large_and_as_balanced_as_the_sound_images_allow(charts, truth, cohort):
    chart, rows = charts[cohort], in_class(truth, cohort)
    fewest = min(min(by_class(rows.filter(fate="kept", sex=sex), cohort).values()) for sex in "FM")
    assert chart["balanced"].classes == dict.fromkeys(AGES[cohort], 2 * fewest)
    assert sum(chart["split"].roles.values()) == 2 * fewest * len(AGES[cohort])


@pytest.mark.parametrize("cohort", AGES)
def test_images_that_no_class_has_room_for_are_never_decoded(charts, truth, cohort):
    chart, rows = charts[cohort], in_class(truth, cohort)
    drawn = chart["drawn by headers"]
    assert drawn.reasons["sex: no value to balance by"] == rows["sex"].null_count()
    assert 0 < drawn.kept < rows.height
    assert chart["readable images"].left_out <= rows.filter(pl.col("fate").is_in(["blank", "undecodable"])).height


def test_the_fates_occur_so_that_the_counts_above_mean_something(truth):
    assert set(truth["fate"]) == {*REASONS, "kept", "blank", "undecodable", "duplicate"}


def test_each_image_of_a_finding_is_about_that_finding_alone_and_each_patient_once(archive, truth, tmp_path):
    study = study_on(archive)
    only = study.model_copy(update={"cohorts": {"X-AO": study.cohorts["X-AO"].model_copy(update={"split": "none"})}})
    [selected] = select_cohorts(only, make_environment(tmp_path / "none", device="cpu")).values()
    files = usable(truth)
    others = ["pneumosclerosis", "emphysema", "fibrosis", "pneumonia", "focal_shadows", "bronchitis", "tuberculosis"]
    alone = ~pl.any_horizontal(pl.col(name).is_in(["present", "uncertain"]) for name in others)
    rotation = files.filter(aortic_rotation="present").filter(alone)
    norm = files.filter(norm="present")
    charted = {row.stage: row for row in selected.chart()}
    assert charted["in a class"].classes == {"rotation": rotation.height, "norm": norm.height}
    patients = pl.concat([rotation, norm])["patient_id"].n_unique()
    assert charted["balanced"].kept == patients == selected.frame.height


@pytest.mark.skipif("ADVASSAY_DATA" not in os.environ, reason="ADVASSAY_DATA names no data folder")
def test_of_the_real_samples_chest_radiographs_stay(archive, tmp_path):
    study = study_on(archive)
    only = study.model_copy(update={"cohorts": {"samples": study.cohorts["samples"]}})
    here = make_environment(tmp_path / "store", device="cpu", data=Path(os.environ["ADVASSAY_DATA"]))
    [selected] = select_cohorts(only, here).values()
    assert selected.counts()["validation"] == {"women": 8, "men": 2}  # the dental film is no chest
