"""Files on which a reader of DICOM is easily wrong without a word: each comes out right, or is left out aloud."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import file_bytes, picture, radiograph
from pydicom.pixels import pixel_array

from advassay.cohorts.image_preparation import PixelRule, prepare_pixels, scale
from advassay.sources.dicom import DicomFiles, open_dicom
from advassay.sources.dicom.pixel_reader import NOTES, DecodedImage, PixelRules
from advassay.sources.dicom.worker_pool import DicomWorkerPool
from advassay.sources.read_failures import Unreadable
from advassay.spec.source_spec import DicomSource

CASES = Path(__file__).parent / "cases"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every case unpacked under its own name."""
    folder = tmp_path_factory.mktemp("cases")
    for packed in CASES.glob("*.gz"):
        (folder / packed.name.removesuffix(".gz")).write_bytes(gzip.decompress(packed.read_bytes()))
    return folder


@pytest.fixture(scope="module")
def opened(folder: Path) -> DicomFiles:
    return open_dicom("d", DicomSource(kind="dicom", path="x"), folder, workers=1)


def outcome(opened: DicomFiles, name: str) -> dict[str, Any]:
    """The row of a case that is in, or {"reason": why it is out}."""
    row = opened.files.filter(path=f"{name}.dcm")["row"].item()
    lost = opened.left_out.filter(row=row)
    return lost.row(0, named=True) if lost.height else opened.rows.filter(row=row).row(0, named=True)


@pytest.fixture(scope="module")
def read(folder: Path) -> Any:
    """The decoded image of a case."""
    crew = DicomWorkerPool(1)

    def read(name: str, scaling: str = "full-range") -> DecodedImage | Unreadable:
        return crew.decoded(str(folder / f"{name}.dcm"), PixelRules(scaling))

    yield read
    crew.close()


@pytest.mark.parametrize("name", ["clip_raw_13_header12", "clip_jls_13_header12", "clip_rle_13_header12"])
def test_values_beyond_bits_stored_leave_the_image_out_in_every_syntax(read: Any, name: str) -> None:
    assert read(name) == Unreadable("damaged", "values beyond the 12 bits stored")


def test_a_stream_that_agrees_with_its_header_keeps_every_value(read: Any, folder: Path) -> None:
    stored = pixel_array(folder / "clip_jls_13_header13.dcm")
    assert (stored.min(), stored.max()) == (415, 5938)
    image = read("clip_jls_13_header13")
    assert np.array_equal(image.pixels, np.rint(stored / (2**13 - 1) * 65535))
    assert image.notes == ()


def test_a_signed_stream_under_an_unsigned_header_is_never_a_wrapped_picture(read: Any) -> None:
    assert read("cx_04_j2k_signed_header_unsigned").detail == "the stream's values are signed, the header's unsigned"


@pytest.mark.parametrize(
    ("name", "noted"),
    [
        ("px_05_garbage_unused_bits", "PS3.5 §8.1.1"),
        ("px_05_highbit15_values_high", None),
        ("px_05_highbit15_values_low", "High Bit that their values contradict"),
    ],
)
def test_unused_bits_are_masked_and_high_bit_is_judged_by_the_values(read: Any, name: str, noted: str | None) -> None:
    image = read(name)
    twelve = np.unique(np.rint(image.pixels / 65535 * 4095))
    assert (twelve.min(), twelve.max()) == (0, 4095)
    assert len(np.unique(image.pixels)) > 200  # no bits lost
    assert [NOTES[note] for note in image.notes if noted and noted in NOTES[note]] == [NOTES[n] for n in image.notes]
    assert bool(image.notes) == bool(noted)


@pytest.mark.parametrize(("name", "padding"), [("pad_mono1_pad4095", 4095), ("pad_mono2_pad0", 0)])
def test_padding_does_not_take_part_in_scaling(read: Any, folder: Path, name: str, padding: int) -> None:
    tissue = pixel_array(folder / f"{name}.dcm") != padding  # all columns from the 48th on
    pixels = read(name, "percentile").pixels
    whole, alone = scale(pixels, "percentile"), scale(np.ma.getdata(pixels)[:, 48:], "percentile")
    assert np.array_equal(whole[tissue].reshape(alone.shape), alone)
    assert abs(alone.mean() - 0.5) < 0.01  # 0.80 and 0.83 where padding counts
    prepared = prepare_pixels(pixels, PixelRule(64, 1, 16, "percentile", "squash"))
    assert (prepared[:, :12] == 0).all()  # black


def test_padding_is_not_clipping(read: Any, folder: Path) -> None:
    assert (pixel_array(folder / "pad_mono2_pad0_70pct.dcm") == 0).mean() > 0.6
    assert np.ma.count_masked(read("pad_mono2_pad0_70pct").pixels) > 0


def test_a_padding_value_that_no_pixel_has_changes_nothing(read: Any, folder: Path) -> None:
    stored = pixel_array(folder / "pad_mono2_pad0_none.dcm")
    pixels = read("pad_mono2_pad0_none").pixels
    assert type(pixels) is np.ndarray
    assert np.array_equal(pixels, np.rint(stored / 4095 * 65535))


def test_technical_rules_judge_what_the_window_leaves(read: Any) -> None:
    assert read("win_c_width2", "voi").named == "unusable: two-level"
    assert isinstance(read("win_c_width2", "full-range"), DecodedImage)  # what is stored is sound
    assert isinstance(read("win_d_good", "voi"), DecodedImage)


