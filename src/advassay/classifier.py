"""Classifier: images in [0, 1] → logits. Normalisation, channels and head are inside, so ε means one thing.

What an attack sets and puts back around a network is in classifier_state.py; no other word imports torch.
"""

from __future__ import annotations

import functools
import operator
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from advassay.classifier_state import NetworkState, find_moded_parts, one_at_a_time, plain_surroundings
from advassay.errors import ClassifierError


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
        moded = {id(part) for part in find_moded_parts(self.module) if part.training}
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
        with one_at_a_time(), plain_surroundings(self.mean.device):
            before = NetworkState(self, self.module)
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


def __getattr__(name: str) -> Any:
    """Former places of functions that tuned the process."""
    if name != "keep_freed_memory":
        raise AttributeError(f"module 'advassay.classifier' has no attribute {name!r}")
    from advassay.process_tuning import keep_freed_memory

    warnings.warn(
        "advassay.classifier.keep_freed_memory is now advassay.tune_process, which nothing calls by itself.",
        DeprecationWarning,
        stacklevel=2,
    )
    return keep_freed_memory
