"""Registries: the parts of one kind that can be chosen by name, each registered in its own file.

A registry knows where its built-in parts are: in the modules of one package, which register them when they are
imported. No list of names exists beside these modules. Another distribution registers through an entry point of the
registry's group, whose name is the part's name and whose object is the part:

    [project.entry-points."advassay.update_rules"]
    heavy-ball = "my_package.heavy_ball:HEAVY_BALL"

Nothing is imported before a registry is asked. Built-in modules are imported together; a part of another distribution
is imported when it is asked for by name, so a broken one disturbs nobody who does not use it.

>>> @dataclass(frozen=True)
... class Colour:
...     name: str
...     hue: float
>>> colours = Registry("colour", Colour)
>>> colours.register(Colour("red", 0.0)).hue, colours.names(), "blue" in colours
(0.0, ('red',), False)
>>> colours.get("rod")
Traceback (most recent call last):
advassay.errors.SpecError: colour: expected one of red, got 'rod'. Did you mean red? Use a registered name.
"""

from __future__ import annotations

import difflib
import inspect
import pkgutil
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from advassay.errors import AdvassayError, ExtensionError, SpecError

Part = TypeVar("Part")


class Registry(Generic[Part]):
    """The parts of one kind by name.

    kind    what a part is called in messages, such as "update rule"
    base    class that every part is an instance of; what it annotates without a value, each part must have
    package package whose modules register the built-in parts when they are imported; None = there are none
    group   entry-point group through which other distributions register parts; None = they cannot
    error   error of our tree that `get` raises for a name that is not registered
    """

    def __init__(
        self,
        kind: str,
        base: type[Part],
        *,
        package: str | None = None,
        group: str | None = None,
        error: type[AdvassayError] = SpecError,
    ) -> None:
        self.kind, self.base, self.package, self.group, self.error = kind, base, package, group, error
        self._parts: dict[str, Part] = {}
        self._homes: dict[str, str] = {}  # name → module that registered it
        self._entry_points: dict[str, EntryPoint] = {}
        self._discovered = False
        # Never held while something is imported: another thread may hold that module's own lock, and register.
        self._lock = threading.Lock()

    def register(self, part: Part) -> Part:
        """Add a part under its `name`; returns it, so that a file can keep it: RED = COLOURS.register(Colour(…)).

        Raises ExtensionError for a part that is no instance of `base`, is incomplete, or has the name of another one.
        """
        return self._add(part, sys._getframe(1).f_globals.get("__name__", "?"))

    def _add(self, part: Part, home: str) -> Part:
        """Register a part of the module `home`."""
        self._check(part)
        name: str = part.name  # type: ignore[attr-defined]
        with self._lock:
            point = self._entry_points.get(name)
            other = self._homes.get(name)
            if other is None and point is not None and point.module != home:
                other = _distribution(point)
            if other is not None and self._parts.get(name) is not part:
                raise self._twice(name, other, home)
            self._parts[name], self._homes[name] = part, self._homes.get(name, home)
        return part

    def _twice(self, name: str, first: str, second: str) -> ExtensionError:
        """The error for a name that two parts have."""
        return ExtensionError(
            f"{self.kind}: {name!r} is registered twice, by {first} and by {second}.",
            "Rename one of them, or uninstall the package that it is from.",
        )

    def names(self) -> tuple[str, ...]:
        """Every registered name, sorted. Parts of other distributions are listed without being imported."""
        self._discover()
        return tuple(sorted({*self._parts, *self._entry_points}))

    def get(self, name: str) -> Part:
        """The part called `name`. Raises `error` where there is none, ExtensionError where it cannot be used."""
        found = self.find(name)
        if found is None:
            raise self.error(self.refusal(name), self.advice())
        return found

    def find(self, name: object) -> Part | None:
        """The part called `name`; None where there is none. Raises ExtensionError where it cannot be used."""
        self._discover()
        if not isinstance(name, str):
            return None
        if name not in self._parts and name in self._entry_points:
            self._load(self._entry_points[name])
        return self._parts.get(name)

    def parts(self) -> tuple[Part, ...]:
        """Every part, in the order of `names`; those of other distributions are imported."""
        return tuple(self.get(name) for name in self.names())

    def refusal(self, name: object) -> str:
        """What is wrong with a name that is not registered: what is, the value seen, the name it may stand for."""
        names = self.names()
        close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
        hint = f" Did you mean {close[0]}?" if close else ""
        if not names:
            return f"{self.kind}: nothing is registered, got {name!r}."
        return f"{self.kind}: expected one of {', '.join(names)}, got {name!r}.{hint}"

    def advice(self) -> str:
        """What to do about a name that is not registered."""
        if self.group is None:
            return "Use a registered name."
        return f"Use a registered name, or install the package that registers it (entry points, group {self.group!r})."

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def __repr__(self) -> str:
        """A summary that imports nothing."""
        known = ", ".join(sorted(self._parts)) or "nothing imported yet"
        return f"Registry({self.kind}: {known})"

    def _discover(self) -> None:
        """Import the built-in modules, and read which entry points there are; once."""
        if self._discovered:
            return
        if self.package is not None:
            # By name and not by import: the registry belongs to the words, its parts to a room that imports the words.
            folder = import_module(self.package)
            for module in pkgutil.iter_modules(folder.__path__):
                import_module(f"{self.package}.{module.name}")
        points: dict[str, EntryPoint] = {}
        for point in entry_points(group=self.group) if self.group is not None else ():
            other = points.get(point.name)
            if other is not None and other.value != point.value:
                raise self._twice(point.name, _distribution(other), _distribution(point))
            if point.name in self._parts and self._homes[point.name] != point.module:
                raise self._twice(point.name, self._homes[point.name], _distribution(point))
            points[point.name] = point
        with self._lock:
            # Only now: a module that failed to import must fail again, not leave half a registry behind.
            self._entry_points, self._discovered = points, True

    def _load(self, point: EntryPoint) -> None:
        """Import and register the part of an entry point."""
        where = f"{self.kind}: {point.name!r} of {_distribution(point)}"
        try:
            part = point.load()
        except ExtensionError:  # its module registers the part by itself, and that was refused
            raise
        except Exception as problem:  # the package is somebody else's and may raise anything
            raise ExtensionError(
                f"{where} cannot be imported from {point.value}: {type(problem).__name__}: {problem}.",
                "Repair or uninstall that package.",
            ) from problem
        self._check(part)
        if part.name != point.name:
            raise ExtensionError(
                f"{where} calls itself {part.name!r}; both names must be the same.", "Correct that package."
            )
        self._add(part, point.module)

    def _check(self, part: Any) -> None:
        """Raise ExtensionError unless `part` is an instance of `base` and has all that its classes annotate."""
        if not isinstance(part, self.base):
            raise ExtensionError(
                f"{self.kind}: expected an instance of {self.base.__module__}.{self.base.__qualname__}, got {part!r}.",
                "Derive from that class, and register an instance.",
            )
        annotated = {name for cls in type(part).__mro__ for name in inspect.get_annotations(cls)}
        missing = sorted(name for name in annotated if not hasattr(part, name))
        name = getattr(part, "name", None)
        if not missing and not (isinstance(name, str) and name):
            missing = ["name"]
        if missing:
            raise ExtensionError(
                f"{self.kind}: {type(part).__qualname__} is incomplete: it has no {', '.join(missing)}.",
                f"Give what {self.base.__qualname__} documents.",
            )


@dataclass(frozen=True)
class RegisteredName:
    """Annotation of a pydantic field that takes a name registered now: Annotated[str, RegisteredName(COLOURS)].

    The JSON schema lists the names that are registered when it is made.
    """

    registry: Registry[Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Text, then `check`."""
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(self.check, core_schema.str_schema(strict=True))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        """The registered names as an enumeration."""
        return {"enum": list(self.registry.names()), "type": "string"}

    def check(self, name: str) -> str:
        """`name` itself. Raises ValueError where it is not registered."""
        if name not in self.registry:
            raise ValueError(self.registry.refusal(name).removeprefix(f"{self.registry.kind}: "))
        return name


def _distribution(point: EntryPoint) -> str:
    """The distribution that an entry point is of, for messages."""
    return "an unknown distribution" if point.dist is None else f"{point.dist.name} {point.dist.version}"
