"""A hash of all that a network's behaviour is known to follow from: what it holds, at any depth, and its code.

Content, never `repr`: a tensor of more than 1,000 elements prints with "…". What cannot be read by content (a lock, a
generator, an object of compiled code) raises, and such a network is not remembered.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import io
import logging
import os
import re
import struct
import sys
import types
import weakref
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn.modules import module as nn_module
from torch.nn.parameter import is_lazy

import advassay

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), range, slice, type(NotImplemented))
_TORCH_WORDS = (torch.dtype, torch.device, torch.layout, torch.memory_format, torch.Size)
_BUILT_IN = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
)
_GLOBAL_HOOKS = tuple(sorted(name for name in vars(nn_module) if name.startswith("_global_") and "hook" in name))
_POINTER = struct.calcsize("P")
_MOST_OBJECTS = 200_000
"""Beyond so many a network has hold of more than itself (a trainer, a data set), and reading takes too long."""


def _folder(module: types.ModuleType) -> str:
    return os.path.dirname(os.path.abspath(module.__file__ or "")) + os.sep


_STANDARD_LIBRARY = _folder(os)
_LIBRARIES = tuple(map(_folder, (torch, np, advassay)))
"""PyTorch, NumPy and this package. Their functions, like Python's own, are told by name and code, and not entered."""
_INSTALLED = (os.sep + "site-packages" + os.sep, os.sep + "dist-packages" + os.sep)
"""Where conda and system Pythons put everybody's packages: inside the folder of the standard library."""


class NotFingerprintableError(Exception):
    """Part of a network cannot be told from another by its content."""


def fingerprint(network: nn.Module) -> str:
    """Hash of `network` as it is now; equal only where all contents are equal.

    Parameters, buffers, attributes of any type and depth, hooks with what they hold, replaced methods, the code of its
    classes and functions with the variables they enclose and the globals they name, and hooks on all modules. Raises
    NotFingerprintableError.
    """
    reader = _Reader()
    for each in (network, *(getattr(nn_module, name) for name in _GLOBAL_HOOKS)):
        reader.read(each)
    return reader.digest.hexdigest()


@dataclass(frozen=True)
class _Named:
    """Something told by its name alone: a module of Python's, a function of a library."""

    name: str


