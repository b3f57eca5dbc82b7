"""YAML of bounded size: a few hundred bytes of aliases can stand for more values than a machine holds."""

from __future__ import annotations

from functools import cache
from typing import Any

import yaml

MAX_BYTES = 256 * 1024
"""Of the text: some hundred times a study, and read in a few seconds."""
MAX_VALUES = 100_000
"""Values of the document with every alias written out, in place of which YAML lets one stand for many."""


class YamlRefused(yaml.YAMLError):
    """YAML that could be read, but stands for too much; `problem` says which rule it breaks."""

    def __init__(self, problem: str, mark: Any = None) -> None:
        super().__init__(problem)
        self.problem, self.problem_mark = problem, mark


def compose_limited(text: str, loader: Any) -> yaml.Node | None:
    """The document's nodes, None for an empty one.

    Raises YamlRefused for a text that is too long, aliases that stand for too much or for themselves, and nesting that
    is too deep; yaml.YAMLError for a text that is no YAML.
    """
    if len(text) > MAX_BYTES:
        raise YamlRefused(f"at most {MAX_BYTES // 1024} KiB of YAML can be read, got {len(text) // 1024} KiB")
    try:
        root = yaml.compose(text, loader)
        if root is not None:
            _count(root, {}, set())
    except RecursionError:
        raise YamlRefused("it is nested too deep") from None
    return root


def construct(node: yaml.Node | None, loader: Any) -> Any:
    """Plain data of composed nodes, None for an empty document. Raises yaml.YAMLError.

    A value that its tag does not fit (`!!timestamp x`, `!!bool x`, `!!float ""`, a date that is none, a number that is
    too long) is refused with its place.
    """
    if node is None:
        return None
    making = _Placing.over(loader)("")
    try:
        return making.construct_document(node)
    except RecursionError:
        raise YamlRefused("it is nested too deep") from None
    finally:
        making.dispose()


class _Placing:
    """Mixed into a loader: errors of its constructors, whatever they are, become YamlRefused with the value's place."""

    @staticmethod
    @cache
    def over(loader: Any) -> Any:
        """The loader with this class before it."""
        return type(f"Placing{loader.__name__}", (_Placing, loader), {})

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)  # type: ignore[misc]
        except (yaml.YAMLError, RecursionError):
            raise
        except (AttributeError, KeyError, IndexError, TypeError, ValueError, OverflowError):
            kind = (node.tag or "").rpartition(":")[2]
            raise YamlRefused(f"a value of kind {kind} is needed, it is none", node.start_mark) from None


def load_limited(text: str, loader: Any) -> Any:
    """Plain data of a YAML text, like yaml.load, within the limits above."""
    return construct(compose_limited(text, loader), loader)


def _count(node: yaml.Node, known: dict[int, int], inside: set[int]) -> int:
    """Values that a node stands for, aliases written out; `inside`: nodes that contain it."""
    if id(node) in known:
        return known[id(node)]
    if id(node) in inside:
        raise YamlRefused("an alias must not stand for what contains it", node.start_mark)
    inside.add(id(node))
    values = 1
    if isinstance(node, yaml.SequenceNode):
        values += sum(_count(item, known, inside) for item in node.value)
    elif isinstance(node, yaml.MappingNode):
        values += sum(_count(part, known, inside) for pair in node.value for part in pair)
    if values > MAX_VALUES:
        raise YamlRefused(f"it stands for more than {MAX_VALUES:,} values, aliases written out", node.start_mark)
    inside.discard(id(node))
    known[id(node)] = values
    return values
