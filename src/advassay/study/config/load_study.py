"""A study file → Study. Every mistake is named by file, line, field, rule and value."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from advassay.errors import AdvassayWarning, SpecError
from advassay.spec.attack_spec import Arm
from advassay.spec.study_spec import AUTO, Study
from advassay.study.config.overrides import apply_overrides, fields_at
from advassay.study.config.scaling import on_phantoms, scaled
from advassay.study.config.yaml_tree import Loc, YamlTree
from advassay.yaml_limits import MAX_BYTES

SHOWN = 10  # mistakes listed at once


def load_study(path: Path | str, *, overrides: Sequence[str] = (), scale: float = 1.0, phantoms: bool = False) -> Study:
    """The study in a YAML file.

    `overrides`: "PATH=VALUE" texts, applied before the study is checked; `phantoms`: put each cohort's `phantom`
    block in place of its source; `scale`: multiply the numbers of images, see `scaling.scaled`.
    Raises SpecError for a file that cannot be read or a study that breaks a rule.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode("utf-8", "replace" if len(data) > MAX_BYTES else "strict")
    except OSError as error:
        raise SpecError(
            f"study: no such file: {path}."
            if isinstance(error, FileNotFoundError)
            else f"study: expected a readable YAML file, got {path} ({error.strerror}).",
            "Check the path.",
        ) from None
    except ValueError:
        raise SpecError(
            f"study: expected a readable YAML file, got {path} (it is not UTF-8).", "Save it as UTF-8."
        ) from None
    study = parse_study(text, name=str(path), overrides=overrides)
    study = on_phantoms(study) if phantoms else study
    return scaled(study, scale)


def parse_study(text: str, *, name: str = "study", overrides: Sequence[str] = ()) -> Study:
    """The study in a YAML text; `name` stands for the file in errors. Raises SpecError.

    >>> parse_study("name: s\\ntraining: {updates: 0}", name="s.yaml")
    Traceback (most recent call last):
    advassay.errors.SpecError: s.yaml:1: cohorts: this field is needed.
    s.yaml:2: training.updates: Input should be greater than or equal to 1, got 0. Correct the file; \
`advassay schema` prints every field with its meaning.
    """
    tree = YamlTree(text, name)
    if not isinstance(tree.data, dict):
        raise SpecError(
            f"{name}: a study is a mapping of fields, got {type(tree.data).__name__}.", "See `advassay init`."
        )
    data, landed = apply_overrides(tree.data, overrides)
    mistakes = _arm_mistakes(data)
    try:
        study = Study.model_validate(data)
    except ValidationError as error:
        mistakes += [
            (_existing(e["loc"], data, e["type"] == "missing"), e)
            for e in error.errors()
            if not (mistakes and _told_by_arms(e))
        ]
    if mistakes := _without_echoes(mistakes):
        raise SpecError(
            "\n".join(_report(tree, landed, mistakes, data)),
            f"Correct {_culprits(landed, mistakes)}; `advassay schema` prints every field with its meaning.",
        )
    _tell_shadowed(study, landed)
    return study


def _tell_shadowed(study: Study, landed: Mapping[Loc, str]) -> None:
    """Say which arms an override of the shared attack section does not reach, because they state the field."""
    for loc, override in landed.items():
        if len(loc) < 2 or loc[0] != "attack" or loc[1] not in Arm.model_fields:
            continue
        own = [name for name, arm in study.attack.arms.items() if loc[1] in arm]
        if own:
            warnings.warn(
                f"--set {override} does not reach arms that state {loc[1]} themselves: {', '.join(own)}; "
                f"change those with --set attack.arms.{own[0]}.{loc[1]}=…",
                AdvassayWarning,
                stacklevel=3,
            )


def _arm_mistakes(data: Mapping[str, Any]) -> list[tuple[Loc, Any]]:
    """Mistakes inside arms, which the study itself can only report as one text, at their own place."""
    attack = data.get("attack")
    arms = attack.get("arms") if isinstance(attack, dict) else None
    if not isinstance(attack, dict) or not isinstance(arms, dict):
        return []
    shared = {key: value for key, value in attack.items() if key in Arm.model_fields}
    found = []
    for name, arm in arms.items():
        if isinstance(arm, dict) and arm.get("epsilons") == AUTO:
            arm = {key: value for key, value in arm.items() if key != "epsilons"}
        try:
            Arm.model_validate(shared | arm if isinstance(arm, dict) else arm)
        except ValidationError as error:
            for mistake in error.errors():
                loc = mistake["loc"] or _field_in(mistake["msg"])
                own = not isinstance(arm, dict) or not loc or loc[0] in arm
                place = ("attack", "arms", name) if own else ("attack",)
                found.append((_existing((*place, *loc), data, missing=False), mistake))
    return found


