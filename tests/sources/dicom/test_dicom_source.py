"""An archive becomes candidates and counted reasons, the same whatever the number of workers; nobody is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pydicom
import pytest
from dicom_files import ACCESSION, BIRTH, NAME, PATIENT, file_bytes, picture, radiograph, write
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from advassay.cohorts import prepare
from advassay.errors import CohortError, SourceError
from advassay.sources.dicom import DicomFiles, dicom_source, open_dicom
from advassay.sources.read_failures import Unreadable
from advassay.spec.cohort_spec import CohortSpec
from advassay.spec.source_spec import DicomSource, ReportSpec
from advassay.spec.study_spec import Study

LEFT_OUT: dict[str, tuple[str, dict[str, Any]]] = {
    "ct": ("other modality", {"Modality": "CT"}),
    "nothing": ("no modality", {"Modality": None, "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}),
    "hand": ("other body part", {"BodyPartExamined": "HAND"}),
    "both": ("other body part", {"BodyPartExamined": "CHEST ABDOMEN"}),
    "side": ("lateral view", {"ViewPosition": "LL"}),
    "slant": ("other view", {"ViewPosition": "RAO"}),
    "scout": ("localiser", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}),
    "loop": ("several frames", {"NumberOfFrames": 2}),
    "palette": ("colour image", {"PhotometricInterpretation": "PALETTE COLOR"}),
    "colour": ("colour image", {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}),
    "burned": ("burned-in annotation", {"BurnedInAnnotation": "YES"}),
    "bomb": ("unreadable: too large", {"Rows": 60000, "Columns": 60000}),
    "short": ("unreadable: cut short", {"Rows": 400}),
    "long": ("unusable: wrong aspect", {"PixelSpacing": [0.5, 0.1]}),
    "sr": ("not an image", {"Rows": None, "Columns": None}),
}


def source(path: str = "dicom", **changes: Any) -> DicomSource:
    return DicomSource(kind="dicom", path=path, **changes)


def opened(folder: Path, spec: DicomSource | None = None, **options: Any) -> DicomFiles:
    return open_dicom("d", spec or source(), folder, **({"workers": 1} | options))


def reasons(seen: DicomFiles) -> dict[str, str]:
    """File name without ending → reason."""
    known = seen.left_out.join(seen.files, on="row").select(pl.col("path").str.strip_suffix(".dcm"), "reason")
    return dict(known.iter_rows())


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good images in two syntaxes, and one of each kind that is left out by its header."""
    folder = tmp_path_factory.mktemp("archive")
    write(
        folder,
        good=file_bytes(radiograph(seed := picture(seed=1))),
        packed=file_bytes(radiograph(seed.T.copy()), "rle"),
    )
    for name, (_, tags) in LEFT_OUT.items():
        write(folder, **{name: file_bytes(radiograph(**tags))})
    tiny = {"tiny": file_bytes(radiograph(picture(40, 40)))}
    return write(folder, **tiny)


@pytest.fixture(scope="module")
def looked_at(archive: Path) -> DicomFiles:
    return opened(archive)


def test_every_file_is_a_candidate_or_has_its_reason(looked_at: DicomFiles) -> None:
    expected = {name: reason for name, (reason, _) in LEFT_OUT.items()} | {"tiny": "unusable: too small"}
    assert reasons(looked_at) == expected
    assert looked_at.rows["path"].to_list() == ["good.dcm", "packed.dcm"]


def test_rules_of_the_source_can_be_widened(archive: Path) -> None:
    everything = source(
        modalities=("CR", "CT"), body_parts=(), views=(), smallest_side_px=10, longest_aspect=9, most_pixels=400_000_000
    )
    assert set(reasons(opened(archive, everything))) == set(LEFT_OUT) - {"ct", "hand", "both", "side", "slant", "long"}


def test_the_number_of_workers_changes_nothing(archive: Path, looked_at: DicomFiles) -> None:
    many = opened(archive, workers=3)
    assert many.rows.equals(looked_at.rows)
    assert many.left_out.equals(looked_at.left_out)
    one, three = (dict(seen.read(seen.rows["row"].to_list())) for seen in (looked_at, many))
    assert all(np.array_equal(one[row], three[row]) for row in one)


def test_tags_are_normalised_and_wrong_ages_unknown(tmp_path: Path) -> None:
    ages = {"a": "045y", "b": "45", "c": "999Y", "d": "", "e": "000Y"}
    for name, age in ages.items():
        born = {"PatientBirthDate": "" if name != "d" else BIRTH}
        write(tmp_path, **{name: file_bytes(radiograph(PatientAge=age, ViewPosition="ap ", PatientSex="f", **born))})
    rows = opened(tmp_path).rows
    assert rows["age"].to_list() == [45.0, 45.0, None, 58.0, None]
    assert set(rows["view"]) == {"AP"}
    assert set(rows["sex"]) == {"F"}
    assert set(rows["year"]) == {2019}
    assert set(rows["original_patient"]) == {PATIENT}


