"""Real files: each one is an image or left out, as its header, its maker and pydicom say it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from advassay.sources.dicom import DicomFiles, open_dicom
from advassay.sources.read_failures import Unreadable
from advassay.spec.source_spec import DicomSource

IMAGE = "image"
OUTCOMES = {
    "chest/CR-MONO1-10-chest.dcm": IMAGE,
    "chest/NIH_DX_nofinding_M81.dcm": IMAGE,
    "chest/RG1_J2KI.dcm": IMAGE,
    "chest/RG1_J2KR.dcm": IMAGE,
    "chest/RG1_JLSN.dcm": IMAGE,
    "chest/RG1_UNCR.dcm": IMAGE,
    "chest/SIIM_CR_jpegbaseline_M62.dcm": IMAGE,
    "chest/SIIM_CR_jpegbaseline_relabelled_MONO1.dcm": IMAGE,
    "derived/RG1q_deflated.dcm": IMAGE,
    "derived/RG1q_explicit_le.dcm": IMAGE,
    "derived/RG1q_implicit_le.dcm": IMAGE,
    "derived/RG1q_inverted_MONO2.dcm": IMAGE,
    "derived/RG1q_j2k_lossless.dcm": IMAGE,
    "derived/RG1q_rle.dcm": IMAGE,
    "not_xray/CT_small.dcm": "other modality",
    "not_xray/JPEG2000.dcm": "other modality",
    "not_xray/MR_small.dcm": "other modality",
    "not_xray/MR_truncated.dcm": "other modality",
    "not_xray/SC_rgb_jpeg_dcmtk.dcm": "other modality",
    "not_xray/examples_palette.dcm": "other modality",
    "not_xray/no_meta.dcm": "not DICOM",
    "not_xray/test-SR.dcm": "not an image",
    "not_xray/waveform_ecg.dcm": "not an image",
    "other_xray/CR-ModalitySequenceLUT_teeth.dcm": "other body part",
    "other_xray/RG2_J2KI.dcm": "other body part",
    "other_xray/RG2_JPLY.dcm": "other body part",
    "other_xray/RG3_J2KI.dcm": "other body part",
    "other_xray/RG3_JLSL.dcm": "other body part",
    "other_xray/RG3_JPLL.dcm": "other body part",
    "other_xray/RG3_JPLY.dcm": "other body part",
    "other_xray/RG3_RLE.dcm": "other body part",
}
"""For unstated: leave-out, but for the NIH image, which states no body part either and is kept below by name."""
AGES = {
    "NIH_DX_nofinding_M81": 81,
    "SIIM_CR_jpegbaseline_M62": 62,
    "RG1_J2KR": 64,
    "RG1q_rle": 52,
    "CR-MONO1-10-chest": None,
}


@pytest.fixture(scope="module")
def folder(data: Path) -> Path:
    return data / "dicom"


def opened(folder: Path, **changes: Any) -> DicomFiles:
    return open_dicom("d", DicomSource(kind="dicom", path="x", **changes), folder, workers=1)


def test_every_real_file_has_the_outcome_its_description_calls_for(folder: Path) -> None:
    strict, lenient = opened(folder, unstated="leave-out"), opened(folder)
    reasons = dict(strict.left_out.join(strict.files, on="row").select("path", "reason").iter_rows())
    seen = {path: reasons.get(path, IMAGE) for path in strict.files["path"] if path.endswith(".dcm")}
    bare = "chest/NIH_DX_nofinding_M81.dcm"
    assert seen.pop(bare) == "no body part stated"
    assert {path: OUTCOMES[path] for path in seen} == seen
    assert bare in set(lenient.rows["path"])
    images = lenient.read(lenient.rows["row"].to_list())
    assert not any(isinstance(image, Unreadable) for _, image in images)


def test_ages_of_real_files(folder: Path) -> None:
    ages = {Path(path).stem: age for path, age in opened(folder).rows.select("path", "age").iter_rows()}
    assert {name: ages[name] for name in AGES if name in ages} == {n: age for n, age in AGES.items() if n in ages}


def test_five_syntaxes_and_a_negative_of_one_image_are_one_image(folder: Path) -> None:
    rows = opened(folder)
    places = dict(rows.rows.select("path", "row").iter_rows())
    images = dict(rows.read([row for path, row in places.items() if path.startswith("derived/")]))
    first = next(iter(images.values()))
    assert len(images) == 6
    assert all(np.array_equal(first, image) for image in images.values())


def test_extended_jpeg_that_no_decoder_here_reads_is_damaged_not_fatal(folder: Path) -> None:
    everything = opened(folder, body_parts=(), views=())
    row = dict(everything.rows.select("path", "row").iter_rows())["other_xray/RG3_JPLY.dcm"]
    ((_, seen),) = everything.read([row])
    assert isinstance(seen, Unreadable)
    assert seen.reason == "damaged"
