"""What was set differently: the study files of several stores, resolved, and what made their records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from advassay.records.run_header import RunHeader
from advassay.spec.study_spec import Study

WORDS_ONLY = ("name", "title", "figures", "published", "phantom")
"""Keys of a study file, or of a cohort in it, that change no record of the study as it was run."""
ABSENT = "–"
NOT_SET = "none"


class ExecutionInfo(NamedTuple):
    """What is known of how a store was made."""

    study_text: str
    runs: Sequence[RunHeader]
    """Main networks' runs of the main arm."""


def differing(stores: Mapping[str, ExecutionInfo], cohorts: Sequence[str]) -> pl.DataFrame:
    """Columns: setting (dotted path), then one per store; rows whose values are not the same everywhere.

    Only what concerns the compared `cohorts`: the whole study's settings, theirs, and those of their sources, which
    stand under the cohort, so that sources of other names are comparable. A setting that a study does not have and one
    that is empty are alike.
    """
    flat = [dict(_set(made, cohorts)) for made in stores.values()]
    keys = _side_by_side(key for one in flat for key in one)
    rows = [
        {"setting": key} | {name: one.get(key, ABSENT) for name, one in zip(stores, flat, strict=True)}
        for key in keys
        if len({one.get(key, NOT_SET) for one in flat}) > 1
    ]
    return pl.DataFrame(rows, schema={"setting": pl.String} | dict.fromkeys(stores, pl.String))


def _side_by_side(keys: Iterable[str]) -> list[str]:
    """Each key once, those of one cohort or one part of the attack together.

    >>> _side_by_side(["attack.arms.A", "cohorts.X-TB.path", "attack.arms.B"])
    ['attack.arms.A', 'attack.arms.B', 'cohorts.X-TB.path']
    """
    groups: dict[tuple[str, ...], dict[str, None]] = {}
    for key in keys:
        groups.setdefault(tuple(key.split(".")[:2]), {})[key] = None
    return [key for group in groups.values() for key in group]


def _set(made: ExecutionInfo, cohorts: Sequence[str]) -> Iterator[tuple[str, str]]:
    yield from _flat(_concerning(_resolved(made.study_text), cohorts), "")
    for header in made.runs:
        if header.cohort in cohorts:
            where = f"recorded.{header.cohort}"
            yield f"{where}.cohort", header.cohort_identity or NOT_SET
            yield f"{where}.network", header.classifier
            yield f"{where}.images", str(header.images)
            if header.compute is not None:
                yield f"{where}.device", header.compute.device_name or header.compute.device


def _resolved(text: str) -> Any:
    """A study file with today's defaults filled in, so that two versions' files can be compared; else as it stands."""
    import yaml
    from pydantic import ValidationError

    content = yaml.safe_load(text) or {}
    try:
        return Study.model_validate(content).model_dump(mode="json", by_alias=True) if content else {}
    except ValidationError:
        return content


def _concerning(study: dict[str, Any], cohorts: Sequence[str]) -> dict[str, Any]:
    """The study without words and other cohorts, each source under its cohort."""
    declared, sources = study.get("cohorts") or {}, study.get("sources") or {}
    rest = {key: value for key, value in study.items() if key not in (*WORDS_ONLY, "cohorts", "sources")}
    own = {name: _of_cohort(declared[name], sources) for name in cohorts if name in declared}
    return rest | {"cohorts": own}


def _of_cohort(spec: dict[str, Any], sources: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in spec.items() if key not in WORDS_ONLY}
    source = spec.get("source")
    return kept | {"source": sources[source]} if source in sources else kept


def _flat(node: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from _flat(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, _told(node)


def _told(value: Any) -> str:
    """A value as readers write it.

    >>> [_told(value) for value in (None, [], True, 4.0, [17.0, 80.0], "squash")]
    ['none', 'none', 'yes', '4', '17, 80', 'squash']
    """
    if value is None or value in ({}, [], ""):
        return NOT_SET
    if isinstance(value, list):
        return ", ".join(map(_told, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
