"""Classifier: images in [0, 1] → logits. Normalisation, channels and head are inside, so ε means one thing.

The only word that imports torch.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor, nn

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

    - `mean`, `std`: number or one per channel, applied inside: (images − mean) / std.
    - `channels`: how many channels the module takes. A 1-channel image given to a 3-channel module is repeated
      here, so that a perturbation stays one that a grey detector could have produced.
    - a head with one output z (sigmoid) becomes the two logits (0, z): class 1 is the positive one;
    - `finding`: for a multi-label head, the index of the output that is decided, likewise as (0, z).

    Raises ClassifierError where the module's output is not (image, class).

    >>> linear = nn.Sequential(nn.Flatten(), nn.Linear(4, 1))
    >>> Classifier(linear)(torch.zeros(3, 1, 2, 2)).shape
    torch.Size([3, 2])
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        module: nn.Module,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        *,
        channels: int | None = None,
        finding: int | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.module = module
        self.register_buffer("mean", _per_channel(mean, "mean"))
        self.register_buffer("std", _per_channel(std, "std"))
        if bool((self.std <= 0).any()):
            raise ClassifierError(f"std: must be above 0, got {std}.", "Give the divisor used in training.")
        self.channels = channels if channels is not None else input_channels(module)
        self.finding = finding
        self.class_names = tuple(class_names) if class_names is not None else None
        self._identity_normalisation = bool((self.mean == 0).all() and (self.std == 1).all())

    def forward(self, images: Tensor) -> Tensor:
        return self.decide(self.module(self.normalise(images)))

    def normalise(self, images: Tensor) -> Tensor:
        """What the module sees: channels repeated where it takes three of a grey image, then (images − mean) / std."""
        if self.channels == 3 and images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        return images if self._identity_normalisation else (images - self.mean) / self.std

    def decide(self, outputs: Tensor) -> Tensor:
        """The module's outputs as logits of two or more classes."""
        if not isinstance(outputs, Tensor) or outputs.ndim != 2:
            seen = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
            raise ClassifierError(
                f"module: its output must be one tensor (image, class), got {seen}.",
                "Wrap the module so that it returns the logits alone.",
            )
        if self.finding is not None:
            outputs = outputs[:, self.finding : self.finding + 1]
        if outputs.shape[1] == 1:
            return torch.cat([torch.zeros_like(outputs), outputs], dim=1)
        return outputs

    @contextmanager
    def attack_mode(self) -> Iterator[None]:
        """Eval mode and frozen parameters inside; module modes and requires_grad as they were after.

        Sets only what differs: a module notices every attribute that is set, and an attack enters often.
        """
        if self.mean.device.type == "cpu":
            keep_freed_memory()
        modes = [(m, m.training) for m in self.modules()]
        grads = [(p, p.requires_grad) for p in self.parameters()]
        try:
            if any(training for _, training in modes):
                self.eval()
            for parameter, requires_grad in grads:
                if requires_grad:
                    parameter.requires_grad_(False)
            yield
        finally:
            for m, training in modes:
                if m.training != training:
                    m.training = training
            for parameter, requires_grad in grads:
                if parameter.requires_grad != requires_grad:
                    parameter.requires_grad_(requires_grad)


def input_channels(module: nn.Module) -> int | None:
    """Channels of the module's first convolution, or None where it has none."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            return part.in_channels
    return None


def _per_channel(value: float | Sequence[float], name: str) -> Tensor:
    tensor = torch.as_tensor(value, dtype=torch.float32).reshape(-1)
    if len(tensor) not in (1, 3):
        raise ClassifierError(f"{name}: one number or one per channel, got {len(tensor)} numbers.", "Give 1 or 3.")
    return tensor.view(1, -1, 1, 1)
