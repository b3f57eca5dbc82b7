"""Report tables as people have them (`tables/`): read right, refused with the line, or warned of (`expected.csv`)."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from advassay.cli.program import app
from advassay.errors import AdvassayWarning, SourceError
from advassay.sources import open_source
from advassay.sources.reports import Labelled, label_reports
from advassay.sources.reports.language_detection import language_code
from advassay.sources.table_files import read_table
from advassay.spec.source_spec import ReportSpec, TableSource

TABLES = Path(__file__).parent / "tables"


def table(name: str, encoding: str | None = None) -> pl.DataFrame:
    return read_table(TABLES / name, text=frozenset({"id", "report"}), encoding=encoding, nul=False)


def labelled(name: str, language: str = "en", encoding: str | None = None, text: str = "report") -> Labelled:
    return label_reports(table(name, encoding), text=[text], id="id", language=language)


def said(result: Labelled, label: str) -> list[str]:
    return result.frame[label].to_list()


def test_line_breaks_inside_quotes_stay_in_the_text() -> None:
    result = labelled("01_newline_semicolon.csv")
    assert table("01_newline_semicolon.csv")["report"][0] == "No effusion;\nEmphysema; small nodule.\n\nHeart normal."
    assert (said(result, "emphysema"), said(result, "norm")) == (["present", "not stated"], ["absent", "present"])


@pytest.mark.parametrize(
    ("name", "encoding", "language"), [("02_cp1251.csv", "cp1251", "ru"), ("02_cp1252.csv", "cp1252", "es")]
)
def test_another_encoding_is_named_and_read_when_given(name: str, encoding: str, language: str) -> None:
    with pytest.raises(SourceError, match=rf"UTF-8.*line 2.*{encoding}.*--encoding {encoding}"):
        table(name)
    assert said(labelled(name, language, encoding), "pneumonia") == ["present"]


@pytest.mark.parametrize(("encoding", "text"), [("koi8-r", "Пневмония справа."), ("cp866", "Лёгкие без изменений.")])
def test_older_cyrillic_encodings_are_told_apart(tmp_path: Path, encoding: str, text: str) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(f"id,report\n1,{text}\n".encode(encoding))
    with pytest.raises(SourceError, match=encoding):
        read_table(path)


def test_an_encoding_that_is_unknown_or_does_not_fit_is_refused() -> None:
    with pytest.raises(SourceError, match="expected a known encoding, got 'klingon'"):
        table("11_bom.csv", "klingon")
    with pytest.raises(SourceError, match="text in ascii is needed, line 2 is not"):
        table("02_cp1251.csv", "ascii")


def test_damaged_letters_are_warned_of() -> None:
    result = labelled("02_koi8_mojibake.csv", "ru")
    assert "1 of 1 different reports hold damaged letters" in result.warnings[0]
    assert "no known word: 1" in result.warnings[1]


def test_utf16_is_read_by_its_byte_order_mark() -> None:
    assert said(labelled("02_utf16.csv", "ru"), "pneumonia") == ["present"]


@pytest.mark.parametrize("name", ["03_sep_line.csv", "11_bom.csv", "12_pipe.csv"])
def test_separator_lines_marks_and_bars_are_read(name: str) -> None:
    assert said(labelled(name), "pneumonia") == ["present"]


def test_quotes_with_backslashes_and_quotes_inside_a_field_are_read() -> None:
    assert table("04_backslash_quotes.csv")["report"].to_list() == ['Said "no pneumonia", emphysema', "Normal"]
    assert said(labelled("04_backslash_quotes.csv"), "pneumonia") == ["absent", "not stated"]
    assert table("04_single_inner_quote.csv")["report"].to_list() == ['Nodule 5" in size', "Normal chest"]


def test_two_inner_quotes_do_not_join_two_rows(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text('id,report\n1,Nodule 5" in size\n2,Normal chest\n3,Mass of 3" there\n4,Mass 2"\n')
    assert read_table(path)["report"].to_list()[1:] == ["Normal chest", 'Mass of 3" there', 'Mass 2"']


def test_a_line_with_more_fields_than_the_header_is_refused_by_its_number() -> None:
    with pytest.raises(SourceError, match="line 2 has 3 fields and the header 2") as caught:
        table("05_comma_unquoted.csv")
    assert "emphysema" not in str(caught.value)


def test_leading_zeros_are_kept() -> None:
    assert labelled("06_leading_zero.csv").frame["id"].to_list() == ["0012", "12"]


def test_languages_go_by_any_usual_name_and_unknown_ones_are_counted() -> None:
    result = label_reports(table("07_lang.csv"), text=["report"], id="id", language_column="language")
    assert result.frame["language"].to_list() == ["en", "en", "en", "es", "es", "ru", "ru"]
    assert said(result, "pneumonia") == ["present"] * 7
    assert result.counts() == {"no vocabulary for the language": 1}
    assert [language_code(name) for name in ("ENG", "en_GB", "Español", "castellano", "Русский", "ru-RU", "NL")] == [
        "en", "en", "es", "es", "ru", "ru", "NL",
    ]  # fmt: skip


def test_line_ends_of_every_system_are_read() -> None:
    assert said(labelled("08_cr_only.csv"), "emphysema") == ["present", "not stated"]
    assert said(labelled("08_crlf.csv"), "emphysema") == ["present", "not stated"]


def test_a_separator_inside_a_quoted_column_name_does_not_count() -> None:
    long_name = "report; text, full, long, and, more"
    assert said(labelled("09_header_quoted_sep.csv", text=long_name), "pneumonia") == ["present"]


def test_repeated_ids_are_counted() -> None:
    assert labelled("10_dup.csv").counts() == {"id with different texts": 2, "id repeated": 1}


def test_a_nul_in_a_report_is_refused_by_its_line() -> None:
    with pytest.raises(SourceError, match="line 2 holds one"):
        table("11_nul.csv")


def test_reports_of_another_language_are_warned_of() -> None:
    result = label_reports(table("13_wronglang.csv"), text=["report"], id="id", language_column="language")
    assert [warning.split(",")[0] for warning in result.warnings] == [
        "2 of 2 reports looked at", "1 of 1 reports looked at", "1 of 1 reports looked at",
    ]  # fmt: skip
    assert "read as en" in result.warnings[0]
    assert "(es: 1, ru: 1)" in result.warnings[0]


def test_what_stands_for_nothing_is_no_report() -> None:
    result = labelled("14_na.csv")
    assert result.counts() == {"no report text": 5}
    assert said(result, "pneumonia") == ["present"]


def test_typographic_signs_do_not_change_what_is_said() -> None:
    result = labelled("15_smartquotes.csv")
    by_id = dict(zip(result.frame["id"], result.frame.select("pneumonia", "emphysema", "fibrosis").rows(), strict=True))
    assert by_id["1"][0] == "uncertain"
    assert by_id["2"][0] == "absent"
    assert by_id["3"][1] == "present"
    assert by_id["5"][2] == "present"
    assert by_id["7"][0] == "absent"
    assert by_id["8"][0] == "absent"


# --- joined to images, and on the command line ------------------------------------------------------------------------


def source(folder: Path, keys: list[str], name: str, **options: str) -> TableSource:
    rows = "".join(f"{number}.png,{key}\n" for number, key in enumerate(keys))
    (folder / "images.csv").write_text(f"image,exam\n{rows}")
    (folder / name).write_bytes((TABLES / name).read_bytes())
    reports = ReportSpec.model_validate(
        {"path": name, "text": ["report"], "id": "id", "key": "exam", "language": "en"} | options
    )
    return TableSource(kind="table", path="images.csv", reports=reports)


def test_numbers_with_a_point_join_with_whole_ones(tmp_path: Path) -> None:
    rows = open_source("films", source(tmp_path, ["12", "13"], "06_float_ids.csv"), tmp_path).rows
    assert rows["pneumonia"].to_list() == ["present", "not stated"]


def test_ids_that_do_not_join_are_shown_two_of_each_side(tmp_path: Path) -> None:
    with pytest.warns(AdvassayWarning, match=r"3 of 3 ids of images.*\['P1', 'P2'\]; reports: \['12', '13'\]"):
        rows = open_source("films", source(tmp_path, ["P1", "P2", "P3"], "06_float_ids.csv"), tmp_path).rows
    assert rows["report"].to_list() == ["no report"] * 3


def test_reports_beside_images_are_read_in_their_encoding_and_language(tmp_path: Path) -> None:
    made = source(tmp_path, ["A1"], "02_cp1251.csv", encoding="cp1251", language="Russian")
    assert open_source("films", made, tmp_path).rows["pneumonia"].to_list() == ["present"]
    with pytest.warns(AdvassayWarning, match="read as en, hold more words of another language"):
        open_source("films", source(tmp_path, ["A1"], "02_cp1251.csv", encoding="cp1251"), tmp_path)


def label(name: str, folder: Path, *options: str) -> Result:
    given = ["label", str(TABLES / name), "--text", "report", "--id", "id", "-o", str(folder / "l.parquet")]
    return CliRunner().invoke(app, [*given, *options])


def test_the_command_reads_an_encoding_that_is_named(tmp_path: Path) -> None:
    assert "--encoding cp1251" in label("02_cp1251.csv", tmp_path, "--language", "ru").output
    assert "pneumonia: 1 present" in label("02_cp1251.csv", tmp_path, "--language", "ru", "--encoding", "cp1251").output


def test_the_command_says_what_makes_its_labels_doubtful(tmp_path: Path) -> None:
    result = label("13_wronglang.csv", tmp_path, "--language-column", "language")
    assert result.exit_code == 0
    assert "Note: 2 of 2 reports looked at, read as en" in " ".join(result.output.split())


def test_the_command_counts_unknown_languages_by_name(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("id,report,lang\n1,Emphysema.,en\n2,Emfyseem.,nl\n3,Emfyseem.,nl\n4,Emphysem.,de\n")
    given = ["--text", "report", "--id", "id", "--language-column", "lang", "-o", str(tmp_path / "l.parquet")]
    output = CliRunner().invoke(app, ["label", str(path), *given]).output
    assert "the language column names nl, which is not shipped: 2" in output
    assert "the language column names de, which is not shipped: 1" in output