def test_raw_images_are_left_out_and_their_twins_stay(opened: DicomFiles, folder: Path) -> None:
    assert outcome(opened, "fproc_for_processing")["reason"] == "for processing"
    assert outcome(opened, "fproc_for_presentation")["presentation_intent"] == "presentation"
    everything = open_dicom("d", DicomSource(kind="dicom", path="x", for_processing="keep"), folder, workers=1)
    assert outcome(everything, "fproc_for_processing")["presentation_intent"] == "processing"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("meta_03_view_in_series_lateral", "lateral view"),
        ("meta_03_viewcode_value_only_lateral", "lateral view"),
        ("meta_04_anatomy_code_value_only_foot", "other body part"),
        ("meta_06_bone_suppressed", "bone suppressed"),
    ],
)
def test_what_codes_descriptions_and_image_type_say_leaves_an_image_out(
    opened: DicomFiles, name: str, reason: str
) -> None:
    assert outcome(opened, name)["reason"] == reason


@pytest.mark.parametrize(
    ("name", "column", "value"),
    [
        ("meta_04_anatomy_code_value_only_chest", "body_part", "chest"),
        ("meta_01_ir144_sex", "sex", "F"),
        ("meta_02_birth_seriesdate_only", "age", 49.0),
        ("meta_02_birth_seriesdate_only", "year", 2020),
        ("meta_08_orientation_RF_mirrored", "orientation", "mirrored"),
        ("meta_13_DR", "modality", "DX"),
    ],
)
def test_what_tags_say_in_other_ways_is_read(opened: DicomFiles, name: str, column: str, value: Any) -> None:
    assert outcome(opened, name)[column] == value


def test_what_was_believed_and_what_is_odd_is_said(opened: DicomFiles) -> None:
    rows = opened.rows["row"].to_list()
    said = " ".join(opened.remarks(rows))
    assert "1 of" in said
    assert "no DICOM term (DR, XR, RX): read as DX" in said
    assert "are mirrored, upside down or lying" in said
    list(opened.read(rows))
    said = " ".join(opened.remarks(rows))
    assert NOTES["bits beyond Bits Stored masked"] in said
    assert NOTES["High Bit contradicted by the values"] in said


def test_a_mirrored_image_can_be_turned(folder: Path) -> None:
    spec = DicomSource(kind="dicom", path="x", orientation="turn")
    turning = open_dicom("d", spec, folder, workers=1)
    row = outcome(turning, "meta_08_orientation_RF_mirrored")["row"]
    ((_, seen),) = turning.read([row])
    stored = pixel_array(folder / "meta_08_orientation_RF_mirrored.dcm")
    assert np.array_equal(seen, np.rint(stored[:, ::-1] / 4095 * 65535))


@pytest.fixture
def medium(tmp_path: Path) -> Path:
    """A DICOMDIR beside files whose names the file system has lower-cased and given an ending; one of them is gone."""
    disc = tmp_path / "disc"
    disc.mkdir()
    shutil.copy(CASES / "DICOMDIR", disc / "DICOMDIR")
    for number in range(2):
        place = disc / f"pt{number:06d}" / "st000000" / "se000000"
        place.mkdir(parents=True)
        (place / "im000000.dcm").write_bytes(file_bytes(radiograph(picture(seed=number), PatientID=f"P{number}")))
    return disc


def test_a_dicomdir_finds_its_files_under_the_names_they_have_on_the_disk(medium: Path) -> None:
    seen = open_dicom("d", DicomSource(kind="dicom", path="x"), medium / "DICOMDIR", workers=1)
    assert seen.rows["path"].to_list() == [f"pt{n:06d}/st000000/se000000/im000000.dcm" for n in range(2)]
    assert seen.left_out["reason"].to_list() == ["unreadable: missing"]


def test_a_dicomdir_inside_a_folder_is_counted_as_one_with_the_files_that_are_gone(medium: Path) -> None:
    inside = open_dicom("d", DicomSource(kind="dicom", path="x"), medium.parent, workers=1)
    assert inside.rows.height == 2
    lost = inside.left_out.join(inside.files, on="row")
    named = {path.removeprefix("disc/"): reason for path, reason in lost.select("path", "reason").iter_rows()}
    assert named["DICOMDIR"] == "DICOMDIR"
    assert named["PT000002/ST000000/SE000000/IM000000"] == "unreadable: missing"


def test_gzipped_files_are_read_and_archives_are_counted_by_their_kind(tmp_path: Path) -> None:
    (tmp_path / "a.dcm.gz").write_bytes(gzip.compress(file_bytes(radiograph())))
    (tmp_path / "cut.dcm.gz").write_bytes(gzip.compress(file_bytes(radiograph()))[:-300])
    (tmp_path / "text.gz").write_bytes(gzip.compress(b"nothing"))
    shutil.make_archive(str(tmp_path / "b"), "zip", CASES, "DICOMDIR")
    shutil.make_archive(str(tmp_path / "c"), "tar", CASES, "DICOMDIR")
    seen = open_dicom("d", DicomSource(kind="dicom", path="x"), tmp_path, workers=1)
    assert seen.rows["path"].to_list() == ["a.dcm.gz"]
    ((_, image),) = seen.read(seen.rows["row"].to_list())
    assert np.array_equal(image, np.rint(picture(bits=12) / 4095 * 65535))
    lost = dict(seen.left_out.join(seen.files, on="row").select("path", "reason").iter_rows())
    assert lost == {
        "b.zip": "zip archive",
        "c.tar": "packed archive",
        "cut.dcm.gz": "unreadable: damaged",
        "text.gz": "not DICOM",
    }


def test_the_cases_are_what_they_are_called(folder: Path) -> None:
    sop = pydicom.dcmread(folder / "fproc_for_processing.dcm", stop_before_pixels=True).SOPClassUID
    assert sop.name == "Digital X-Ray Image Storage - For Processing"
