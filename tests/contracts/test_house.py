"""The tree can be walked: nothing imports in a circle, and few files share a name or hold next to nothing."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import advassay

PACKAGE = Path(advassay.__file__).parent
FILES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
MOST_REPEATED_NAMES = 8
MOST_SMALL_FILES = 45
SMALL_LINES = 60


def dotted(path: Path) -> str:
    parts = ["advassay", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_for_types_alone(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(node: ast.AST) -> Iterator[tuple[str, str | None]]:
    """(module, name) of each import that can run, at any depth; what only a type checker sees is left out."""
    for inner in ast.iter_child_nodes(node):
        if is_for_types_alone(inner):
            continue
        if isinstance(inner, ast.Import):
            yield from ((alias.name, None) for alias in inner.names)
        elif isinstance(inner, ast.ImportFrom) and inner.module:
            yield from ((inner.module, alias.name) for alias in inner.names)
        yield from imports(inner)


def import_graph() -> dict[str, set[str]]:
    modules = {dotted(path): path for path in FILES.values()}
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        found = imports(ast.parse(path.read_text()))
        named = {f"{base}.{name}" if f"{base}.{name}" in modules else base for base, name in found}
        graph[module] = {name for name in named if name in modules and name != module}
    return graph


def circles(graph: dict[str, set[str]]) -> list[str]:
    """Modules that are part of a circle: what remains when those without imports are taken away, again and again."""
    left = {module: set(needs) for module, needs in graph.items()}
    while free := {module for module, needs in left.items() if not needs & left.keys()}:
        left = {module: needs for module, needs in left.items() if module not in free}
    while unasked := left.keys() - {need for needs in left.values() for need in needs}:
        left = {module: needs for module, needs in left.items() if module not in unasked}
    return sorted(left)


def test_a_circle_of_imports_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}, "e": set()}) == ["b", "c"]


def test_no_module_imports_itself_through_others() -> None:
    assert circles(import_graph()) == []


def test_few_files_share_a_name() -> None:
    names = Counter(path.name for path in FILES.values() if not path.name.startswith("__"))
    repeated = sorted(name for name, count in names.items() if count > 1)
    assert len(repeated) <= MOST_REPEATED_NAMES, repeated


def test_few_files_hold_next_to_nothing() -> None:
    small = [name for name, path in FILES.items() if path.name != "__init__.py" and lines(path) < SMALL_LINES]
    assert len(small) <= MOST_SMALL_FILES, small


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_errors_say_what_was_expected_in_one_form() -> None:
    """“expected X, got Y”, not “X is needed, got Y”."""
    assert [name for name, path in FILES.items() if "needed, got" in path.read_text()] == []
