"""A condition about one column → which rows satisfy it; text that means numbers is read as numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import polars as pl

from advassay.errors import CohortError
from advassay.sources.column_allowlist import short_values
from advassay.sources.table_files import did_you_mean, is_id
from advassay.spec.rule_spec import Condition, Rules, Scalar

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


def column_of(frame: pl.DataFrame, name: str, rule: str) -> pl.Series:
    """The column a rule names. Raises CohortError, listing the columns there are, where it is absent."""
    if name in frame.columns:
        return frame[name]
    raise CohortError(
        f"{rule}: a column of the source, got {name!r}.",
        f"{did_you_mean(name, frame.columns)}It has: {', '.join(sorted(frame.columns)) or 'none'}.",
    )


def missing(column: pl.Series) -> pl.Series:
    """Where `column` holds no value: null, NaN or an empty text."""
    if column.dtype.is_float():
        return column.is_null() | column.is_nan().fill_null(False)
    if column.dtype == pl.String:
        return column.is_null() | (column.str.strip_chars() == "").fill_null(False)
    return column.is_null()


def matches(column: pl.Series, condition: Condition, rule: str) -> pl.Series:
    """Boolean series without nulls: True where every given part of `condition` holds and a value is there.

    A range about texts reads those that are plain numbers ("54 years"); the others count as missing. Raises CohortError
    where the rule cannot match any value of the column's type (a text about a number, a range about words): that is a
    slip in the study file, not an empty cohort.

    >>> matches(pl.Series("age", [19, 20, None, 35, 36]), Condition(range=(20, 35)), "age").to_list()
    [False, True, False, True, False]
    """
    holds = ~missing(column)
    if column.dtype == pl.Null:
        return holds
    if condition.in_ is not None:
        holds &= _among(column, condition.in_, rule)
    if condition.not_in is not None:
        holds &= ~_among(column, condition.not_in, rule)
    if condition.range is not None:
        holds &= _numbers(column, rule).is_between(*condition.range).fill_null(False)
    return holds


def odd_for(column: pl.Series, condition: Condition) -> pl.Series:
    """Where a rule that needs a number finds a text that is none: such a value counts as unknown."""
    if condition.range is None or column.dtype != pl.String:
        return pl.Series([False]).new_from_index(0, column.len())
    return read_numbers(column).odd


def _numbers(column: pl.Series, rule: str) -> pl.Series:
    """The column's numbers; of texts those that are plain numbers."""
    if column.dtype.is_numeric():
        return column
    if column.dtype == pl.String and (read := read_numbers(column)).numbers.drop_nulls().len():
        return read.numbers
    raise CohortError(
        f"{rule}: a range needs a column of numbers, got {_kind(column)}{_examples(column)}.",
        "Give the values with `in`, or correct the column.",
    )


def all_match(frame: pl.DataFrame, rules: Rules, rule: str) -> pl.Series:
    """Where every rule of `rules` holds; `rule` names the place in the study file for errors."""
    holds = pl.Series([True]).new_from_index(0, frame.height)
    for name, condition in rules.items():
        place = f"{rule}.{name}"
        holds &= matches(column_of(frame, name, place), condition, place)
    return holds


def absent_values(column: pl.Series, values: Iterable[Scalar]) -> list[Scalar]:
    """Which of `values` no row of `column` has.

    >>> absent_values(pl.Series(["tb", "normal"]), ["tb", "tuberculosys"])
    ['tuberculosys']
    """
    present = set(column.drop_nulls().unique())
    return [value for value in values if _kind_of(value) != _kind(column) or value not in present]


def _among(column: pl.Series, values: Iterable[Scalar], rule: str) -> pl.Series:
    comparable: list[Scalar] = [value for value in values if _kind_of(value) == _kind(column)]
    if not comparable:
        raise CohortError(
            f"{rule}: values of the column's kind, {_kind(column)}{_examples(column)}, got {list(values)!r}.",
            'Numbers and texts compare as such: write 5 for a number, "5" for a text.',
        )
    common = {"texts": pl.String, "numbers": pl.Float64, "truth values": pl.Boolean}[_kind(column)]
    accepted = pl.Series(comparable, strict=False).cast(common).implode()
    return column.cast(common).is_in(accepted).fill_null(False)


def _kind(column: pl.Series) -> str:
    if column.dtype == pl.Boolean:
        return "truth values"
    return "numbers" if column.dtype.is_numeric() else "texts"


def _kind_of(value: Scalar) -> str:
    if isinstance(value, bool):
        return "truth values"
    return "numbers" if isinstance(value, int | float) else "texts"


def _examples(column: pl.Series) -> str:
    """A few of the column's values in words, where they may be shown: numbers, or the values of a category."""
    values = column.drop_nulls().unique(maintain_order=True)
    if not values.len():
        return " (no value at all)"
    if is_id(column.name) or not (short_values(column) and values.len() < 0.5 * column.len()):
        return ""
    return f" such as {', '.join(map(repr, values.head(3)))}"
