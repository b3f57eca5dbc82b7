"""What a report says of a finding, by hand, in three languages."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advassay.sources.reports import LABELS, ReportLabels, ReportReader, load_vocabulary


@functools.cache
def reader(language: str) -> ReportReader:
    return ReportReader(load_vocabulary(language))


def read(language: str, *texts: str | None) -> ReportLabels:
    return reader(language).read(texts)


def stated(language: str, *texts: str | None) -> dict[str, str]:
    """What a report states of findings (norm apart)."""
    said = dict(zip(LABELS, read(language, *texts).decisions, strict=True))
    return {label: decision for label, decision in said.items() if decision != "not stated" and label != "norm"}


def norm(language: str, text: str) -> str:
    return read(language, text).decisions[0]


CASES = {
    "en": [
        ("Mild emphysema.", {"emphysema": "present"}),
        ("No evidence of tuberculosis.", {"tuberculosis": "absent"}),
        ("No effusion, pneumothorax, or pneumonia.", {"pneumonia": "absent"}),
        ("Pneumonia is not seen.", {"pneumonia": "absent"}),
        ("Opacity may represent pneumonia.", {"pneumonia": "uncertain"}),
        ("Early pneumonia cannot be excluded.", {"pneumonia": "uncertain"}),
        ("History of tuberculosis.", {}),
        ("No change in the pulmonary nodule.", {"focal_shadows": "present"}),
        ("No new pneumonia.", {"pneumonia": "absent"}),
        ("No interval change in the pulmonary nodule.", {"focal_shadows": "present"}),
        ("No effusion, but there is scarring.", {"fibrosis": "present"}),
        ("Subcutaneous emphysema.", {}),
        ("The thoracic aorta is mildly tortuous.", {"aortic_rotation": "present"}),
        ("Tortuous, calcified aorta.", {"aortic_rotation": "present"}),
        ("Chronic bronchitis. Pneumosclerosis.", {"bronchitis": "present", "pneumosclerosis": "present"}),
        ("No pneumonia. Right lower lobe pneumonia.", {"pneumonia": "present"}),
    ],
    "es": [
        ("Enfisema pulmonar.", {"emphysema": "present"}),
        ("No se observan signos de tuberculosis.", {"tuberculosis": "absent"}),
        ("Sin infiltrados ni nódulos pulmonares.", {"focal_shadows": "absent"}),
        ("Probable neumonía basal derecha.", {"pneumonia": "uncertain"}),
        ("Se descarta neumonía.", {"pneumonia": "absent"}),
        ("No se puede descartar neumonía.", {"pneumonia": "uncertain"}),
        ("Elongación aórtica.", {"aortic_rotation": "present"}),
        ("ELONGACION AORTICA", {"aortic_rotation": "present"}),
        ("Cambios fibrocicatriciales apicales.", {"fibrosis": "present"}),
        ("Enfisema subcutáneo.", {}),
        ("Bronquitis crónica. Neumoesclerosis.", {"bronchitis": "present", "pneumosclerosis": "present"}),
    ],
    "ru": [
        ("Исключить туберкулёз.", {"tuberculosis": "uncertain"}),
        ("С целью исключения пневмонии.", {}),
        ("Туберкулёз исключён.", {"tuberculosis": "absent"}),
        ("Пневмония исключена.", {"pneumonia": "absent"}),
        ("Пневмония разрешилась.", {"pneumonia": "absent"}),
        ("Пневмония в стадии разрешения.", {"pneumonia": "present"}),
        ("Пневмонию исключить нельзя.", {"pneumonia": "uncertain"}),
        ("Эмфизема лёгких.", {"emphysema": "present"}),
        ("Очаговых и инфильтративных теней не выявлено.", {"focal_shadows": "absent"}),
        ("Без признаков туберкулёза.", {"tuberculosis": "absent"}),
        ("Пневмосклероз, очаговых теней не выявлено.", {"pneumosclerosis": "present", "focal_shadows": "absent"}),
        ("Без очаговых теней, пневмосклероз.", {"pneumosclerosis": "present", "focal_shadows": "absent"}),
        ("Без очаговых теней, эмфиземы.", {"emphysema": "absent", "focal_shadows": "absent"}),
        (
            "Очаговых теней не выявлено, легочные поля эмфизематозны.",
            {"focal_shadows": "absent", "emphysema": "present"},
        ),
        ("В легких не выявлено очаговых теней.", {"focal_shadows": "absent"}),
        ("В S1 справа очаговые тени средней интенсивности.", {"focal_shadows": "present"}),
        ("Данных за туберкулез нет.", {"tuberculosis": "absent"}),
        ("Аорта уплотнена, удлинена.", {"aortic_rotation": "present"}),
        ("Нельзя исключить пневмонию.", {"pneumonia": "uncertain"}),
        ("Пневмония не исключается.", {"pneumonia": "uncertain"}),
        ("Подозрение на очаговый туберкулез.", {"tuberculosis": "uncertain"}),
        ("Аорта удлинена, развёрнута.", {"aortic_rotation": "present"}),
        ("Хронический бронхит. Фиброзные изменения.", {"bronchitis": "present", "fibrosis": "present"}),
        ("В анамнезе туберкулез.", {}),
        ("Подкожная эмфизема.", {}),
    ],
}


@pytest.mark.parametrize(("language", "text", "expected"), [(name, *case) for name in CASES for case in CASES[name]])
def test_findings_are_read_with_their_negation_and_doubt(language: str, text: str, expected: dict[str, str]) -> None:
    assert stated(language, text) == expected


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "The lungs are clear. Heart size is normal. No pneumothorax or pleural effusion."),
        ("en", "Normal chest."),
        ("es", "Sin hallazgos patológicos significativos."),
        ("es", "Dentro de la normalidad."),
        ("ru", "Органы грудной клетки без патологии."),
        ("ru", "Легкие и сердце без особенностей."),
        ("ru", "Норма."),
        ("ru", "ОГК без видимой патологии."),
        ("ru", "Легочные поля прозрачны. Корни структурны. Синусы свободны. Сердце не расширено."),
        ("ru", "Органы грудной клетки в пределах возрастной нормы."),
        ("ru", "Очаговых и инфильтративных теней не выявлено."),
    ],
)
def test_a_report_of_key_phrases_alone_is_norm(language: str, text: str) -> None:
    assert norm(language, text) == "present"


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "The lungs are clear. Old rib fracture."),
        ("en", "Normal chest with pacemaker."),
        ("en", "Two views of the chest."),
        ("es", "Sin hallazgos significativos salvo cardiomegalia."),
        ("es", "No normal."),
        ("ru", "Норма. Кардиомегалия."),
        ("ru", "Легкие изменены."),
        ("ru", "Сердце расширено."),
        ("ru", "Органы грудной клетки без патологии, сколиоз."),
    ],
)
def test_one_word_beyond_the_key_phrases_is_no_norm(language: str, text: str) -> None:
    assert norm(language, text) == "not stated"


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en", "Pneumonia?", {"pneumonia": "uncertain"}),
        ("en", "? Pneumonia at the right base. Emphysema.", {"pneumonia": "uncertain", "emphysema": "present"}),
        ("en", "Emphysema. Pneumonia (?) at the base.", {"pneumonia": "uncertain", "emphysema": "present"}),
        ("en", "Emphysema ?pneumonia", {"pneumonia": "uncertain", "emphysema": "present"}),
        ("en", "No pneumonia?", {"pneumonia": "absent"}),
        ("es", "¿Neumonía?", {"pneumonia": "uncertain"}),
        ("ru", "Пневмония?", {"pneumonia": "uncertain"}),
        ("ru", "? Пневмония справа", {"pneumonia": "uncertain"}),
    ],
)
def test_a_question_is_a_doubt(language: str, text: str, expected: dict[str, str]) -> None:
    assert stated(language, text) == expected
    for evidence in read(language, text).evidence:
        if evidence.decision == "uncertain" and evidence.label != "norm":
            assert evidence.cue == "?"
            assert text[evidence.cue_start : evidence.cue_end] == "?"


@pytest.mark.parametrize(("language", "text"), [("en", "Normal?"), ("en", "? Normal"), ("ru", "Норма?")])
def test_a_norm_that_is_asked_is_none(language: str, text: str) -> None:
    assert norm(language, text.replace("?", "").strip()) == "present"
    assert norm(language, text) == "not stated"


def test_norm_follows_the_strongest_finding() -> None:
    assert norm("en", "The lungs are clear. Emphysema.") == "absent"
    assert norm("en", "The lungs are clear. Possible pneumonia.") == "uncertain"


def test_text_that_was_stemmed_before_reads_like_the_full_words() -> None:
    assert stated("es", "elong aortic . tract fibros . sin infiltr ni nodul pulmon .") == stated(
        "es", "Elongación aórtica. Tractos fibrosos. Sin infiltrados ni nódulos pulmonares."
    )


def test_every_decision_points_at_its_phrase() -> None:
    texts = ("Heart is normal.", "  There is no evidence of focal pneumonia; mild EMPHYSEMA.")
    reading = read("en", *texts)
    for evidence in reading.evidence:
        phrase = texts[evidence.field][evidence.start : evidence.end].lower()
        assert phrase == ("pneumonia" if evidence.label == "pneumonia" else "emphysema")
    pneumonia = next(one for one in reading.evidence if one.label == "pneumonia")
    assert texts[1][pneumonia.cue_start : pneumonia.cue_end] == "no evidence of"
    assert [one.label for one in reading.evidence] == ["norm", "emphysema", "pneumonia"]


def test_unicode_forms_case_and_typing_errors_do_not_matter() -> None:
    composed, decomposed = "Neumonía", "Neumoni\u0301a"
    assert stated("es", composed) == stated("es", decomposed) == stated("es", "NEUMONIA") == {"pneumonia": "present"}
    assert stated("ru", "Эмфизе\u00adма") == stated("ru", "эмфизe\u0301ма") == {"emphysema": "present"}  # a Latin e


def test_a_finding_split_by_a_sentence_is_not_one() -> None:
    assert stated("en", "The aorta is normal. Tortuous vessels.") == {}
    assert stated("en", "Aorta 3.5 cm, tortuous.") == {"aortic_rotation": "present"}


WORDS = """no not without pneumonia emphysema aorta tortuous cannot exclude but , . ; ( sin ni nódulo без не выявлено
очаговых теней нет may XXXX 3.5 normal chest lungs clear and of the"""
words = st.sampled_from(["\n\n", *WORDS.split()])


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["en", "es", "ru"]), st.lists(st.one_of(words, st.text(max_size=6)), max_size=60), st.booleans())
def test_no_text_crashes_the_reader(language: str, pieces: list[str], spaced: bool) -> None:
    text = (" " if spaced else "").join(pieces)
    reading = read(language, text, None, "")
    allowed = {"present", "absent", "uncertain", "not stated"}
    assert set(reading.decisions) <= allowed
    for evidence in reading.evidence:
        assert 0 <= evidence.start < evidence.end <= len(text)
        assert evidence.decision == reading.decisions[LABELS.index(evidence.label)] != "not stated"


def test_a_very_long_report_is_read_to_its_end() -> None:
    text = "heart size normal " * 10_000 + "emphysema"
    assert max(evidence.end for evidence in read("en", text).evidence) == len(text)
