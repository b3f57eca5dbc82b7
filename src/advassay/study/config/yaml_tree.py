"""YAML text → plain data, keeping where each value stands, so that an error can name its line.

Scalars follow the YAML 1.2 core schema: `no`, `off`, `010` and `2020-01-01` stay what they look like (texts and
the number 10), and `1e-4` is a number. A key given twice is an error rather than a silent overwrite.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from advassay.errors import SpecError
from advassay.yaml_limits import compose_limited, load_limited

Loc = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """SafeLoader with the YAML 1.2 core schema's scalars."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes every text which YAML 1.1 or our loader would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^[-+]?[0-9]+$", list("-+0123456789")),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", list("-+.0123456789")),
    ("merge", r"^(?:<<)$", ["<"]),
):
    for _one in (_Loader, _Dumper):
        _one.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


def _int(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(node.value)  # decimal even with leading zeros, unlike YAML 1.1


_Loader.add_constructor("tag:yaml.org,2002:int", _int)


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = '"' if "\x85" in text else None  # written bare it would be read back as a line break
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def yaml_text(value: Any) -> str:
    """Plain data as YAML that this program and any YAML 1.1 reader read back equal.

    >>> print(yaml_text({"in": ["08", "1e5", "no", 8]}), end="")
    in:
    - '08'
    - '1e5'
    - 'no'
    - 8
    """
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def parse_value(text: str) -> Any:
    """One value written as YAML, such as `[0.02, 0.2]`. Raises SpecError where it is not YAML.

    >>> parse_value("[0.02, 5/255, off]")
    [0.02, '5/255', 'off']
    """
    try:
        return load_limited(text, _Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise SpecError(
            f"value: must be YAML, got {text!r} ({_first_line(error)}).", "Quote it for the shell."
        ) from None


class YamlTree:
    """A YAML document as data and as nodes with positions."""

    def __init__(self, text: str, name: str) -> None:
        """`name` is the file's name as errors print it. Raises SpecError for YAML that cannot be read."""
        self.name = name
        try:
            self.root = compose_limited(text, _Loader)
            self.data = load_limited(text, _Loader)  # from nodes of its own: making data writes merges into them
        except (yaml.YAMLError, ValueError) as error:
            raise SpecError(f"{name}{_mark(error)}: not readable as YAML: {_first_line(error)}.") from None
        self._refuse_duplicate_keys()

    def line(self, loc: Sequence[str | int]) -> int | None:
        """Line (from 1) of the deepest part of `loc` that stands in the file, None for an empty file."""
        node, line = self.root, None if self.root is None else self.root.start_mark.line + 1
        for part in loc:
            found = _child(node, part)
            if found is None:
                break
            node, line = found[1], found[0].start_mark.line + 1
        return line

    def _refuse_duplicate_keys(self) -> None:
        for mapping in _mappings(self.root):
            seen: dict[str, int] = {}
            for key, _ in mapping.value:
                line = key.start_mark.line + 1
                if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                    raise SpecError(
                        f"{self.name}:{line}: {key.value}: each key once, it also stands in line {seen[key.value]}.",
                        "Remove one of the two.",
                    )
                seen[str(key.value)] = line


def _mappings(root: yaml.Node | None) -> Iterator[yaml.MappingNode]:
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            yield node
            waiting += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def _child(node: yaml.Node | None, part: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """(node that names the part, node of its value)."""
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    if not isinstance(node, yaml.MappingNode):
        return None
    for key, value in node.value:
        if key.value == str(part):
            return key, value
    for key, value in node.value:
        if key.tag == "tag:yaml.org,2002:merge":
            for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if found := _child(merged, part):
                    return found
    return None


def _mark(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f":{mark.line + 1}" if mark else ""


def _first_line(error: Exception) -> str:
    problem = getattr(error, "problem", None) or str(error)
    return str(problem).splitlines()[0]
