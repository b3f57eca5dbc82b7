"""Classifier: images in [0, 1] → logits. Normalisation, channels and head are inside, so ε means one thing.

The only word that imports torch.
"""

from __future__ import annotations

import ctypes
import functools
import operator
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
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

# oneDNN keeps 1,024 compiled layers unless told otherwise, and compiles anew what it has dropped: InceptionV3 forwards
# and backwards, in two precisions and a few batch sizes, needs more (a few MB). It reads this at the first layer that
# runs in the process, so it is set here; a choice of the user's, by either of its names, stands.
if "DNNL_PRIMITIVE_CACHE_CAPACITY" not in os.environ:
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16384")

_MMAP_THRESHOLD, _TRIM_THRESHOLD, _MMAP_MAX = -3, -1, -4
_MALLOC_CHOICES = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_")


@cache
def keep_freed_memory() -> bool:
    """Have glibc keep large freed buffers for the next pass; whether it was told to.

    By itself it hands buffers above 32 MiB back to the system, which zeroes and maps every page anew in the next pass:
    InceptionV3's gradients at 256 px in batches of 32 took 1.4 times (bfloat16) to 1.8 times (float32) as long. From
    here on the process keeps its peak until it ends. Called where networks run on a CPU; it changes buffers of the main
    thread alone. glibc's own variables (MALLOC_TRIM_THRESHOLD_=131072, say) switch it off.
    """
    chosen = any(name in os.environ for name in _MALLOC_CHOICES)
    if chosen or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "") or os.name != "posix":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    # glibc before 2.35 refuses a threshold above 32 MiB, but can be told to map nothing.
    mapped_last = mallopt(_MMAP_THRESHOLD, 2**31 - 1) or mallopt(_MMAP_MAX, 0)
    return bool(mapped_last and mallopt(_TRIM_THRESHOLD, -1))


class Classifier(nn.Module):
    """Any torch module as a function from images in [0, 1] to logits.

    images: float32 (image, channel, height, width) in [0, 1]; logits: float32 (image, class), two or more classes.

    - `module`: a torch module, an exported program, or a function of images made of torch operations;
    - `mean`, `std`: number or one per channel, applied inside: (images − mean) / std.
    - `channels`: how many channels the module takes. A 1-channel image given to a 3-channel module is repeated
      here, so that a perturbation stays one that a grey detector could have produced.
    - a head with one output z (sigmoid) becomes the two logits (0, z): class 1 is the positive one;
    - `finding`: for a multi-label head, the index of the output that is decided, likewise as (0, z).
    - an output that is a mapping, a tuple or an object counts where it says which of its parts are the logits: one
      named `logits`, or a single (image, class) tensor.

    Raises ClassifierError where the module's output is not (image, class).

    >>> linear = nn.Sequential(nn.Flatten(), nn.Linear(4, 1))
    >>> Classifier(linear)(torch.zeros(3, 1, 2, 2)).shape
    torch.Size([3, 2])
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        module: nn.Module | Callable[[Tensor], Any],
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        *,
        channels: int | None = None,
        finding: int | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.module = as_module(module)
        self.register_buffer("mean", _per_channel(mean, "mean"))
        self.register_buffer("std", _per_channel(std, "std"))
        if bool((self.std <= 0).any()):
            raise ClassifierError(f"std: must be above 0, got {std}.", "Give the divisor used in training.")
        self.channels = _count("channels", channels, 1) if channels is not None else input_channels(self.module)
        self.finding = None if finding is None else _count("finding", finding, 0)
        self.class_names = tuple(class_names) if class_names is not None else None
        self._identity_normalisation = bool((self.mean == 0).all() and (self.std == 1).all())
        # A first convolution says little about images that are rearranged before it: three is never refused for it.
        taken = {channels} if channels is not None else {self.channels, 3}
        given = {self.mean.numel(), self.std.numel()} - {1}
        if len(given) > 1 or (self.channels is not None and given - taken):
            raise ClassifierError(
                f"mean, std: one number, or one per channel of the module ({self.channels or 'equally many'}), got "
                f"{self.mean.numel()} and {self.std.numel()}.",
                "Give as many as the module takes channels, or say so with channels=….",
            )

    def forward(self, images: Tensor) -> Tensor:
        logits = self.decide(self.module(self.normalise(images)))
        if len(logits) != len(images):
            raise ClassifierError(
                f"module: expected one row of logits per image, got {len(logits)} rows for {len(images)} images.",
                "Wrap the module so that it returns (image, class).",
            )
        return logits

    def normalise(self, images: Tensor) -> Tensor:
        """What the module sees: channels repeated where it takes three of a grey image, then (images − mean) / std."""
        if self.channels == 3 and images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        if self._identity_normalisation:
            return images
        given = max(self.mean.shape[1], self.std.shape[1])
        if given > 1 and images.shape[1] not in (1, given):
            raise ClassifierError(
                f"mean, std: one number, or one per channel of the images ({images.shape[1]}), got {given}.",
                "Give as many as the images have channels.",
            )
        return (images - self.mean) / self.std

    def decide(self, outputs: Any) -> Tensor:
        """The module's outputs as logits of two or more classes."""
        outputs = _logits_of(outputs)
        if self.finding is not None:
            if self.finding >= outputs.shape[1]:
                raise ClassifierError(
                    f"finding: expected an output of the module, 0 to {outputs.shape[1] - 1}, got {self.finding}.",
                    "Count the module's outputs from 0.",
                )
            outputs = outputs[:, self.finding : self.finding + 1]
        if outputs.shape[1] == 1:
            return torch.cat([torch.zeros_like(outputs), outputs], dim=1)
        return outputs

    def training_parts(self) -> list[str]:
        """Names and kinds of the module's parts in train mode; the whole counts as one, named "the module"."""
        moded = {id(part) for part in _with_modes(self.module) if part.training}
        if id(self.module) in moded:
            return ["the module"]
        return [f"{name} ({type(part).__name__})" for name, part in self.module.named_modules() if id(part) in moded]

    @contextmanager
    def attack_mode(self) -> Iterator[None]:
        """Eval mode and frozen parameters inside; the network and all that surrounds it as they were after.

        One thread at a time: a network's modes, requires_grad and PyTorch's settings belong to the whole process. The
        network meets what it meets in a fresh process: no ambient autocast, inference mode, default dtype or device.
        Modes are changed by the module's own `train` and `eval`; weights, buffers and caches are put back bit by bit.
        """
        if self.mean.device.type == "cpu":
            keep_freed_memory()
        with one_at_a_time(), plain_surroundings(self.mean.device):
            before = _State(self)
            try:
                before.to_eval()
                yield
            finally:
                before.restore()


