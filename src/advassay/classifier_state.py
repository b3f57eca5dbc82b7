"""A network under attack, and as it was: its modes, tensors and caches, and what surrounds it in PyTorch and NumPy.

Beside classifier.py the only word that imports torch. A classifier is a function from images to logits; this is what an
attack must set for it and put back afterwards.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn.parameter import is_lazy
from torch.overrides import _get_current_function_mode_stack, _pop_mode, _push_mode
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import _disable_current_modes, _get_current_dispatch_mode_stack

from advassay.errors import ClassifierError

_TURN = threading.RLock()


def _new_turn() -> None:
    """A forked process has one thread: a lock that another thread held would never be given back."""
    global _TURN
    _TURN = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_turn)


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Other threads that attack wait here: a network's modes and PyTorch's settings belong to the whole process."""
    with _TURN:
        yield


@contextmanager
def plain_surroundings(device: torch.device) -> Iterator[None]:
    """PyTorch and NumPy as in a fresh process while inside: what a caller has switched on changes no number.

    Off: autocast, inference mode, anomaly detection, a default dtype, a default device that is neither the CPU nor the
    network's `device`, NumPy's errors for NaN, modes that stand between functions and operators and their results
    (`TorchFunctionMode`, `TorchDispatchMode`). Raises ClassifierError inside a FlopCounterMode.
    """
    dtype, default = torch.get_default_dtype(), torch.get_default_device()
    if any(type(mode).__module__ == "torch.utils.flop_counter" for mode in _get_current_dispatch_mode_stack()):
        raise ClassifierError(
            "surroundings: an attack cannot run inside FlopCounterMode, whose hooks break gradients of images.",
            "Count the operations of one forward pass apart, and attack outside.",
        )
    with ExitStack() as stack:
        stack.enter_context(_disable_current_modes())
        stack.enter_context(_without_function_modes())
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        for kind in ("cpu", device.type):
            if torch.amp.is_autocast_available(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.is_anomaly_enabled():
            stack.enter_context(torch.autograd.set_detect_anomaly(False))
        if default.type not in ("cpu", device.type):
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        if dtype != torch.float32:
            torch.set_default_dtype(torch.float32)
            stack.callback(torch.set_default_dtype, dtype)
        yield


@contextmanager
def _without_function_modes() -> Iterator[None]:
    """Take every `TorchFunctionMode` but the default device off the stack, and put them back in their order."""
    taken = [_pop_mode() for _ in range(len(_get_current_function_mode_stack()))][::-1]
    devices = [mode for mode in taken if isinstance(mode, DeviceContext)]  # forwards may make tensors there
    for mode in devices:
        _push_mode(mode)
    try:
        yield
    finally:
        for _ in devices:
            _pop_mode()
        for mode in taken:
            _push_mode(mode)


_ABSENT = object()
_DICTIONARIES = ("_parameters", "_buffers", "_modules")
_BOOKKEEPING = frozenset(vars(nn.Module()))
"""What PyTorch keeps in every module: its dictionaries, its mode and hooks."""


class NetworkState:
    """A network's modes, what wants gradients, its tensors and caches: as they are now, to be put back.

    `classifier` holds `module`, which is the network that somebody handed over.
    """

    def __init__(self, classifier: nn.Module, module: nn.Module) -> None:
        self.classifier = classifier
        modules = list(module.modules())
        self.modes = [(m, m.training) for m in find_moded_parts(module)]
        self.switches = any(training for _, training in self.modes)
        self.wants_gradient = [(p, p.requires_grad) for p in classifier.parameters() if p.is_leaf]
        self.attributes = [(m, _attributes(m)) for m in modules]
        self.containers = [
            (held, dict(held) if isinstance(held, dict) else list(held))
            for m, attributes in self.attributes
            for held in (*(vars(m).get(name) for name in _DICTIONARIES), *nested_values(attributes))
            if isinstance(held, dict | list)
        ]
        kept = {id(t): t for m in modules for t in _tensors(m, weights=self.switches)}
        self.tensors = [(t, t.detach().clone()) for t in kept.values()]
        arrays = {
            id(a): a for _, held in self.attributes for a in nested_values(held)
            if isinstance(a, np.ndarray) and a.dtype != object and a.flags.writeable
        }  # fmt: skip
        self.arrays = [(array, array.copy()) for array in arrays.values()]
        self.switched: list[tuple[nn.Module, str, Any]] = []
        """(module, attribute, its value before): what switching to eval mode has changed besides the mode."""

    def to_eval(self) -> None:
        """Every part in eval mode, by its own `eval`; parameters frozen."""
        for module, training in self.modes:
            if training and module.training:
                set_mode(module, training=False)
        if self.switches:
            self.switched = [
                (module, name, value) for module, before in self.attributes for name, value in _changes(module, before)
            ]
        for parameter in self.classifier.parameters():
            if parameter.requires_grad and parameter.is_leaf:
                parameter.requires_grad_(False)

    def restore(self) -> None:
        """Everything as it was: by the modules' own `train`, then what that has left otherwise."""
        for parameter, wanted in self.wants_gradient:
            if parameter.requires_grad != wanted:
                parameter.requires_grad_(wanted)
        for module, training in self.modes:
            if module.training != training:
                set_mode(module, training=training)
        rebound = [
            (module, name, value)
            for module, before in self.attributes
            for name, value in _changes(module, before)
            if isinstance(value, Tensor) or isinstance(vars(module).get(name), Tensor)
        ]
        for module, name, value in (*self.switched, *rebound):
            if value is _ABSENT:
                vars(module).pop(name, None)
            else:
                vars(module)[name] = value
        for held, before in self.containers:
            _restore_container(held, before)
        for array, content in self.arrays:
            if array.shape == content.shape:
                array[...] = content
        for tensor, saved in self.tensors:
            if tensor.shape != saved.shape:
                tensor.data = saved
            elif not same_content(tensor, saved):
                tensor.data.copy_(saved)  # by .data: a graph that the caller holds stays whole


def find_moded_parts(module: nn.Module) -> Iterator[nn.Module]:
    """The module and all parts that have a train and an eval mode, parents first; an exported program has one form."""
    seen: set[int] = set()
    waiting = [module]
    while waiting:
        each = waiting.pop()
        exported = isinstance(each, fx.GraphModule) and "train" in vars(each)
        if id(each) in seen or exported:
            continue
        seen.add(id(each))
        if hasattr(each, "training"):
            yield each
        waiting += reversed(list(each.children()))


def set_mode(module: nn.Module, *, training: bool) -> None:
    """Call the module's own `train` or `eval`; where it or a part of it refuses, that of every part which does not."""
    try:
        module.train() if training else module.eval()
    except Exception:  # the module is the user's: an exported program raises NotImplementedError, others anything
        for part in module.children():
            set_mode(part, training=training)
        if "train" not in vars(module):
            module.training = training


def _attributes(module: nn.Module) -> dict[str, Any]:
    """What a module holds besides what every module does."""
    return {name: value for name, value in vars(module).items() if name not in _BOOKKEEPING}


def _changes(module: nn.Module, before: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """(attribute, what it was) of those bound to something else since; _ABSENT = there was none."""
    now = _attributes(module)
    names = {**before, **now}
    return [
        (name, before.get(name, _ABSENT)) for name in names if before.get(name, _ABSENT) is not now.get(name, _ABSENT)
    ]


def _tensors(module: nn.Module, *, weights: bool) -> list[Tensor]:
    """Tensors that a pass may write into: buffers and attributes; `weights`: parameters too."""
    held = [*module.buffers(recurse=False), *nested_values(_attributes(module))]
    held += [*module.parameters(recurse=False)] if weights else []
    return [
        t for t in held
        if isinstance(t, Tensor) and not is_lazy(t) and t.device.type != "meta" and t.layout in _LAYOUTS
        and not t.is_nested
    ]  # fmt: skip


_BY_ROW, _BY_COLUMN = (torch.sparse_csr, torch.sparse_bsr), (torch.sparse_csc, torch.sparse_bsc)
_LAYOUTS = (torch.strided, torch.sparse_coo, *_BY_ROW, *_BY_COLUMN)


def same_content(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors of one shape and layout, sparse ones too, hold the same."""
    return all(torch.equal(*parts) for parts in zip(dense_parts(one), dense_parts(other), strict=True))


def dense_parts(tensor: Tensor) -> tuple[Tensor, ...]:
    """The dense tensors that a tensor is made of."""
    if tensor.layout == torch.sparse_coo:
        return tensor._indices(), tensor._values()
    if tensor.layout in _BY_ROW:
        return tensor.crow_indices(), tensor.col_indices(), tensor.values()
    if tensor.layout in _BY_COLUMN:
        return tensor.ccol_indices(), tensor.row_indices(), tensor.values()
    return (tensor,)


NESTED_DEPTH, MOST_NESTED = 6, 20_000
"""How deep, and over how many values, a module's attributes are searched for tensors, arrays and containers."""


def nested_values(attributes: Mapping[str, Any]) -> list[Any]:
    """What a module's attributes hold at any depth: through dictionaries, lists, tuples, deques, sets, plain objects.

    Modules in them are parts of the network and looked at on their own.
    """
    found: list[Any] = []
    seen: set[int] = set()
    level: list[Any] = list(attributes.values())
    for _ in range(NESTED_DEPTH):
        following: list[Any] = []
        for value in level:
            if id(value) in seen or len(found) >= MOST_NESTED or value is None or isinstance(value, _PLAIN):
                continue
            seen.add(id(value))
            found.append(value)
            following += _held_by(value)
        level = following
    return found


_PLAIN = (bool, int, float, complex, str, bytes, type, ModuleType, FunctionType, MethodType, nn.Module)


def _held_by(value: Any) -> list[Any]:
    if isinstance(value, Tensor | np.ndarray):
        return []
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, list | tuple | deque | set | frozenset):
        return list(value)
    return list(getattr(value, "__dict__", {}).values())


def _restore_container(held: Any, before: Any) -> None:
    """Put back what a dictionary or list held, where tensors or modules have come or gone."""
    if not held and not before:
        return
    now = held.values() if isinstance(held, dict) else held
    then = before.values() if isinstance(before, dict) else before
    same = len(held) == len(before) and all(a is b for a, b in zip(now, then, strict=True))
    if same and (not isinstance(held, dict) or list(held) == list(before)):
        return
    if any(isinstance(each, Tensor | nn.Module) for each in (*now, *then)):
        held.clear()
        held.update(before) if isinstance(held, dict) else held.extend(before)
