"""Columns of a cohort whose groups the analysis plan compares, as categories that records may carry."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from advassay.records.run_reader import MOST_GROUPS, SUBGROUP
from advassay.sources.column_allowlist import allowed_columns
from advassay.sources.table_files import is_id

AGES = frozenset({"age", "patient_age"})
AGE_BAND = 20
"""Years: the same bands in every cohort, so that they can be compared."""
FEW_NUMBERS = 5
"""Distinct numbers up to which each is a group of its own."""
BANDS = 5


def subgroup_columns(manifest: pl.DataFrame, names: Sequence[str]) -> tuple[pl.DataFrame, dict[str, str]]:
    """(image_id and a text column subgroup_<name> for each usable one, name → why another one is left out).

    Texts are taken as they are, at most 20 distinct ones; ages are cut into bands of 20 years, other numbers of more
    than 5 distinct values into bands of a round width. Columns that say who somebody is are never used.
    """
    made, refused = [], {}
    for name in dict.fromkeys(names):
        reason = _why_not(manifest, name)
        if reason is None:
            groups = _groups(manifest[name])
            if groups.drop_nulls().n_unique() > MOST_GROUPS:
                reason = f"more than {MOST_GROUPS} groups"
            else:
                made.append(groups.alias(SUBGROUP + name))
        if reason is not None:
            refused[name] = reason
    return manifest.select("image_id").with_columns(made), refused


def subgroup_notes(manifest: pl.DataFrame, names: Sequence[str]) -> list[str]:
    """One sentence for every column that records do not carry."""
    _, refused = subgroup_columns(manifest, names)
    return [f"Subgroup {name} is not in the records: {why}." for name, why in refused.items()]


def _why_not(manifest: pl.DataFrame, name: str) -> str | None:
    if name not in manifest.columns:
        return "not a column of the prepared cohort (`carry:` takes it along)"
    if is_id(name):
        return "its name says that it holds identifiers"
    _, reasons = allowed_columns(manifest.select(name), [manifest["patient_id"]], named=[name])
    return reasons.get(name)


def _groups(column: pl.Series) -> pl.Series:
    """The column as text, numbers in bands."""
    if not column.dtype.is_numeric():
        return column.cast(pl.String).str.strip_chars().replace("", None)
    known = column.cast(pl.Float64).fill_nan(None)
    plain = column.name.strip().lower().replace(" ", "_")
    if plain in AGES:
        return _banded(known, AGE_BAND)
    if known.drop_nulls().n_unique() <= FEW_NUMBERS:
        return known.map_elements(lambda value: f"{value:g}", return_dtype=pl.String)
    return _banded(known, _round_width(known))


def _round_width(values: pl.Series) -> float:
    """1, 2 or 5 times a power of ten that cuts the range of the values into about five bands."""
    wanted = (float(values.max()) - float(values.min())) / BANDS  # type: ignore[arg-type]
    power = 10.0 ** np.floor(np.log10(wanted))
    return float(power * next(m for m in (1, 2, 5, 10) if m * power >= wanted * (1 - 1e-9)))


def _banded(values: pl.Series, width: float) -> pl.Series:
    """ "40 to < 60" for 55 at a width of 20."""

    def band(value: float) -> str:
        low = np.floor(value / width) * width
        return f"{low:g} to < {low + width:g}"

    return values.map_elements(band, return_dtype=pl.String)