def test_images_without_body_part_and_view_stay_unless_told_otherwise(tmp_path: Path) -> None:
    write(
        tmp_path, bare=file_bytes(radiograph(BodyPartExamined=None, ViewPosition=None)), whole=file_bytes(radiograph())
    )
    seen = opened(tmp_path)
    assert seen.rows.height == 2
    assert any("1 of 2 images state no body part" in remark for remark in seen.remarks([0, 1]))
    assert reasons(opened(tmp_path, source(unstated="leave-out"))) == {"bare": "no body part stated"}


def test_codes_speak_where_the_plain_tags_are_empty(tmp_path: Path) -> None:
    ds = radiograph(BodyPartExamined=None, ViewPosition=None)
    for keyword, meaning in (("ViewCodeSequence", "antero-posterior"), ("AnatomicRegionSequence", "Chest")):
        item = Dataset()
        item.CodeMeaning = meaning
        setattr(ds, keyword, [item])
    row = opened(write(tmp_path, coded=file_bytes(ds))).rows.row(0, named=True)
    assert (row["view"], row["body_part"]) == ("AP", "chest")


def test_a_list_and_a_dicomdir_name_the_files_that_count(tmp_path: Path) -> None:
    write(tmp_path / "in", a=file_bytes(radiograph()), b=file_bytes(radiograph(seed_bits := picture(seed=4))))
    write(tmp_path, outside=file_bytes(radiograph(seed_bits)))
    listing = tmp_path / "in" / "list.txt"
    listing.write_text("b.dcm\n\n../outside.dcm\nabsent.dcm\n", encoding="utf-8")
    seen = opened(listing)
    assert seen.rows["path"].to_list() == ["b.dcm"]
    assert seen.left_out["reason"].to_list() == ["link out of the tree", "unreadable: missing"]
    _write_dicomdir(tmp_path / "in" / "DICOMDIR", ["A.DCM", "b.dcm"])
    named = opened(tmp_path / "in" / "DICOMDIR")  # A.DCM is a.dcm on this disk
    assert named.rows["path"].to_list() == ["a.dcm", "b.dcm"]


def _write_dicomdir(path: Path, names: list[str]) -> None:
    records = []
    for name in names:
        record = Dataset()
        record.DirectoryRecordType = "IMAGE"
        record.add(DataElement(0x00041500, "CS", name, validation_mode=IGNORE))
        records.append(record)
    ds = Dataset()
    ds.DirectoryRecordSequence = records
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = pydicom.uid.MediaStorageDirectoryStorage
    ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    ds.save_as(path, enforce_file_format=True)