# ---- what people hand over ------------------------------------------------------------------------------------------


def as_module(given: Any) -> nn.Module:
    """`given` as a torch module: a module itself, an exported program's, or one around a function.

    Raises ClassifierError for anything else.
    """
    export = sys.modules.get("torch.export")  # not imported: nothing it makes is here
    if export is not None and isinstance(given, export.ExportedProgram):
        given = given.module()
    if isinstance(given, nn.Module):
        size = _fixed_batch(given)
        return given if size is None else _FixedBatch(given, size)
    if callable(given) and not isinstance(given, type):
        return _FunctionModule(given)
    seen = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
    fix = "Give an instance: a torch module that maps images to logits."
    if isinstance(given, str | os.PathLike):
        fix = "Load the network first: advassay.load_classifier(path) reads a checkpoint of `advassay train`."
    elif isinstance(given, Mapping):
        fix = "A state dict holds weights alone: build the network and load them with load_state_dict."
    raise ClassifierError(f"module: expected a torch module or a function, got {seen}.", fix)


class _FixedBatch(nn.Module):
    """A program exported for one batch size, as a module of any: batches are split, and padded."""

    def __init__(self, program: nn.Module, size: int) -> None:
        super().__init__()
        self.program, self.size = program, size
        self.training = False  # a program has one mode: the one it was exported in

    def forward(self, images: Tensor) -> Tensor:
        parts = []
        for part in images.split(self.size):
            padding = part[:1].expand(self.size - len(part), *part.shape[1:])
            parts.append(_logits_of(self.program(torch.cat([part, padding])))[: len(part)])
        return torch.cat(parts)


def _fixed_batch(module: nn.Module) -> int | None:
    """The only batch size that an exported program takes; None for any other module."""
    if not isinstance(module, fx.GraphModule):
        return None
    inputs = [node.meta.get("val") for node in module.graph.nodes if node.op == "placeholder"]
    first = inputs[0] if inputs else None
    size = first.shape[0] if isinstance(first, Tensor) and first.ndim else None
    return size if isinstance(size, int) and size > 0 else None