class _Reader:
    """Reads objects into one hash, each the first time it is met; later by its place in that order."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self._places: dict[int, int] = {}
        self._alive: list[object] = []
        """What was read: an object made on the way must not give its id to another."""

    def read(self, value: Any) -> None:
        waiting = [value]
        while waiting:
            each = waiting.pop()
            if type(each) in _PLAIN or isinstance(each, _TORCH_WORDS):
                self._say(type(each).__name__, repr(each))
            elif isinstance(each, _Named):
                self._say("named", each.name)
            elif id(each) in self._places:
                self._say("again", str(self._places[id(each)]))
            else:
                self._places[id(each)] = len(self._places)
                if len(self._places) > _MOST_OBJECTS:
                    raise NotFingerprintableError(f"more than {_MOST_OBJECTS} objects")
                self._alive.append(each)
                parts = list(self._parts(each))
                self._say(str(len(parts)))
                waiting += reversed(parts)

    def _say(self, *words: str) -> None:
        for word in words:
            self.digest.update(f"{len(word)}:{word};".encode("utf-8", "surrogatepass"))

    def _parts(self, value: Any) -> Sequence[Any]:
        """What `value` is made of, its kind and bytes said; what is left to read."""
        kind = type(value)
        self._say(kind.__module__, kind.__qualname__)
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, np.ndarray | np.generic):
            return self._array(value)
        if isinstance(value, torch.jit.ScriptModule):
            return self._script(value)
        if isinstance(value, fx.Graph):
            return [value.python_code("self").src]
        if isinstance(value, types.ModuleType):
            return [value.__name__]
        if isinstance(value, type):
            return _class_parts(value)
        return _parts_of(value)

    def _tensor(self, value: Tensor) -> Sequence[Any]:
        if is_lazy(value) or value.device.type == "meta" or value.is_quantized or value.layout != torch.strided:
            raise NotFingerprintableError(f"a tensor of {value.layout}, {value.device}")
        words = (value.dtype, tuple(value.shape), value.stride(), value.device, value.requires_grad)
        self._say(*map(str, words))
        plain = value.detach().cpu().contiguous().resolve_conj().resolve_neg().view(-1).view(torch.uint8)
        self.digest.update(plain.numpy().data)
        return [vars(value)] if vars(value) else []

    def _array(self, value: np.ndarray | np.generic) -> Sequence[Any]:
        self._say(str(value.dtype), str(value.shape))
        if value.dtype.hasobject:
            return value.ravel().tolist()
        self.digest.update(np.ascontiguousarray(value).tobytes())
        return []

    def _script(self, value: torch.jit.ScriptModule) -> Sequence[Any]:
        """A compiled module by what it would be saved as, and by what Python keeps beside."""
        saved = io.BytesIO()
        torch.jit.save(value, saved)
        self.digest.update(saved.getvalue())
        hooks = [held for name, held in sorted(vars(value).items()) if name.endswith("_hooks")]
        return [*hooks, *(p.requires_grad for p in value.parameters())]


def _parts_of(value: Any) -> Sequence[Any]:
    """What is read of an object that is neither an array nor a class."""
    if isinstance(value, Mapping):
        held = [part for pair in value.items() for part in pair]
        return held + _own_state(value, built_on=dict) if isinstance(value, dict) else held
    if isinstance(value, list | tuple | deque):
        return [*value, *_own_state(value, built_on=type(value))]
    if isinstance(value, set | frozenset):
        return [*sorted(fingerprint_of(each) for each in value)]
    if isinstance(value, enum.Enum):
        return [value.name, value.value]
    if isinstance(value, types.CodeType):
        return _code_parts(value)
    if isinstance(value, types.FunctionType):
        return _function_parts(value)
    if isinstance(value, types.MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, _BUILT_IN):
        owner = getattr(value, "__self__", None)
        return [value.__qualname__, *([] if owner is None or isinstance(owner, types.ModuleType) else [owner])]
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords, vars(value)]
    if isinstance(value, staticmethod | classmethod):
        return [value.__func__]
    if isinstance(value, property):
        return [value.fget, value.fset, value.fdel]
    if isinstance(value, weakref.ref):
        return [value()]
    if isinstance(value, types.CellType):
        return _cell_parts(value)
    if isinstance(value, functools.cached_property):
        return [value.func]
    if isinstance(value, functools._lru_cache_wrapper):
        return [value.__wrapped__]
    if isinstance(value, re.Pattern):
        return [value.pattern, value.flags]
    if isinstance(value, logging.Logger):
        return [value.name]
    if isinstance(value, types.MappingProxyType | types.SimpleNamespace):
        return [dict(value) if isinstance(value, types.MappingProxyType) else vars(value)]
    return _object_parts(value)


def fingerprint_of(value: Any) -> str:
    """Hash of one value by itself."""
    reader = _Reader()
    reader.read(value)
    return reader.digest.hexdigest()


def _own_state(value: Any, built_on: type) -> list[Any]:
    """Attributes that a subclass of a container adds to what it holds."""
    return [] if type(value) is built_on else [*map(_sorted, (getattr(value, "__dict__", {}),))]


def _sorted(attributes: Mapping[str, Any]) -> list[Any]:
    return [part for name in sorted(attributes) for part in (name, attributes[name])]


def _object_parts(value: Any) -> Sequence[Any]:
    """An instance by its class and attributes, where it holds nothing but attributes."""
    kind = type(value)
    slots = [
        name
        for base in kind.__mro__
        for name in _names(vars(base).get("__slots__", ()))
        if name not in ("__dict__", "__weakref__")
    ]
    pointers = len(slots) + (kind.__dictoffset__ > 0) + (kind.__weakrefoffset__ > 0)
    if kind.__itemsize__ or kind.__basicsize__ > object.__basicsize__ + pointers * _POINTER:
        raise NotFingerprintableError(f"{kind.__module__}.{kind.__qualname__} holds more than attributes")
    held = {name: getattr(value, name) for name in slots if hasattr(value, name)}
    return [kind, *_sorted(held | getattr(value, "__dict__", {}))]


def _names(slots: Any) -> Sequence[str]:
    return [slots] if isinstance(slots, str) else list(slots)


def _class_parts(kind: type) -> Sequence[Any]:
    """A class by its name; those of no library by their code and variables too, and those they are built on."""
    if _is_library(sys.modules.get(kind.__module__)):
        return [kind.__module__, kind.__qualname__]
    held = {
        name: each
        for name, each in vars(kind).items()
        if name not in ("__dict__", "__weakref__", "__doc__", "__module__", "__annotations__", "_abc_impl")
        and not isinstance(each, types.GetSetDescriptorType | types.MemberDescriptorType)
    }
    return [kind.__module__, kind.__qualname__, *_sorted(held), *kind.__bases__]


def _is_library(module: Any) -> bool:
    """Whether a module's code is that of a library. One without a file is not, unless Python itself is its source:
    what is typed into a notebook has no file, and changes."""
    path = getattr(module, "__file__", None)
    if path is None:
        return getattr(getattr(module, "__spec__", None), "origin", None) in ("built-in", "frozen")
    return _is_library_path(os.path.abspath(path))


def _is_library_path(path: str) -> bool:
    if path.startswith(_LIBRARIES):
        return True
    return path.startswith(_STANDARD_LIBRARY) and not any(folder in path for folder in _INSTALLED)


def _function_parts(value: types.FunctionType) -> Sequence[Any]:
    """A function's code, defaults and enclosed variables; of one of no library also the globals that it names."""
    enclosed = [value.__code__, value.__defaults__, value.__kwdefaults__, value.__closure__, vars(value)]
    if _is_library_path(value.__code__.co_filename):
        return enclosed
    return [*enclosed, *_globals_named(value.__code__, value.__globals__)]


def _globals_named(code: types.CodeType, scope: Mapping[str, Any]) -> Iterator[Any]:
    """Name and value of every global that the code, or a function written inside it, may read."""
    codes = [code]
    for each in codes:
        codes += [constant for constant in each.co_consts if isinstance(constant, types.CodeType)]
    names = sorted({name for each in codes for name in each.co_names})
    for name in names:
        if name not in scope:
            continue
        value = scope[name]
        yield name
        if not isinstance(value, types.ModuleType) or _is_library(value):
            yield _Named(value.__name__) if isinstance(value, types.ModuleType) else value
            continue
        for attribute in names:  # settings.MASK: an attribute of a module of the user's
            if attribute in vars(value):
                yield attribute
                yield vars(value)[attribute]


def _code_parts(value: types.CodeType) -> Sequence[Any]:
    return [value.co_code, value.co_consts, value.co_names, value.co_varnames, value.co_freevars, value.co_flags]


def _cell_parts(value: types.CellType) -> Sequence[Any]:
    try:
        return [value.cell_contents]
    except ValueError:  # a variable not assigned yet
        return []
