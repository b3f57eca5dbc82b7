"""The small words of a study file: rules over columns, names, paths inside the data folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, field_validator, model_validator

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


class _FromDataFolder:
    """Mark of a field whose path starts from the data folder."""


DataPath = Annotated[str, BeforeValidator(_inside), _FromDataFolder]
"""A path relative to the data folder, or an absolute one; of that a store keeps only the last name."""
PathInSource = Annotated[str, BeforeValidator(_inside)]
"""A path relative to another of the same source."""


def last_name(path: str) -> str:
    """The last name of an absolute path; a relative one as it is.

    >>> last_name("/home/me/images"), last_name("archive/images")
    ('images', 'archive/images')
    """
    return PurePath(path).name if PurePath(path).is_absolute() else path


Model = TypeVar("Model", bound=BaseModel)


def map_data_paths(model: Model, change: Callable[[str], str]) -> Model:
    """`model` with `change` applied to the value of each DataPath, those of models inside it too."""
    hints = get_type_hints(type(model), include_extras=True)
    changes = {
        name: _changed(value, hints[name], change)
        for name in type(model).model_fields
        if (value := getattr(model, name)) is not None
    }
    return model.model_copy(update={name: new for name, new in changes.items() if new != getattr(model, name)})


def data_paths(model: BaseModel) -> list[str]:
    """The value of each DataPath that `map_data_paths` would change."""
    found: list[str] = []

    def note(path: str) -> str:
        found.append(path)
        return path

    map_data_paths(model, note)
    return found


def _changed(value: Any, hint: Any, change: Callable[[str], str]) -> Any:
    """A field's value with its paths changed; `hint` is the field's annotation."""
    if isinstance(value, BaseModel):
        return map_data_paths(value, change)
    if isinstance(value, Mapping):
        return {key: _changed(item, hint, change) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_changed(item, hint, change) for item in value)
    return change(value) if isinstance(value, str) and _is_data_path(hint) else value


def _is_data_path(hint: Any) -> bool:
    """Whether an annotation is DataPath, or has it among its alternatives or as what a container holds."""
    return hint is _FromDataFolder or any(_is_data_path(part) for part in get_args(hint))


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
