"""The small words of a study file: rules over columns, names, paths inside the data folder."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from advassay.spec.base_model import Frozen

Scalar = str | int | float | bool


class Condition(Frozen):
    """A rule about one column. All given parts must hold; a missing value never matches.

    Written short: `label: tb` is `{in: [tb]}`, `label: [a, b]` is `{in: [a, b]}`.
    """

    in_: tuple[Scalar, ...] | None = Field(None, alias="in")
    """Values accepted; numbers and texts compare as such ("5" is not 5)."""
    not_in: tuple[Scalar, ...] | None = None
    range: tuple[float, float] | None = None
    """Lowest and highest number accepted, both included."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return value
        return {"in": value if isinstance(value, list | tuple) else [value]}

    @field_validator("range")
    @classmethod
    def _ordered(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and value[0] > value[1]:
            raise ValueError(f"range: [lowest, highest], got [{value[0]:g}, {value[1]:g}]")
        return value


Rules = dict[str, Condition]
"""Column name → condition; all must hold."""

_FORBIDDEN_PARTS = {".."}


def _inside(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a path written as text, got {value!r}")
    if _FORBIDDEN_PARTS & set(PurePath(value).parts):
        raise ValueError(f"must stay inside the data folder (no '..'), got {value!r}")
    return value


DataPath = Annotated[str, BeforeValidator(_inside)]


def _with_group(value: str) -> str:
    try:
        groups = re.compile(value).groups
    except re.error as error:
        raise ValueError(f"patient_pattern: expected a regular expression, got {value!r} ({error})") from None
    if groups < 1:
        raise ValueError(f"patient_pattern: expected a group in parentheses, got {value!r}")
    return value


PatientPattern = Annotated[str, AfterValidator(_with_group)]
"""Regular expression whose first group is the patient."""

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


def _name(value: str) -> str:
    if not re.fullmatch(NAME[1:-1], value):
        raise ValueError(f"a name is letters, digits, '.', '_', '-', the first a letter or digit, got {value!r}")
    return value


Name = Annotated[str, AfterValidator(_name)]
"""Of cohorts, sources and arms: names of folders in the store, so no spaces, separators or leading dots."""