def _field_in(message: str) -> Loc:
    """The field that a rule over several fields names first: "Value error, epsilon: a fraction …" is about epsilons."""
    word = message.removeprefix("Value error, ").partition(":")[0]
    return next(((name,) for name in (word, f"{word}s") if name in Arm.model_fields), ())


def _told_by_arms(mistake: Any) -> bool:
    """The study knows a mistake inside an arm only as one text about the whole attack."""
    return mistake["loc"] == ("attack",) and mistake["type"] == "value_error"


def _existing(loc: Sequence[Any], data: Any, missing: bool) -> Loc:
    """`loc` without the parts that name no key (pydantic's union tags), but with a missing field's name."""
    kept: list[str | int] = []
    for part in loc:
        if (isinstance(data, dict) and part in data) or (isinstance(data, list) and part in range(len(data))):
            kept, data = [*kept, part], data[part]
    return (*kept, loc[-1]) if missing else tuple(kept)


def _without_echoes(mistakes: Sequence[tuple[Loc, Any]]) -> list[tuple[Loc, Any]]:
    """Without "too few entries" of lists whose entries were refused one by one."""
    return [
        (loc, one)
        for loc, one in mistakes
        if one["type"] != "too_short" or not any(at != loc and at[: len(loc)] == loc for at, _ in mistakes)
    ]


def _report(tree: YamlTree, landed: Mapping[Loc, str], mistakes: Sequence[tuple[Loc, Any]], data: Any) -> list[str]:
    """One line a mistake, in the order of the file; the alternatives of one value share a line."""
    rules: dict[tuple[int, str, str], list[str]] = {}
    for loc, mistake in mistakes:
        override, beneath = _override(loc, landed), _beneath(loc, landed)
        line = tree.line(loc)
        where = f"--set {override}" if override else f"{tree.name}:{line}" if line else tree.name
        where += "".join(f" with --set {text}" for text in beneath)
        place = (0 if override else line or 0, where, ".".join(map(str, loc)) or "study")
        rules.setdefault(place, []).append(_rule(mistake, loc, data))
    lines = [
        f"{where}: {field}: {_alternatives(broken)}.".replace("?.", "?")
        for (_, where, field), broken in sorted(rules.items())
    ]
    return lines[:SHOWN] + ([f"… and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else [])


def _override(loc: Loc, landed: Mapping[Loc, str]) -> str | None:
    """The --set that put a value there; None where it stands in the file."""
    return next((text for at, text in landed.items() if loc[: len(at)] == at), None)


def _beneath(loc: Loc, landed: Mapping[Loc, str]) -> tuple[str, ...]:
    """Each --set below a place whose parts do not go together: one of them is likely why."""
    return tuple(text for at, text in landed.items() if len(at) > len(loc) and at[: len(loc)] == loc)


def _culprits(landed: Mapping[Loc, str], mistakes: Sequence[tuple[Loc, Any]]) -> str:
    """What to correct: the file, the --set that is wrong, or both."""
    found = [((text,) if (text := _override(loc, landed)) else _beneath(loc, landed)) for loc, _ in mistakes]
    overrides = dict.fromkeys(f"--set {text.partition('=')[0]}=…" for texts in found for text in texts)
    return " and ".join([*overrides, *(["the file"] if () in found else [])])


def _alternatives(broken: Sequence[str]) -> str:
    *others, last = dict.fromkeys(broken)
    return " or ".join([*(rule.rpartition(", got ")[0] or rule for rule in others), last])


def _rule(mistake: Any, loc: Loc, data: Any) -> str:
    """The rule broken and the value seen, in one clause."""
    if mistake["type"] == "missing":
        return "this field is needed"
    if mistake["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(loc[-1]), fields_at(loc[:-1], data), n=1)
        return f"no such field here, got {_short(mistake['input'])}" + (f"; did you mean {close[0]}?" if close else "")
    if mistake["type"] == "dict_type" and mistake["input"] is None:
        return "entries are needed here, none is written"
    if mistake["type"] == "tuple_type":
        return f"expected a list such as [1, 2], got {_short(mistake['input'])}"
    if mistake["type"] == "too_short":
        return f"expected {mistake['ctx']['min_length']} or more entries, got {mistake['ctx']['actual_length']}"
    message = mistake["msg"].removeprefix("Value error, ").rstrip(".")
    message = message.removeprefix(f"{loc[-1]}: ") if loc else message
    return message if "got" in message else f"{message}, got {_short(mistake['input'])}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
