"""Which columns of a source may travel with its images: the one rule, and it lets in rather than keeps out.

A prepared cohort is what people copy around. A list of dangerous names is never complete (`operator`, `StudyDate`, …),
so only columns known to be harmless travel, and those that the study names.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import polars as pl

from advassay.identity import pseudonym
from advassay.sources.table_files import is_id

MEASURES = frozenset({"age", "patient_age", "width", "height", "pixel_spacing_mm", "window_center", "window_width"})
"""Numbers that may differ from image to image."""

CATEGORIES = frozenset(
    (
        *("sex", "gender", "patient_sex", "patient_gender", "view", "view_position", "projection", "laterality"),
        *("presentation_intent", "image_kind", "derivation", "orientation"),
        *("modality", "body_part", "body_part_examined", "organ", "tissue", "stain", "magnification", "split"),
        *("label", "class", "category", "diagnosis", "target", "finding", "findings", "subtype", "grade"),
        *("norm", "pneumosclerosis", "emphysema", "fibrosis", "pneumonia", "focal_shadows", "bronchitis"),
        *("tuberculosis", "aortic_rotation", "report"),  # what phantoms and read reports state
    )
)
"""Columns that travel as long as they hold a few short values."""

PSEUDONYMS = frozenset({"slide_id"})
"""Ids that travel as keyed hashes: tiles of one slide stay recognisable as such."""

MOST_VALUES = 40
LONGEST_VALUE = 60
_TELLING = re.compile(
    r"(^|_)(\w*name|birth\w*|dob|date|path|file\w*|address|phone|email|accession\w*|mrn|ssn|operator)(_|$)"
)
_PERSON = re.compile(
    r"(^|_)(name|(patients?|persons?|first|last|family|given|middle|full|sur|physicians?|doctors?|operators?)_?name|"
    r"\w*birth\w*|dob|address|phone|email|mrn|ssn|geburt\w*|nombre|apellidos?|\w*nacimiento|фио|имя|фамилия|"
    r"\w*рожд\w*)(_|$)"
)
"""Names of columns that say who somebody is: never carried, whoever asks."""
_DATE = r"^\s*(\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./](\d{2}|\d{4}))\b"
_FILE_NAME = r"(?i)\.(png|jpe?g|tiff?|dcm|svs|ndpi|bmp|npy)$"


def allowed_columns(
    rows: pl.DataFrame,
    patients: Sequence[pl.Series],
    *,
    patient_columns: Collection[str] = (),
    named: Collection[str] = (),
    asked: Collection[str] = (),
) -> tuple[list[str], dict[str, str]]:
    """Columns of `rows` that may travel, and why each other one stays.

    `patients`: original ids of each row (text or null). `patient_columns`: never travel. `named`: columns the cohort's
    rules use; they travel where they hold numbers or a few short values and no date or person by their name.
    `asked`: columns asked for by name (`carry`); of these only what repeats a patient's id, is named for a person or a
    birth, or holds long texts (reports) is refused.

    >>> rows = pl.DataFrame({"age": [40, 50], "operator": ["A", "B"]})
    >>> allowed_columns(rows, [pl.Series(["P1", "P2"])])
    (['age'], {'operator': 'not a column known to be harmless'})
    """
    reasons = {
        name: _why_not(rows[name], patients, name in named, name in asked)
        for name in rows.columns
        if name not in patient_columns and name not in ("row", "path", "original_patient", "image_type")
    }
    carried = [name for name, reason in reasons.items() if reason is None]
    return carried, {name: reason for name, reason in reasons.items() if reason is not None}


def with_pseudonyms(frame: pl.DataFrame, key: bytes) -> pl.DataFrame:
    """`frame` with every id column (slide, series, group: they often contain the patient's) as keyed hashes."""
    return frame.with_columns(
        pl.col(name).cast(pl.String).map_elements(lambda value: pseudonym(key, value), return_dtype=pl.String)
        for name in frame.columns
        if is_id(name)
    )


def short_values(column: pl.Series) -> bool:
    """Whether `column` holds numbers, truth values or a few short texts, which may be shown and printed."""
    if column.dtype == pl.Boolean or column.dtype.is_numeric() or column.dtype == pl.Null:
        return True
    return column.dtype in (pl.String, pl.Categorical, pl.Enum) and _few(column.cast(pl.String).drop_nulls())


def _why_not(column: pl.Series, patients: Sequence[pl.Series], named: bool, asked: bool) -> str | None:
    name = _plain(column.name)
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
        return "not a number or a text"
    if any(_repeats(column, ids) for ids in patients):
        return "repeats an original patient id"
    if _PERSON.search(name):
        return "its name says who somebody is"
    if asked and not is_id(column.name) and _longest(column) > LONGEST_VALUE:
        return f"texts of more than {LONGEST_VALUE} characters"
    if asked or name in PSEUDONYMS or (named and is_id(column.name)):
        return None
    if not (named or name in MEASURES or name in CATEGORIES):
        return "not a column known to be harmless"
    if column.dtype.is_temporal() or (column.dtype == pl.String and bool(column.str.contains(_DATE).any())):
        return "dates"
    if _TELLING.search(name):
        return "its name suggests a person, a date or a file"
    if not short_values(column):
        return "not numbers or a few short values"
    if column.n_unique() > MOST_VALUES and not (named or name in MEASURES):
        return "more values than a category has"
    return None


def _plain(name: str) -> str:
    """Lower case with underscores: "Patient Age" and "PatientAge" are patient_age."""
    return re.sub(r"\W+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip())).lower()


def _repeats(column: pl.Series, ids: pl.Series) -> bool:
    equal = (column.cast(pl.String) == ids.cast(pl.String)).fill_null(False)
    if column.dtype == pl.String:
        return bool(equal.any())
    return int(equal.sum()) > 0.5 * column.len()  # an age may equal an id


def _longest(column: pl.Series) -> int:
    """Characters of the longest text; 0 where there is none."""
    if column.dtype not in (pl.String, pl.Categorical, pl.Enum):
        return 0
    return int(column.cast(pl.String).str.len_chars().fill_null(0).max() or 0)  # type: ignore[arg-type]


def _few(values: pl.Series) -> bool:
    if values.is_empty():
        return True
    return (
        values.n_unique() <= MOST_VALUES
        and _longest(values) <= LONGEST_VALUE
        and not values.str.contains(_FILE_NAME).any()
    )