class _FunctionModule(nn.Module):
    """A function as a module; the modules it calls, as far as they are seen, are frozen and moved with it."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function
        self.called = nn.ModuleList(dict.fromkeys(_modules_of(function)))
        self.training = self.called.training = False  # of the function; what it calls has modes of its own

    def forward(self, images: Tensor) -> Any:
        return self.function(images)


def _modules_of(value: Any, depth: int = 4) -> Iterator[nn.Module]:
    """The modules that a function may call: its object, arguments bound, variables enclosed, globals named."""
    if isinstance(value, nn.Module):
        yield value
    if isinstance(value, nn.Module) or depth == 0:
        return
    inside: list[Any] = []
    if isinstance(value, MethodType):
        inside = [value.__self__, value.__func__]
    elif isinstance(value, functools.partial):
        inside = [value.func, *value.args, *value.keywords.values()]
    elif isinstance(value, FunctionType):
        inside = [cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell)]
        inside += [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
        inside += [value.__globals__[name] for name in value.__code__.co_names if name in value.__globals__]
    elif isinstance(value, list | tuple):
        inside = [*value]
    elif isinstance(value, Mapping):
        inside = [*value.values()]
    elif callable(value) and not isinstance(value, type):
        inside = [*getattr(value, "__dict__", {}).values()]
    for each in inside:
        yield from _modules_of(each, depth - 1)


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:  # a variable not assigned yet
        return False


def _logits_of(outputs: Any) -> Tensor:
    """The (image, class) tensor among a module's outputs. Raises ClassifierError unless it is beyond doubt which."""
    if isinstance(outputs, Tensor):
        found = [outputs]
    elif isinstance(outputs, Mapping) and "logits" in outputs:
        found = [outputs["logits"]]
    elif isinstance(getattr(outputs, "logits", None), Tensor):
        found = [outputs.logits]
    else:
        parts = (
            outputs.values() if isinstance(outputs, Mapping) else outputs if isinstance(outputs, tuple | list) else ()
        )
        found = [part for part in parts if isinstance(part, Tensor) and part.ndim == 2]
    one = found[0] if len(found) == 1 else None
    if isinstance(one, Tensor) and one.ndim == 2 and one.shape[1] > 0 and not one.is_complex():
        return one
    raise ClassifierError(
        f"module: its output must be one tensor (image, class) of real numbers, got {_described(outputs)}.",
        "Wrap the module so that it returns the logits alone.",
    )


def _described(outputs: Any) -> str:
    """Shapes and kinds of a module's outputs, in a few words."""
    if isinstance(outputs, Tensor):
        return str(tuple(outputs.shape)) + (" complex" if outputs.is_complex() else "")
    if isinstance(outputs, Mapping):
        return (
            f"{type(outputs).__name__} of {', '.join(f'{key} {_described(value)}' for key, value in outputs.items())}"
        )
    if isinstance(outputs, tuple | list):
        return f"{type(outputs).__name__} of {', '.join(map(_described, outputs))}"
    return type(outputs).__name__


def input_channels(module: nn.Module) -> int | None:
    """Channels of the module's first convolution, or None where it has none (or does not know them yet)."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            return part.in_channels or None
    return None


def _per_channel(value: Any, name: str) -> Tensor:
    """`value` as a float32 buffer (1, channel, 1, 1), a normal tensor whatever surrounds the call."""
    try:
        numbers = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value, np.float32).reshape(-1)
    except (TypeError, ValueError):
        raise ClassifierError(f"{name}: one number or one per channel, got {value!r}.", "Give numbers.") from None
    if not len(numbers) or not np.isfinite(numbers).all():
        raise ClassifierError(
            f"{name}: one finite number or one per channel, got {value!r}.", "Give what was used in training."
        )
    with torch.inference_mode(False):
        return torch.from_numpy(numbers.copy()).view(1, -1, 1, 1)


def _count(name: str, value: Any, least: int) -> int:
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = -1
    if number < least:
        raise ClassifierError(
            f"{name}: expected a whole number, {least} or more, got {value!r}.", f"Give {name} as an integer."
        )
    return number


# ---- a network under attack, and as it was --------------------------------------------------------------------------

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


class _State:
    """A network's modes, what wants gradients, its tensors and caches: as they are now, to be put back."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        modules = list(classifier.module.modules())
        self.modes = [(m, m.training) for m in _with_modes(classifier.module)]
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
                _set_mode(module, False)
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
                _set_mode(module, training)
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
            elif not torch.equal(tensor, saved):
                tensor.data.copy_(saved)  # by .data: a graph that the caller holds stays whole


def _with_modes(module: nn.Module) -> Iterator[nn.Module]:
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


def _set_mode(module: nn.Module, training: bool) -> None:
    """Call the module's own `train` or `eval`; where it or a part of it refuses, that of every part which does not."""
    try:
        module.train() if training else module.eval()
    except Exception:  # the module is the user's: an exported program raises NotImplementedError, others anything
        for part in module.children():
            _set_mode(part, training)
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
    return [t for t in held if isinstance(t, Tensor) and not is_lazy(t) and t.device.type != "meta"]


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
