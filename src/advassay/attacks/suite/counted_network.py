"""The network as a search sees it: images in, logits out, every pass counted, the nearest adversarial kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from advassay.classifier import Classifier
from advassay.success import is_adversarial


class CountedNetwork(nn.Module):
    """The unmodified classifier in float32. `forward_passes`, `backward_passes`: images counted since `restart`."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier
        self.forward_passes = self.backward_passes = 0
        self._most: int | None = None
        self._image: Tensor | None = None
        self._label = 0
        self._nearest: tuple[float, Tensor] | None = None
        self._balls: list[tuple[Tensor, Tensor]] = []
        self.first_within = np.zeros(0, np.int64)
        """(ball,) forward passes up to the first misclassified point within each ball, that one included; 0 = none."""
        self.training = False

    @property
    def device(self) -> torch.device:
        """Where images go."""
        return self.classifier.mean.device

    def restart(
        self,
        image: Tensor | None = None,
        label: int = 0,
        most: int | None = None,
        balls: Sequence[tuple[Tensor, Tensor]] = (),
    ) -> None:
        """Count from 0 again, up to `most`; keep the nearest misclassified point of `image` from now on.

        balls: lowest and highest value of each pixel of regions whose first misclassified point is waited for.
        """
        self.forward_passes = self.backward_passes = 0
        self._most = most
        self._image, self._label, self._nearest = image, label, None
        self._balls, self.first_within = list(balls), np.zeros(len(balls), np.int64)

    @property
    def nearest(self) -> Tensor | None:
        """Of the images in [0, 1] that went through, the misclassified one nearest to the image (L∞); None: none."""
        return None if self._nearest is None else self._nearest[1]

    def forward(self, images: Tensor) -> Tensor:
        """Logits float32 (image, class). Raises RuntimeError beyond the most passes, which ends somebody's loop."""
        self.forward_passes += len(images)
        if self._most is not None and self.forward_passes > self._most:
            raise RuntimeError(f"stopped after {self._most} passes")
        if images.requires_grad:
            images = _CountedBackward.apply(images, self)
        logits: Tensor = self.classifier(images).float()
        if self._image is not None:
            self._keep_nearest(images.detach(), logits.detach())
        return logits

    def score(self, images: Tensor, batch_size: int) -> Tensor:
        """Logits without gradient, in batches of one shape: the last one is padded with its first image."""
        parts = []
        with torch.no_grad():
            for part in images.split(batch_size):
                padding = part[:1].expand(batch_size - len(part), *part.shape[1:])
                parts.append(self.classifier(torch.cat([part, padding])).float()[: len(part)])
        self.forward_passes += len(images)
        return torch.cat(parts)

    def _keep_nearest(self, images: Tensor, logits: Tensor) -> None:
        assert self._image is not None
        wrong = is_adversarial(logits.cpu().numpy(), torch.full((len(logits),), self._label).numpy())
        if not wrong.any():
            return
        inside = ((images >= 0) & (images <= 1)).flatten(1).all(dim=1)
        places = torch.nonzero(torch.from_numpy(wrong).to(images.device) & inside).flatten()
        if not len(places):
            return
        found = images[places]
        for k, (low, high) in enumerate(self._balls):
            within = places[((found >= low) & (found <= high)).flatten(1).all(dim=1)]
            if not self.first_within[k] and len(within):
                self.first_within[k] = self.forward_passes - len(images) + int(within[0]) + 1
        far = (found - self._image).abs().flatten(1).amax(dim=1)
        best = int(far.argmin())
        if self._nearest is None or float(far[best]) < self._nearest[0]:
            self._nearest = float(far[best]), found[best].clone()


class _CountedBackward(torch.autograd.Function):
    """The identity, which counts the gradients that come back through it."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, counts: CountedNetwork) -> Tensor:
        ctx.counts = counts
        return images.view_as(images)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        ctx.counts.backward_passes += len(gradients[0])
        return gradients[0], None
