"""What archives of several languages write into tags, and whom their patient ids mean."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from dicom_files import file_bytes, picture, radiograph, write
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from advassay.sources.dicom import DicomFiles, open_dicom, tag_normalisation
from advassay.sources.dicom.header_reader import read_header
from advassay.sources.dicom.header_tags import decode_text
from advassay.sources.dicom.tag_vocabulary import kind_in
from advassay.spec.source_spec import DicomSource


def header(tmp_path: Path, raw: dict[int, tuple[str, bytes]] | None = None, **changes: Any) -> dict[str, Any]:
    """The facts of one file; `raw`: tag → VR and bytes as they lie in the file."""
    ds = radiograph(**changes)
    for tag, (vr, value) in (raw or {}).items():
        ds.add(DataElement(tag, vr, value.decode("latin-1"), validation_mode=IGNORE))
    if raw:  # latin-1 letters are the bytes themselves; the true character set is put in afterwards
        stated, ds.SpecificCharacterSet = changes.get("SpecificCharacterSet"), "ISO_IR 100"
        data = file_bytes(ds).replace(b"ISO_IR 100", (stated or "").encode().ljust(10))
    else:
        data = file_bytes(ds)
    (tmp_path / "one.dcm").write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in a worker: pydicom tells of unknown character sets
        return read_header(str(tmp_path / "one.dcm"))


SEXES = {
    "F": [
        "Ж",
        "жен",
        "Женский",
        "Mujer",
        "FEMENINO",
        "weiblich",
        "Femme",
        "Donna",
        "kobieta",
        "K",
        "女",
        "ΘΗΛΥ",
        "Жінка",
        "Weibl.",
        "여자",
        "nő",
        "девочка",
    ],
    "M": [
        "М",
        "Муж.",
        "мужской",
        "Hombre",
        "Varón",
        "männlich",
        "Homme",
        "H",
        "Uomo",
        "mężczyzna",
        "男",
        "Чоловік",
        "남",
        "férfi",
        "мальчик",
    ],
}


@pytest.mark.parametrize(("sex", "word"), [(sex, word) for sex, words in SEXES.items() for word in words])
def test_sexes_are_read_in_the_archives_language(sex: str, word: str) -> None:
    assert tag_normalisation.sex_of(word) == sex


@pytest.mark.parametrize("word", ["V", "U", "N", "X", "unknown", "-", "0", "???", "неизвестно"])
def test_a_sex_that_could_be_either_is_unknown(word: str) -> None:
    assert tag_normalisation.sex_of(word) is None


@pytest.mark.parametrize(
    ("charset", "encoding"),
    [
        ("ISO_IR 144", "iso8859_5"),
        ("ISO_IR 192", "utf-8"),
        ("", "cp1251"),
        ("", "koi8_r"),
        ("", "utf-8"),
        ("ISO_IR 100", "cp1251"),
        ("ISO_IR 6", "iso8859_5"),
        ("NONSENSE", "cp1251"),
    ],
)
@pytest.mark.parametrize(("word", "sex"), [("Ж", "F"), ("М", "M"), ("Муж", "M")])
def test_a_cyrillic_sex_is_read_in_the_character_sets_that_occur(
    tmp_path: Path, charset: str, encoding: str, word: str, sex: str
) -> None:
    raw = {0x00100040: ("CS", word.encode(encoding))}
    assert header(tmp_path, raw, SpecificCharacterSet=charset)["sex"] == sex


def test_a_sex_in_a_word_nobody_knows_is_said_and_none_stated_is_not(tmp_path: Path) -> None:
    seen = archive(tmp_path, ["A1", "A2", "A3", "A4"], PatientSex=["V", "", "U", "F"])
    assert "1 of 4 images state a sex in a word that is not known" in said(seen)


PARTS = {
    "chest": ["TÓRAX", "Torax", "грудная клетка", "ОГК", "POUMON", "胸部", "Lunge", "PULMÓN"],
    "leg": ["стопа", "RODILLA", "FUß", "Genou", "PIE"],
    "head": ["череп", "SCHÄDEL", "cráneo"],
    "arm": ["кисть", "MANO", "Hombro"],
    None: ["UNKNOWN", "n/a", "не указано", "XXX", "--", "ANONYMIZED"],
}


@pytest.mark.parametrize(("part", "word"), [(part, word) for part, words in PARTS.items() for word in words])
def test_body_parts_are_read_in_the_archives_language(part: str | None, word: str) -> None:
    assert tag_normalisation.body_part_of(word) == part


VIEWS = {
    "lateral": [
        "Perfil",
        "боковая",
        "левая боковая",
        "Profil",
        "seitlich",
        "LATERALE",
        "boczne",
        "側面",
        "бокова",
        "LATEROLATERALE",
        "측면",
    ],
    "PA": ["p.a.", "P->A", "РА", "Postero-Anterior", "задне-передняя", "PA 2", "dorso-ventral", "胸部後前位"],
    "AP": ["a.p.", "АР", "передне-задняя", "ventro-dorsal", "前后位"],
    None: ["frontal", "de face", "прямая", "UNKNOWN", "N/A", "CHEST", "*"],
}


@pytest.mark.parametrize(("view", "word"), [(view, word) for view, words in VIEWS.items() for word in words])
def test_views_are_read_in_the_archives_language(view: str | None, word: str) -> None:
    assert tag_normalisation.view_of(word) == view


DESCRIPTIONS = {
    "lateral": [
        "W034 Chest LATERAL",
        "Thorax lat.",
        "CHESTLAT",
        "Rx tórax perfil",
        "ОГК боковая",
        "LAT CHEST 2",
        "Thorax LL",
        "胸部側面",
        "胸部 X線 側面 立位",
        "흉부측면",
        "RX TORACE LL",
    ],
    "PA": ["CHEST PA", "thorax_pa", "ThoraxPA", "CHEST,FRN P->A"],
    "AP": ["Chest AP portable"],
    "decubitus": ["CHEST LEFT LATERAL DECUBITUS"],
    "other": ["Chest PA/LAT", "CHEST AP + LATERAL", "胸部后前位侧位"],
    None: ["CHEST", "胸部正面", "Thorax 2 views", "bilateral hands", "AP/PA", "HAND L", "laterality marker", ""],
}


@pytest.mark.parametrize(("view", "text"), [(view, text) for view, texts in DESCRIPTIONS.items() for text in texts])
def test_views_in_descriptions_are_whole_words(view: str | None, text: str) -> None:
    assert tag_normalisation.view_in(text) == view


@pytest.mark.parametrize("keyword", ["SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription"])
@pytest.mark.parametrize("position", [None, "", "UNKNOWN"])
def test_no_lateral_enters_because_its_view_position_is_empty(
    tmp_path: Path, keyword: str, position: str | None
) -> None:
    found = header(tmp_path, ViewPosition=position, **{keyword: "Chest lateral"})
    assert (found["view"], found["view_from_text"]) == ("lateral", True)
    assert header(tmp_path, ViewPosition="PA", **{keyword: "Chest lateral"})["view"] == "PA"  # the tag was filled


def test_a_view_position_that_code_or_description_contradicts_is_said(tmp_path: Path) -> None:
    seen = archive(tmp_path, ["A1", "A2"], SeriesDescription=["Chest lateral", "Chest PA"])
    assert "1 of 2 images state a frontal View Position beside a code or description of another view" in said(seen)


def coded(value: str | None, scheme: str | None, meaning: str | None) -> list[Dataset]:
    item = Dataset()
    for keyword, part in (("CodeValue", value), ("CodingSchemeDesignator", scheme), ("CodeMeaning", meaning)):
        if part:
            setattr(item, keyword, part)
    return [item]


@pytest.mark.parametrize(
    ("code", "view"),
    [
        (("R-10236", "SRT", None), "lateral"),
        (("399173006", "SCT", "PA"), "lateral"),  # the value counts, not the meaning
        (("272479007", "SCT", None), "PA"),
        (("R-10206", "SNM3", None), "AP"),
        (("399135007", "SCT", None), "oblique"),
        (("399061009", "SCT", None), "other"),  # axial
        (("X1", "99ACME", "Lateral"), "lateral"),
        (("X1", "99ACME", None), None),
        (("399033003", "SCT", None), None),  # frontal
    ],
)
def test_views_come_from_codes(tmp_path: Path, code: tuple[str | None, ...], view: str | None) -> None:
    assert header(tmp_path, ViewPosition="", ViewCodeSequence=coded(*code))["view"] == view


@pytest.mark.parametrize(
    ("code", "part"),
    [
        (("51185008", "SCT", None), "chest"),
        (("816094009", "SCT", None), "chest"),
        (("T-D3000", "SNM3", "Foot"), "chest"),
        (("T-D8700", "SRT", None), "arm"),
        (("10200004", "SCT", None), "other"),  # liver
        (("1", "L", "Thorax"), "chest"),
    ],
)
def test_body_parts_come_from_codes(tmp_path: Path, code: tuple[str | None, ...], part: str) -> None:
    assert header(tmp_path, BodyPartExamined="", AnatomicRegionSequence=coded(*code))["body_part"] == part


def test_body_parts_come_from_descriptions_where_nothing_else_says(tmp_path: Path) -> None:
    assert header(tmp_path, BodyPartExamined="", SeriesDescription="RX TÓRAX")["body_part"] == "chest"
    assert header(tmp_path, BodyPartExamined="", StudyDescription="XR HAND 2V")["body_part"] == "arm"
    assert header(tmp_path, BodyPartExamined="", StudyDescription="CHEST AND HAND")["body_part"] is None
    assert header(tmp_path, BodyPartExamined="CHEST", StudyDescription="XR HAND")["body_part"] == "chest"


@pytest.mark.parametrize("keyword", ["SeriesDate", "AcquisitionDate", "ContentDate", "AcquisitionDateTime"])
@pytest.mark.parametrize("study", [None, "", "19000101", "00000000"])
def test_any_of_the_dates_gives_age_and_year(tmp_path: Path, keyword: str, study: str | None) -> None:
    found = header(tmp_path, PatientAge="", PatientBirthDate="19700305", StudyDate=study, **{keyword: "20200101"})
    assert (found["age"], found["year"]) == (49.0, 2020)


@pytest.mark.parametrize(
    ("text", "years"),
    [("45 años", 45), ("45 лет", 45), ("45J", 45), ("6 meses", 0.5), ("45Q", None), ("45岁", 45), ("45 lat", 45)],
)
def test_ages_are_read_in_the_archives_language(text: str, years: float | None) -> None:
    assert tag_normalisation.age_in_years(text) == years


KINDS = {
    "bone suppressed": [
        {"ImageType": ["DERIVED", "PRIMARY", "BONE_SUPPRESSED"]},
        {"SeriesDescription": "Chest Soft Tissue"},
        {"SeriesDescription": "BoneSuppress PA"},
    ],
    "tomographic": [
        {"TomoAngle": "20"},
        {"ImageType": ["DERIVED", "PRIMARY", "TOMOSYNTHESIS"]},
        {"ProtocolName": "VolumeRAD"},
    ],
    "quality control": [{"QualityControlImage": "YES"}, {"SeriesDescription": "QC flat field"}],
    "drawing": [{"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "ConversionType": "DRW"}],
    "secondary capture": [{"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "ConversionType": "WSD"}],
    "radiograph": [{"ImageType": ["DERIVED", "PRIMARY"]}],
}


@pytest.mark.parametrize(("kind", "changes"), [(kind, one) for kind, each in KINDS.items() for one in each])
def test_kinds_of_images_are_a_column(tmp_path: Path, kind: str, changes: dict[str, Any]) -> None:
    assert header(tmp_path, **changes)["image_kind"] == kind


def test_kinds_are_left_out_by_default_and_kept_where_named(tmp_path: Path) -> None:
    for number, (kind, changes) in enumerate(KINDS.items()):
        write(tmp_path, **{kind.replace(" ", "_"): file_bytes(radiograph(picture(seed=number), **changes[0]))})
    plain = open_dicom("d", DicomSource(kind="dicom", path="x"), tmp_path, workers=1)
    assert set(plain.rows["image_kind"]) == {"radiograph", "secondary capture"}
    assert set(plain.left_out["reason"]) == {"bone suppressed", "tomographic", "quality control", "drawing"}
    some = DicomSource(kind="dicom", path="x", image_kinds=("tomographic",))
    assert open_dicom("d", some, tmp_path, workers=1).rows["image_kind"].to_list() == ["tomographic"]
    every = DicomSource(kind="dicom", path="x", image_kinds=())
    assert open_dicom("d", every, tmp_path, workers=1).rows.height == len(KINDS)


@pytest.mark.parametrize("sop", ["1.2.840.10008.5.1.4.1.1.1.1.1", "1.2.840.10008.5.1.4.1.1.1.2.1"])
def test_a_class_for_processing_is_raw_without_the_tag(tmp_path: Path, sop: str) -> None:
    assert header(tmp_path, SOPClassUID=sop, Modality="DX")["presentation_intent"] == "processing"


@pytest.mark.parametrize(("text", "turn"), [("90", 90), ("nan", None), ("1e300", None), ("", None)])
def test_what_the_detector_did_is_a_column(tmp_path: Path, text: str, turn: int | None) -> None:
    seen = header(tmp_path, FieldOfViewRotation=text, FieldOfViewHorizontalFlip="YES")
    assert (seen["fov_rotation"], seen["fov_flipped"]) == (turn, True)


@pytest.mark.parametrize("text", ["CHEST PA", "THORAX", "RX STANDARD"])
def test_plain_descriptions_name_no_kind(text: str) -> None:
    assert kind_in(text) is None


def archive(folder: Path, ids: list[Any], **each: list[Any]) -> DicomFiles:
    """One radiograph per id; `each`: keyword → a value for every one."""
    for number, one in enumerate(ids):
        changes = {keyword: values[number] for keyword, values in each.items()}
        write(folder, **{f"f{number:02d}": file_bytes(radiograph(picture(seed=number), PatientID=one, **changes))})
    return open_dicom("d", DicomSource(kind="dicom", path="x"), folder, workers=1)


def said(opened: DicomFiles) -> str:
    return " ".join(opened.remarks(opened.rows["row"].to_list()))


@pytest.mark.parametrize(
    "nobody", ["ANONYMOUS", "0", "00000000", "anonymous^anonymous", "Unknown", "АНОНИМ", "9999", "XXX"]
)
def test_an_id_that_stands_for_everybody_is_no_patient_and_is_said(tmp_path: Path, nobody: str) -> None:
    charset = ["ISO_IR 192"] * 3
    seen = archive(tmp_path, [nobody, nobody, "MRN-1"], SpecificCharacterSet=charset)
    assert seen.rows["original_patient"].to_list() == [None, None, "MRN-1"]
    assert "2 of 3 images have a PatientID that stands for everybody" in said(seen)
    assert nobody not in said(seen) or nobody == "ANONYMOUS"  # the sentence names that word as an example


def test_an_id_with_two_sexes_or_impossible_ages_is_said(tmp_path: Path) -> None:
    sexes = archive(tmp_path / "a", ["C1", "C1", "C2"], PatientSex=["F", "M", "F"])
    assert "1 PatientIDs (2 images) have images of both sexes" in said(sexes)
    ages = archive(tmp_path / "b", ["C1", "C1", "C2"], PatientAge=["020Y", "070Y", "020Y"])
    assert "1 PatientIDs (2 images)" in said(ages)
    fine = archive(tmp_path / "c", ["C1"] * 2, PatientAge=["020Y", "025Y"], StudyDate=["20100101", "20150301"])
    assert "PatientID" not in said(fine)


def test_one_id_for_most_images_is_said(tmp_path: Path) -> None:
    assert "20 of 22 images have the same PatientID" in said(archive(tmp_path, ["C1"] * 20 + ["C2", "C3"]))


def test_one_person_in_two_encodings_is_one_patient(tmp_path: Path) -> None:
    name = "Иванов-17"
    for number, (charset, encoding) in enumerate(
        [
            ("ISO_IR 144", "iso8859_5"),
            ("ISO_IR 192", "utf-8"),
            ("", "iso8859_5"),
            ("ISO_IR 100", "utf-8"),
            ("ISO_IR 100", "iso8859_5"),
        ]
    ):
        ds = radiograph(picture(seed=number), SpecificCharacterSet="ISO_IR 100")
        ds.add(DataElement(0x00100020, "LO", name.encode(encoding).decode("latin-1"), validation_mode=IGNORE))
        write(tmp_path, **{f"f{number}": file_bytes(ds).replace(b"ISO_IR 100", charset.encode().ljust(10))})
    seen = open_dicom("d", DicomSource(kind="dicom", path="x"), tmp_path, workers=1)
    assert set(seen.rows["original_patient"]) == {name}
    assert "2 images have a PatientID in another character set than declared: joined" in said(seen)


def test_a_broken_id_is_said_and_two_of_them_stay_two(tmp_path: Path) -> None:
    for number, name in enumerate(["Иванов", "Петров"]):
        ds = radiograph(picture(seed=number), SpecificCharacterSet="ISO_IR 100")
        ds.add(DataElement(0x00100020, "LO", name.encode("cp1251").decode("latin-1"), validation_mode=IGNORE))
        write(tmp_path, **{f"f{number}": file_bytes(ds).replace(b"ISO_IR 100", b" " * 10)})
    seen = open_dicom("d", DicomSource(kind="dicom", path="x"), tmp_path, workers=1)
    assert seen.rows["original_patient"].n_unique() == 2
    assert "2 of 2 images have a PatientID that is broken" in said(seen)


def test_japanese_ids_with_escapes_are_text() -> None:
    text = "山田-1"
    value = text.encode("iso2022_jp")
    assert decode_text(value, ["latin-1", "iso2022_jp"]).text == text
    assert decode_text("Müller".encode("latin-1"), ["iso8859"]).text == "Müller"
    assert decode_text("Müller".encode("latin-1"), []) == ("Müller", True)


@pytest.mark.parametrize(
    "tags",
    [
        {"PatientOrientation": ["A", "F"]},
        {"PatientOrientation": ["P", "F"]},
        {"StudyDescription": "CHEST LATERAL"},
        {"PerformedProcedureStepDescription": "Chest lateral"},
        {"BodyPartExamined": "CHEST LAT"},
        {"SeriesDescription": "Torace L-L"},
        {"SeriesDescription": "Thorax seitl."},
    ],
)
def test_a_lateral_without_a_view_is_known_by_whatever_else_says_so(tmp_path: Path, tags: dict[str, Any]) -> None:
    assert header(tmp_path, ViewPosition=None, **tags)["view"] == "lateral"


def test_a_study_of_both_views_and_a_frontal_study_say_nothing_of_an_image(tmp_path: Path) -> None:
    for text in ("CHEST PA AND LATERAL", "CHEST PA"):
        assert header(tmp_path, ViewPosition=None, StudyDescription=text)["view"] is None


def test_a_frontal_description_over_rows_to_the_front_is_no_frontal_view(tmp_path: Path) -> None:
    said = header(tmp_path, ViewPosition=None, SeriesDescription="Chest PA", PatientOrientation=["A", "F"])
    assert said["view"] == "other"


def test_m_is_unknown_where_h_is_what_men_are(tmp_path: Path) -> None:
    def sexes(folder: str, letters: str) -> tuple[list[str | None], str]:
        made = {f"f{n}": file_bytes(radiograph(picture(seed=n), PatientSex=sex)) for n, sex in enumerate(letters)}
        opened = open_dicom("d", DicomSource(kind="dicom", path="x"), write(tmp_path / folder, **made), workers=1)
        return opened.rows["sex"].to_list(), " ".join(opened.remarks(opened.rows["row"].to_list()))

    spanish, said = sexes("hombre-mujer", "HMHM")
    assert spanish == ["M", None, "M", None]
    assert "2 of 4 images state the sex M where others state H" in said
    french, said = sexes("homme-femme", "HFFM")
    assert french == ["M", "F", "F", "M"]
    assert "others state H" not in said
