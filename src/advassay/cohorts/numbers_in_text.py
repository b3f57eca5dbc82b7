"""A column of texts that are numbers but for some odd values → its numbers, and which values are none.

"54", "54.0", "54,5" and "54 years" are numbers; "unknown", "60-69" and ">89" are not, and count as unknown.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import polars as pl

_NUMBER = re.compile(
    r"([-+]?(?:\d+(?:[.,]\d*)?|\.\d+)(?:[eE][-+]\d+)?)\s*([^\W\d_%]*\.?(?:\s+[^\W\d_]+)?|%)", re.UNICODE
)
_THOUSANDS = re.compile(r"[-+]?\d{1,3},\d{3}")
"""1,234 is 1234 to some and 1.234 to others: not a plain number."""

_YEARS = {
    **dict.fromkeys(
        ("", "y", "yr", "yrs", "year", "years", "yo", "y o", "year old", "years old", "jahre", "jahr"), 1.0
    ),
    **dict.fromkeys(
        (
            "a",
            "año",
            "años",
            "ano",
            "anos",
            "ans",
            "an",
            "год",
            "года",
            "лет",
            "г",
            "л",
            "lat",
            "lata",
            "anni",
            "岁",
            "歳",
        ),
        1.0,
    ),
    **dict.fromkeys(("mo", "mos", "month", "months", "monat", "monate", "mes", "meses", "mois", "мес"), 1 / 12),
    **dict.fromkeys(("w", "wk", "wks", "week", "weeks", "wochen", "semanas", "нед"), 7 / 365.2425),
    **dict.fromkeys(("day", "days", "tage", "días", "dias", "jours", "дней", "дн"), 1 / 365.2425),
}
"""Unit of an age → years."""
_DICOM_AGE = re.compile(r"(\d{3})([DWMY])")
"""PS3.5 §6.2, VR AS."""
_DICOM_YEARS = {"D": 1 / 365.2425, "W": 7 / 365.2425, "M": 1 / 12, "Y": 1.0}

_SHOWN, _LONGEST_SHOWN = 3, 20


class ReadNumbers(NamedTuple):
    """numbers: Float64, null where there is no number. odd: where a text is there that is none."""

    numbers: pl.Series
    odd: pl.Series


def read_numbers(column: pl.Series) -> ReadNumbers:
    """The numbers in a column of texts. Units must be the same throughout; units of age become years.

    >>> read_numbers(pl.Series("age", ["54", "65 years", "6 months", "unknown", None])).numbers.to_list()
    [54.0, 65.0, 0.5, None, None]
    """
    texts = column.cast(pl.String).str.strip_chars()
    given = texts.drop_nulls().unique()
    ages = _holds_ages(column.name)
    split = {text: _number_and_unit(text, ages) for text in given if text}
    unit = _common_unit([found[1] for found in split.values() if found is not None])
    known = {text: found[0] for text, found in split.items() if found is not None and found[1] in ("", unit)}
    numbers = texts.replace_strict(known, default=None, return_dtype=pl.Float64).alias(column.name)
    there = (texts.str.len_chars() > 0).fill_null(False)
    return ReadNumbers(numbers, (there & numbers.is_null()).alias("odd"))


def describe_odd(column: pl.Series, rows: pl.Series, rule: str) -> str | None:
    """A sentence about the values of `column` that are no numbers; None where all are. `rows`: numbers from 0."""
    odd = read_numbers(column).odd
    count = int(odd.sum())
    if not count:
        return None
    frame = pl.DataFrame({"value": column.cast(pl.String).str.strip_chars(), "row": rows}).filter(odd)
    most = frame.group_by("value").agg(pl.len(), pl.col("row").min()).sort(["len", "row"], descending=[True, False])
    shown = [
        f"{value!r} ({number:,}, first in row {row + 1:,})" if len(value) <= _LONGEST_SHOWN else f"row {row + 1:,}"
        for value, number, row in most.head(_SHOWN).iter_rows()
    ]
    more = ", …" if most.height > _SHOWN else ""
    return (
        f"{rule}: {count:,} of {column.len():,} values are not plain numbers and count as unknown: "
        f"{', '.join(shown)}{more}."
    )


def _holds_ages(name: str) -> bool:
    words = set(re.split(r"[\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()))
    return bool(words & {"age", "alter", "edad", "возраст", "ages"}) and not words & {
        "months",
        "month",
        "weeks",
        "days",
    }


def _number_and_unit(text: str, ages: bool) -> tuple[float, str] | None:
    """(value, unit) of a text that is one number with an optional unit; of an age in years, without its unit."""
    if ages and (dicom := _DICOM_AGE.fullmatch(text)) is not None:
        return int(dicom[1]) * _DICOM_YEARS[dicom[2]], ""
    match = _NUMBER.fullmatch(text)
    if match is None or _THOUSANDS.fullmatch(match[1]):
        return None
    number, unit = float(match[1].replace(",", ".")), " ".join(match[2].lower().replace(".", "").split())
    if ages:
        return (number * _YEARS[unit], "") if unit in _YEARS else None
    return number, unit


def _common_unit(units: list[str]) -> str:
    """The one unit of all values that have one; none where they have several."""
    named = {unit for unit in units if unit}
    return named.pop() if len(named) == 1 else ""
