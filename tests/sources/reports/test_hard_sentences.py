"""Sentences chosen to be hard, in three languages, each with what it says.

`sentences.csv` was there before the rules; `held_out_sentences.csv` and `held_out_sentences_2.csv` were written
before the rules (the second after the first version) and read once with them: 15 of 190 and 4 of 220 were read wrongly
then, 96 and 92 by the rules before. `held_out_sentences_3.csv` and `held_out_sentences_4.csv` were written later: 20 of
190 were read wrongly at first; of the other set, written when these were mended, 9 of 169 (3 of its first 105, 6 of the
64 that were written when those were mended). `right` holds alternatives with | between; `kind`: 1 lines and markup, 2
negated change, 3 forms of cues, 4 negated exclusion, 5 sections, 6 answers and abbreviations, 7 exclusions, 8 other
times, 9 others. `reported_faults.csv`: what a reader found to be read wrongly later, and what a mend of it must not
change; its kinds: 1 plus and minus, 2 one answer for a list, 3 another organ, 4 doubt and negated change, 5 headings
with a dash, 6 dot leaders and short answers, 7 idioms, 8 other times and persons, 9 items of a list, 10 then no and now
yes, 11 zero and not assessed, 12 doubt after a denial, options and likelihood, 13 dates.
"""

from __future__ import annotations

import csv
import functools
import time
from pathlib import Path

import pytest

from advassay.sources.reports import LABELS, ReportReader, load_vocabulary

HERE = Path(__file__).parent


@functools.cache
def reader(language: str) -> ReportReader:
    return ReportReader(load_vocabulary(language))


def rows(name: str) -> list[dict[str, str]]:
    with (HERE / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def check(row: dict[str, str]) -> None:
    reading = reader(row["language"]).read([row["text"]])
    assert reading.decisions[LABELS.index(row["label"])] in row["right"].split("|")
    for evidence in reading.evidence:
        assert 0 <= evidence.start < evidence.end <= len(row["text"])
        assert evidence.cue_start is None or 0 <= evidence.cue_start < evidence.cue_end <= len(row["text"])


@pytest.mark.parametrize("row", rows("sentences.csv"), ids=lambda row: f"{row['language']}: {row['text']}")
def test_a_hard_sentence_is_read_right(row: dict[str, str]) -> None:
    check(row)


@pytest.mark.parametrize(
    "row",
    [row for number in ("", "_2", "_3", "_4") for row in rows(f"held_out_sentences{number}.csv")],
    ids=lambda row: f"{row['kind']} {row['language']}: {row['text']}",
)
def test_a_sentence_that_was_held_out_is_read_right(row: dict[str, str]) -> None:
    check(row)


@pytest.mark.parametrize(
    "row", rows("reported_faults.csv"), ids=lambda row: f"{row['kind']} {row['language']} {row['label']}: {row['text']}"
)
def test_a_reported_fault_is_mended(row: dict[str, str]) -> None:
    check(row)


@pytest.mark.parametrize(
    ("language", "text", "start", "end"),
    [
        ("es", "<p>Neumon&iacute;a basal.</p>", 3, 18),
        ("en", "No effusion&#10;Emphysema", 16, 25),
        ("en", "Emphy\u00adsema.", 0, 10),
        ("en", "Heart normal.<br/>\u2022 Pneu-\nmonia", 20, 31),
    ],
)
def test_evidence_points_into_the_text_as_written(language: str, text: str, start: int, end: int) -> None:
    [evidence] = [one for one in reader(language).read([text]).evidence if one.label != "norm"]
    assert (evidence.start, evidence.end) == (start, end)


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en", "No pneumothorax; no effusion.\nNodule of 3.5 cm.", "present"),
        ("en", "Size < 3 mm & > 1 mm nodule", "present"),
        ("en", "No consolidation &amp; no nodule", "absent"),
        ("en", "No new\nnodule.", "absent"),
        ("en", "NO NODULE OR MASS IS SEEN IN THE LUNGS, AND THE HEART IS NOT ENLARGED AT\n"
               "ALL. THERE IS NO EVIDENCE OF EFFUSION OR PNEUMOTHORAX AND NO SUSPICIOUS\n"
               "NODULE. THE BONES ARE NORMAL FOR AGE AND THE SOFT TISSUES ARE ALSO GOOD.", "absent"),
    ],
)  # fmt: skip
def test_a_wrapped_line_is_no_end_and_signs_are_no_markup(language: str, text: str, expected: str) -> None:
    assert reader(language).read([text]).decisions[LABELS.index("focal_shadows")] == expected


@pytest.mark.parametrize("text", ["no emphysema, ", "emphysema or ", "HISTORY: a. ", "NO NODULE\n", "<p>&lt;", "a\n"])
def test_a_text_of_thousands_of_items_is_read_in_seconds(text: str) -> None:
    before = time.process_time()
    reader("en").read([text * 3000])
    assert time.process_time() - before < 10


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "nodule in 2012 "),
        ("en", "cannot be excluded nodule "),
        ("en", "not seen before, now seen "),
        ("en", "No nodule in March. Now seen. "),
        ("en", "nodule -> not seen "),
        ("es", "antes no había nódulo "),
        ("ru", "ранее очага не было, сейчас есть "),
    ],
)
def test_the_time_for_a_long_text_grows_with_its_length(language: str, text: str) -> None:
    def seconds(times: int) -> float:
        before = time.process_time()
        reader(language).read([text * times])
        return time.process_time() - before

    seconds(10)  # words once met are remembered
    assert min(seconds(4000), seconds(4000)) < 8 * seconds(1000) + 0.2  # a square would make it 16 times


def test_a_report_without_a_heading_for_findings_keeps_its_paragraphs() -> None:
    said = reader("en").read(["INDICATION: cough.\n\nThe lungs show emphysema.\n\nIMPRESSION: COPD."])
    assert said.decisions[LABELS.index("emphysema")] == "present"
    said = reader("en").read(["INDICATION: pneumonia.\nThe lungs show emphysema.\nIMPRESSION: COPD."])
    assert said.decisions[LABELS.index("emphysema")] == "present"
    assert said.decisions[LABELS.index("pneumonia")] == "not stated"