def test_headers_are_read_once_and_again_when_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, kept = write(tmp_path / "in", a=file_bytes(radiograph()), b=b"no DICOM"), tmp_path / "s.headers"
    first = opened(folder, kept_headers=kept)
    assert {part.stat().st_mode & 0o777 for part in kept.iterdir()} == {0o600}
    monkeypatch.setattr(dicom_source.DicomWorkerPool, "headers", lambda self, paths: iter([{}] if list(paths) else []))
    assert opened(folder, kept_headers=kept).rows.equals(first.rows)
    monkeypatch.undo()
    write(folder, a=file_bytes(radiograph(PatientAge="031Y")))
    assert opened(folder, kept_headers=kept).rows["age"].to_list() == [31.0]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A cohort of an archive whose files, paths and reports name a patient in every place there is."""
    base = tmp_path_factory.mktemp("prepared")
    for number in range(8):
        tags = {
            "PatientSex": "FM"[number % 2],
            "PatientID": f"{PATIENT}{number}",
            "AccessionNumber": f"{ACCESSION}{number}",
        }
        free = {"StudyDescription": NAME, "ImageComments": NAME, "InstitutionName": NAME, "OperatorsName": NAME}
        ds = radiograph(picture(seed=number), **tags, **free)
        write(base / "data" / "dicom" / NAME, **{f"{PATIENT}-{number}": file_bytes(ds)})
    table = {"accession": [f"{ACCESSION}{n}" for n in range(8)], "text": [f"{NAME}: normal chest." for _ in range(8)]}
    pl.DataFrame(table).write_csv(base / "data" / "reports.csv")
    reports = ReportSpec(path="reports.csv", text=("text",), id="accession", key="accession_number", language="en")
    spec = CohortSpec(
        source="d", classes={"f": {"sex": "F"}, "m": {"sex": "M"}}, scaling="voi", carry=("year", "sop_instance_uid")
    )
    document = prepare(
        *("c", spec, source(reports=reports)),
        **{"size_px": 32, "seed": 0, "folder": base / "store" / "cohorts" / "c", "data": base / "data"},
        **{"key": b"0123456789abcdef", "private": base / "store.sources.parquet"},
    )
    return base, document


def test_no_byte_of_the_store_names_a_patient(prepared: tuple[Path, Any]) -> None:
    base, _ = prepared
    uids = [str(pydicom.dcmread(path).SOPInstanceUID) for path in (base / "data").rglob("*.dcm")]
    secrets = [NAME, "SECRETSON", PATIENT, ACCESSION, BIRTH, "20190615", "1.2.3.4.5", "normal chest", *uids]
    written = [path for path in (base / "store").rglob("*") if path.is_file()]
    assert len(written) >= 3
    texts = [path.read_bytes() + _cells(path) for path in written]
    assert [word for word in secrets for text in texts if word.encode() in text] == []


def _cells(path: Path) -> bytes:
    """Parquet compresses its texts: every cell once more in plain."""
    if path.suffix != ".parquet":
        return b""
    return repr(pl.read_parquet(path).select(pl.col(pl.String)).to_dicts()).encode()


def test_the_preparation_says_which_identifying_tags_were_met(prepared: tuple[Path, Any]) -> None:
    _, document = prepared
    check = document.deidentification
    assert check.carried == ()
    assert check.files == 8
    assert {check.met[tag] for tag in ("PatientName", "PatientBirthDate", "OperatorsName", "PatientID")} == {8}
    assert {"sop_instance_uid", "patient_id", "view"} <= set(check.columns_checked)
    assert document.scaling == "voi"
    assert any("8 of 8 images have neither VOI LUT nor window" in warning for warning in document.warnings)


def test_a_column_that_repeats_an_id_stops_the_preparation(tmp_path: Path) -> None:
    for number in range(4):  # the view repeats an id that is not the patient's
        ds = radiograph(picture(seed=number), SeriesInstanceUID="PA", Laterality="LR"[number % 2])
        write(tmp_path / "dicom", **{f"i{number}": file_bytes(ds)})
    classes = {"a": {"laterality": "L"}, "b": {"laterality": "R"}}
    spec = CohortSpec(source="d", classes=classes, split="image")
    with pytest.raises(CohortError, match="original ids, got view"):
        prepare(
            *("c", spec, source()),
            **{"size_px": 32, "seed": 0, "folder": tmp_path / "store" / "c", "data": tmp_path},
            **{"key": b"0123456789abcdef", "private": tmp_path / "s.sources.parquet"},
        )


def test_reports_join_by_accession_number_which_then_goes(prepared: tuple[Path, Any]) -> None:
    from advassay.sources import open_source

    base, _ = prepared
    reports = ReportSpec(path="reports.csv", text=("text",), id="accession", key="accession_number", language="en")
    rows = open_source("d", source(reports=reports), base / "data").rows
    assert rows["report"].to_list() == ["read"] * 8
    assert "accession_number" not in rows.columns
    assert "accession_number" not in opened(base / "data" / "dicom").rows.columns


def test_the_same_pixels_in_other_syntaxes_are_duplicates_and_a_negative_is_too(tmp_path: Path) -> None:
    stored = picture(bits=12)
    negative = radiograph((4095 - stored).astype(np.uint16), PhotometricInterpretation="MONOCHROME1")
    write(
        tmp_path, a=file_bytes(radiograph(stored)), b=file_bytes(radiograph(stored), "jpeg-ls"), c=file_bytes(negative)
    )
    images = [pixels for _, pixels in opened(tmp_path).read([0, 1, 2])]
    assert not any(isinstance(image, Unreadable) for image in images)
    assert all(np.array_equal(images[0], image) for image in images[1:])


@pytest.mark.parametrize(
    "changes", [{"views": ("PA", "frontal")}, {"body_parts": ("thorax",)}, {"patient_id": "PatientID"}]
)
def test_a_word_that_no_tag_becomes_is_an_error(archive: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(SourceError, match=r"sources\.d"):
        opened(archive, source(**changes))


def study(**cohort: Any) -> dict[str, Any]:
    return {
        "name": "s",
        "sources": {"d": {"kind": "dicom", "path": "x"}, "t": {"kind": "table", "path": "t.csv"}},
        "cohorts": {"c": {"source": "d", "classes": {"a": {"sex": "F"}, "b": {"sex": "M"}}, **cohort}},
        "training": {"updates": 1},
    }


def test_no_image_of_a_dicom_source_is_kept_for_figures_unless_asked_for() -> None:
    assert not Study(**study()).keeps_gallery("c")
    assert Study(**study(source="t")).keeps_gallery("c")
    assert Study(**study(), figures={"gallery": True}).keeps_gallery("c")
    assert not Study(**study(source="t"), figures={"gallery": False}).keeps_gallery("c")


def test_voi_needs_dicom() -> None:
    assert Study(**study(scaling="voi")).cohorts["c"].scaling == "voi"
    with pytest.raises(ValueError, match="voi needs a source of kind dicom, got table"):
        Study(**study(scaling="voi", source="t"))
