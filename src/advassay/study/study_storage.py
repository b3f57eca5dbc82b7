"""STORE/study.yaml: the study that a store belongs to, as resolved."""

from __future__ import annotations

import warnings
from typing import Any

from pydantic import BaseModel

from advassay.checked_files import damaged, is_as_written, stamped
from advassay.errors import AdvassayWarning, DamagedError, SpecError, StoreError
from advassay.records import read_header
from advassay.records.store_reader import EDITED
from advassay.spec.study_spec import Study
from advassay.store_layout import HEADER, Store, writing
from advassay.study.config.load_study import load_study
from advassay.study.config.yaml_tree import yaml_text
from advassay.study.path_privacy import redact_paths


def store_study(store: Store, study: Study) -> None:
    """Write STORE/study.yaml as resolved. A changed study of the same name takes the old one's place.

    Of an absolute path only the last name is kept: a store is passed on, and its report shows the study.
    Raises StoreError where the store belongs to a study of another name.
    """
    if store.study.exists() and (held := _held_name(store)) not in (study.name, ""):
        raise StoreError(
            f"store: {store.root} holds the study {held!r}, got {study.name!r}.",
            f"Use another --store, or name the study {held!r} if it continues that one.",
        )
    text = stamped(study_yaml(redact_paths(study)))
    if not store.study.exists() or store.study.read_bytes() != text.encode():
        with writing(store.study) as beside:
            beside.write_text(text, encoding="utf-8")


def _held_name(store: Store) -> str:
    """Name of the study that the store belongs to; as its runs say it where study.yaml is damaged, "" where none do."""
    try:
        return stored_study(store).name
    except DamagedError as error:
        warnings.warn(f"{store.study.name} of the store could not be read and is written anew. {error.problem}",
                      AdvassayWarning, stacklevel=4)  # fmt: skip
    for path in sorted(store.records.glob(f"*/{HEADER}")):
        try:
            return read_header(path.parent).study
        except StoreError:
            continue
    return ""


def stored_study(store: Store) -> Study:
    """The study that the store holds. Raises StoreError where there is none, DamagedError where it cannot be read."""
    if not store.study.exists():
        raise StoreError(
            f"store: expected a folder with a study.yaml, got {store.root}.",
            "Give the folder that `advassay run STUDY --store` wrote.",
        )
    try:
        study = load_study(store.study)
    except SpecError as error:
        raise damaged(
            store.study, error.problem, "Run the study again with this --store: it is written anew."
        ) from None
    if is_as_written(store.study.read_text(encoding="utf-8")) is False:
        warnings.warn(EDITED, AdvassayWarning, stacklevel=2)
    return study


def study_yaml(study: Study) -> str:
    """The study as YAML with every default written out: what it says does not change with the program's defaults.

    Reading it back gives an equal study.
    """
    return yaml_text(_plain(study))


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        fields = {field.alias or name: (getattr(value, name), field.default) for name, field in _fields(value)}
        return {
            name: _plain(item) for name, (item, default) in fields.items() if not (item is None and default is None)
        }
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _fields(model: BaseModel) -> Any:
    return type(model).model_fields.items()
