"""A table of reports: bad rows are counted, equal texts read once, and no text leaves."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advassay.cohorts.preparation_json import request_hash, source_state
from advassay.errors import SourceError
from advassay.progress import Silent
from advassay.sources import index, open_source
from advassay.sources.reports import LABELS, Labelled, label_reports
from advassay.sources.reports import label_table as table_module
from advassay.spec.cohort_spec import CohortSpec
from advassay.spec.source_spec import ReportSpec, TableSource


def labelled(rows: list[tuple[str | None, str | None]], **options: object) -> Labelled:
    frame = pl.DataFrame(rows, schema={"id": pl.String, "text": pl.String}, orient="row")
    return label_reports(frame, text=["text"], id="id", **({"language": "en"} | options))  # type: ignore[arg-type]


def test_rows_that_cannot_be_read_are_counted_with_the_reason() -> None:
    result = labelled(
        [
            ("a", "Emphysema."),
            ("a", "Emphysema."),
            ("b", "Clear."),
            ("b", "Nodule."),
            (None, "Clear."),
            ("c", " "),
            ("d", None),
        ]
    )
    assert result.frame["id"].to_list() == ["a"]
    assert result.counts() == {"id with different texts": 2, "no report text": 2, "id repeated": 1, "no report id": 1}
    assert result.left_out["row"].to_list() == [1, 2, 3, 4, 5, 6]


def test_reports_of_several_languages_are_each_read_with_their_own_vocabulary() -> None:
    frame = pl.DataFrame(
        {
            "id": ["1", "2", "3", "4"],
            "text": ["Emphysema.", "Enfisema.", "Эмфизема.", "Emfyseem."],
            "lang": ["en", "es", "ru", "nl"],
        }
    )
    result = label_reports(frame, text=["text"], id="id", language_column="lang")
    assert result.frame["emphysema"].to_list() == ["present"] * 3
    assert result.counts() == {"no vocabulary for the language": 1}


def test_equal_texts_are_read_once_and_order_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "_CHUNK", 2)  # several chunks
    texts = ["Emphysema.", "Clear lungs.", "Emphysema.", "Pneumonia.", "Possible pneumonia.", "Emphysema."]
    result = labelled([(str(n), text) for n, text in enumerate(texts)])
    assert result.distinct_texts == 4
    assert result.frame["id"].to_list() == list("012345")
    assert result.frame["emphysema"].to_list() == [
        "present" if text == "Emphysema." else "not stated" for text in texts
    ]


def test_labels_do_not_depend_on_processes_or_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(str(n), f"Study {n}. {'No ' if n % 2 else ''}pneumonia.") for n in range(50)]
    alone = labelled(rows)
    monkeypatch.setattr(table_module, "_CHUNK", 7)
    monkeypatch.setattr(table_module, "_WORTH_PROCESSES", 1)
    assert labelled(rows, processes=2).frame.equals(alone.frame)


def test_the_table_holds_places_and_entries_but_no_text() -> None:
    secret = "Ivanov"
    result = labelled([("1", f"{secret}: severe emphysema, no pneumonia."), ("2", f"{secret} is well.")])
    assert result.frame.schema["evidence"] == pl.List(pl.Struct(table_module.EVIDENCE))
    assert secret not in str(result.frame.to_dicts()) + str(result.left_out.to_dicts())
    assert [one["label"] for one in result.frame["evidence"][0]] == ["norm", "emphysema", "pneumonia"]
    assert result.frame["evidence"].list.len().to_list() == [3, 0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"text": ["report"]}, "text: expected one of the columns"),
        ({"id": "number"}, "id: expected one of the columns"),
        ({"language": "xx"}, "language: expected one of"),
        ({"language": None, "language_column": "lang"}, "language_column: expected one of the columns"),
        ({"language": None}, "one language or a column"),
        ({"text": []}, "at least one column"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(options: dict[str, object], said: str) -> None:
    frame = pl.DataFrame({"id": ["1"], "text": ["Clear."]})
    with pytest.raises(SourceError, match=said):
        label_reports(frame, **({"text": ["text"], "id": "id", "language": "en"} | options))  # type: ignore[arg-type]


def test_a_table_without_one_readable_report_is_an_error() -> None:
    with pytest.raises(SourceError, match="no report text"):
        labelled([("1", "  "), ("2", None)])


def test_a_language_is_added_by_a_file(tmp_path: Path) -> None:
    vocabulary = tmp_path / "nl.yaml"
    vocabulary.write_text(
        "language: nl\nstemmer: dutch\ncontext: {negation: {before: [geen]}}\n"
        "findings: {emphysema: {keywords: [emfyseem]}}\nnorm: {phrases: [geen afwijkingen]}\n"
    )
    result = labelled([("1", "Emfyseem."), ("2", "Geen emfyseem."), ("3", "Geen afwijkingen.")], language=vocabulary)
    assert result.frame["emphysema"].to_list() == ["present", "absent", "not stated"]
    assert result.frame["norm"].to_list() == ["absent", "not stated", "present"]


@pytest.mark.parametrize(
    "text",
    [
        "language: nl\nfindings: {gout: {keywords: [jicht]}}\nnorm: {phrases: [goed]}",
        "language: nl\nfindings: {}\nnorm: {phrases: ['{missing}+']}",
        "language: nl\nignore: [de]\nfindings: {emphysema: {keywords: [de]}}\nnorm: {phrases: [goed]}",
        "- a list",
        "a: [",
    ],
)
def test_a_file_that_is_no_vocabulary_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "nl.yaml").write_text(text)
    with pytest.raises(SourceError, match=r"language|vocabulary"):
        labelled([("1", "goed")], language=tmp_path / "nl.yaml")


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.one_of(st.none(), st.text(max_size=3)), st.one_of(st.none(), st.text(max_size=20))), min_size=1
    )
)
def test_every_row_is_read_or_left_out_whatever_it_holds(rows: list[tuple[str | None, str | None]]) -> None:
    try:
        result = labelled(rows)
    except SourceError:
        return
    assert result.frame.height + result.left_out.height == len(rows)
    assert result.frame["id"].is_unique().all()


# --- joined to images -------------------------------------------------------------------------------------------------


def archive(folder: Path) -> TableSource:
    (folder / "images.csv").write_text("image,exam\na.png,1\nb.png,2\nc.png,3\nd.png,4\ne.png,\n")
    (folder / "reports.csv").write_text("exam,said\n1,Normal chest.\n2,Tuberculosis.\n3,\n2,Tuberculosis.\n")
    reports = ReportSpec(path="reports.csv", text=("said",), id="exam", key="exam", language="en")
    return TableSource(kind="table", path="images.csv", reports=reports)


def test_labels_become_columns_of_the_images(tmp_path: Path) -> None:
    rows = open_source("films", archive(tmp_path), tmp_path).rows
    assert rows["norm"].to_list() == ["present", "absent", None, None, None]
    assert rows["tuberculosis"].to_list() == ["not stated", "present", None, None, None]
    assert rows["report"].to_list() == ["read", "read", "no report text", "no report", "no report"]
    assert rows["path"].to_list() == ["a.png", "b.png", "c.png", "d.png", "e.png"]
    assert set(LABELS) < set(rows.columns)
    assert not any("chest" in str(value) for value in rows.to_dicts())
    assert "exam" not in rows.columns  # a report's id, under a name that would not be taken for one


def test_labelled_images_reach_the_manifest_without_a_report_id(tmp_path: Path) -> None:
    source = archive(tmp_path)
    for shade, name in enumerate("abcde", start=40):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.linspace(shade, 200, 64).astype(np.uint8).reshape(8, 8))
    found = index(open_source("films", source, tmp_path), None, key=b"k" * 32, patient_column=None, progress=Silent())
    assert found.manifest.select("norm", "report").rows()[:2] == [("present", "read"), ("absent", "read")]
    assert "exam" not in found.manifest.columns


def test_a_label_does_not_overwrite_a_column_of_the_table(tmp_path: Path) -> None:
    source = archive(tmp_path)
    (tmp_path / "images.csv").write_text("image,exam,norm\na.png,1,yes\n")
    with pytest.raises(SourceError, match="norm"):
        open_source("films", source, tmp_path)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    source = archive(tmp_path)
    (tmp_path / "images.csv").write_text("image\na.png\n")
    with pytest.raises(SourceError, match=r"sources\.films\.reports\.key"):
        open_source("films", source, tmp_path)


def test_changed_reports_make_a_prepared_cohort_out_of_date(tmp_path: Path) -> None:
    source = archive(tmp_path)
    before = source_state("films", source, tmp_path)
    (tmp_path / "reports.csv").write_text("exam,said\n1,Emphysema.\n")
    assert source_state("films", source, tmp_path) != before


def test_a_source_without_reports_keeps_its_identity(tmp_path: Path) -> None:
    spec = CohortSpec(source="films", classes={"a": {"label": "a"}, "b": {"label": "b"}})  # type: ignore[dict-item]
    plain = TableSource(kind="table", path="images.csv")
    assert "reports" not in plain.model_dump(mode="json")
    assert request_hash(spec, plain, 64, 0) != request_hash(spec, archive(tmp_path), 64, 0)


def test_reports_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    source = archive(tmp_path)
    (tmp_path / "reports.csv").write_bytes("exam,said\n1,Норма\n".encode("cp1251"))
    with pytest.raises(SourceError, match="UTF-8"):
        open_source("films", source, tmp_path)
