"""The network as the engine sees it: logits alone, or logits and the loss's gradient."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from advassay.attacks.float32_settings import default_kernels, ieee_float32
from advassay.spec.attack_components import LOSSES


@contextmanager
def full_float32() -> Iterator[None]:
    """True float32 in an order that repeats, while inside: no TF32 (its 10-bit mantissa would make CUDA's judgements
    depend on the batch), no bfloat16 inside a processor's float32, and none of cuDNN's kernels that add in whichever
    order threads arrive."""
    with default_kernels(), ieee_float32():
        yield


class GradientModel:
    """Passes through one module, for one loss. Images are float32 in [0, 1]; logits and gradients float32."""

    def __init__(self, module: nn.Module, loss: str, *, channels_last: bool = False) -> None:
        self.module, self._loss = module, LOSSES.get(loss)
        self._format = torch.channels_last if channels_last else torch.contiguous_format

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        """Logits (image, class)."""
        return self.module(images.contiguous(memory_format=self._format)).float()

    def gradient(self, images: Tensor, labels: Tensor, targets: Tensor | None) -> tuple[Tensor, Tensor]:
        """Logits (image, class) and the gradient of each image's own loss, shaped like `images`."""
        x = images.contiguous(memory_format=self._format).detach().requires_grad_()
        with torch.enable_grad():
            logits = self.module(x).float()
            # The sum: each image's loss depends on its own logits alone, so every image gets its own gradient.
            (gradient,) = torch.autograd.grad(self._loss.value(logits, labels, targets).sum(), x)
        return logits.detach(), gradient.float().contiguous()
