"""`--set PATH=VALUE`: change one value of a study file before it is checked."""

from __future__ import annotations

import difflib
import os
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from advassay.errors import SpecError
from advassay.spec.attack_spec import Arm
from advassay.spec.source_spec import SpecOfKind
from advassay.spec.study_spec import AttackSpec, Study
from advassay.study.config.yaml_tree import Loc, parse_value


def apply_overrides(data: Any, overrides: Sequence[str]) -> tuple[Any, dict[Loc, str]]:
    """A copy of `data` with each "PATH=VALUE" in place, and where each one landed (for error messages).

    PATH is dotted (`attack.steps`, `cohorts.X-TB.per_class`); VALUE is YAML. Values may be set on fields the file
    leaves out; names of cohorts, sources and arms must stand in the file. A relative `archive` starts from the current
    folder. Raises SpecError for a malformed override or an unknown path, naming close matches.

    >>> apply_overrides({"attack": {"steps": 20}}, ["attack.steps=5"])
    ({'attack': {'steps': 5}}, {('attack', 'steps'): 'attack.steps=5'})
    """
    data, landed = _unshared(data), {}
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals or not path.strip():
            raise SpecError(f"--set: expected PATH=VALUE, got {override!r}.", "For example --set attack.steps=5.")
        loc = _resolve(path.strip(), data)
        value = _value(text, override)
        if loc == ("archive",) and isinstance(value, str):
            value = os.path.abspath(value)  # typed in a shell, so it starts where the shell is
        _put(data, loc, value, override)
        landed[loc] = override
    return data, landed


def _value(text: str, override: str) -> Any:
    try:
        return parse_value(text)
    except SpecError as error:
        raise SpecError(f"--set {override}: {error.problem}", error.fix) from None


def _unshared(value: Any) -> Any:
    """A copy in which YAML aliases no longer share one object, so that a change stays where it was asked for."""
    if isinstance(value, dict):
        return {key: _unshared(item) for key, item in value.items()}
    return [_unshared(item) for item in value] if isinstance(value, list) else value


def _put(data: Any, loc: Loc, value: Any, override: str) -> None:
    for part in loc[:-1]:
        if isinstance(data, dict) and data.get(part) is None:
            data[part] = {}
        data = data[part]
    if not isinstance(data, dict | list):
        raise SpecError(f"--set {override}: {'.'.join(map(str, loc[:-1]))} holds a value, not fields, got {data!r}.")
    data[loc[-1]] = value  # type: ignore[index]


def _resolve(path: str, data: Any) -> Loc:
    """The path as keys. Keys may hold dots themselves: the longest known key wins."""
    loc: list[str | int] = []
    rest, kind = path.split("."), Study
    while rest:
        part, used = _next_part(rest, data, kind)
        if part is None:
            raise _unknown(path, ".".join(rest), loc, data, kind)
        loc.append(part)
        rest = rest[used:]
        kind = _kind_at(kind, part)
        data = _step(data, part)
    return tuple(loc)


def _next_part(rest: list[str], data: Any, kind: Any) -> tuple[str | int | None, int]:
    if isinstance(data, list):
        inside = rest[0].isdigit() and int(rest[0]) < len(data)
        return (int(rest[0]), 1) if inside else (None, 0)
    known = set(_known(data, kind))
    for used in range(len(rest), 0, -1):
        if ".".join(rest[:used]) in known:
            return ".".join(rest[:used]), used
    free = len(rest) == 1 and _mapping_value(kind) is not None  # a new class, column, arm …
    return (rest[0], 1) if free else (None, 0)


def _known(data: Any, kind: Any) -> Iterator[str]:
    """Keys that may stand here: those in the file and the fields of the models the file may mean."""
    if isinstance(data, dict):
        yield from map(str, data)
    for model in _meant(kind, data):
        yield from (field.alias or name for name, field in model.model_fields.items())


def fields_at(loc: Loc, data: Any) -> list[str]:
    """Names that may stand under `loc` of a study written as `data`."""
    kind: Any = Study
    for part in loc:
        kind, data = _kind_at(kind, part), _step(data, part)
    return sorted({field.alias or name for model in _meant(kind, data) for name, field in model.model_fields.items()})


def _models(kind: Any) -> list[type[BaseModel]]:
    """The models among the alternatives of an annotation."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    if get_origin(kind) in (Annotated, Union, types.UnionType):
        parts = get_args(kind)
        if get_origin(kind) is Annotated:
            parts = next((mark.specs() for mark in parts if isinstance(mark, SpecOfKind)), parts[:1])
        return [model for part in parts for model in _models(part)]
    return []


def _meant(kind: Any, data: Any) -> list[type[BaseModel]]:
    """The models that `data` may mean: of several sources, the one whose `kind` it states."""
    models, stated = _models(kind), data.get("kind") if isinstance(data, dict) else None
    stating = [m for m in models if "kind" in m.model_fields and stated in get_args(m.model_fields["kind"].annotation)]
    return stating or models


def _mapping_value(kind: Any) -> Any:
    """V of dict[str, V] among the alternatives of an annotation, or None."""
    if get_origin(kind) is dict:
        return get_args(kind)[1]
    if get_origin(kind) in (Annotated, Union, types.UnionType):
        return next((v for part in get_args(kind) if (v := _mapping_value(part)) is not None), None)
    return None


_WRITTEN_AS_DIFFERENCES: dict[tuple[type[BaseModel], str], Any] = {
    (AttackSpec, "arms"): dict[str, Arm]
}  # arms hold fields of Arm, checked when merged


def _kind_at(kind: Any, part: str | int) -> Any:
    """The annotation of what stands under `part`."""
    for model in _models(kind):
        for name, field in model.model_fields.items():
            if part in (name, field.alias):
                hint = typing.get_type_hints(model, include_extras=True)[name]
                return _WRITTEN_AS_DIFFERENCES.get((model, name), hint)
    return _mapping_value(kind)


def _step(data: Any, part: str | int) -> Any:
    if isinstance(data, dict):
        return data.get(part)
    return data[part] if isinstance(data, list) and isinstance(part, int) and part < len(data) else None


def _unknown(path: str, rest: str, loc: list[str | int], data: Any, kind: Any) -> SpecError:
    known = sorted(set(_known(data, kind)))
    close = difflib.get_close_matches(rest.split(".")[0], known, n=3, cutoff=0.5) or known[:12]
    here = ".".join(map(str, loc)) or "the study"
    names = ", ".join(close) if close else "no fields"
    return SpecError(
        f"--set {path}: {rest.split('.')[0]!r} is not a part of {here}.",
        f"Close matches: {names}." if close else f"{here} has {names}.",
    )
