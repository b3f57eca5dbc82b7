"""A condition about one column → which rows satisfy it. A missing value never does."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from advassay.cohorts.numbers_in_text import read_numbers
from advassay.errors import CohortError
from advassay.sources.carried import short_values
from advassay.sources.nearest import did_you_mean
from advassay.sources.tables import is_id
from advassay.specs import Condition, Rules, Scalar


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
