"""A model's own preprocessing as differentiable steps in front of its network.

Twice: in torch, as part of the classifier, and in NumPy for a runtime that has no preprocessing of its own (ONNX
Runtime, Keras). The second one shares no arithmetic with the first, so that the proof compares two things.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from advassay.errors import ClassifierError, InputError
from advassay.model_document import Preprocessing


class PreprocessedNetwork(nn.Module):
    """A network behind its preprocessing: images float32 (image, channel, height, width) in [0, 1] → its outputs."""

    scale: Tensor
    offset: Tensor

    def __init__(self, steps: Preprocessing, network: nn.Module) -> None:
        super().__init__()
        self.steps, self.network = steps, network
        scale, offset = _affine(steps)
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("offset", torch.tensor(offset, dtype=torch.float32).view(1, -1, 1, 1))
        self.training = network.training

    def forward(self, images: Tensor) -> object:
        x = images
        if self.steps.channels == 3 and x.shape[1] == 1:
            x = x.expand(-1, 3, -1, -1)
        x = _cropped(self.steps, _resized(self.steps, x))
        if self.steps.channel_order == "bgr":
            x = x.flip(1)
        x = x * self.scale + self.offset
        if self.steps.layout == "channels-last":
            x = x.permute(0, 2, 3, 1)
        return self.network(x)


def needs_steps(steps: Preprocessing) -> bool:
    """Whether more is done than (images − mean) / std, which a Classifier does by itself."""
    return steps.changes_size or steps.channel_order != "rgb" or steps.layout != "channels-first"


def mean_and_std(steps: Preprocessing) -> tuple[list[float], list[float]]:
    """(mean, std) for images in [0, 1] that do what value_range, mean and std do together."""
    low, high = steps.value_range
    return [(m - low) / (high - low) for m in steps.mean], [s / (high - low) for s in steps.std]


def check_channels(steps: Preprocessing, given: int) -> None:
    """Raise InputError for images of `given` channels that the model does not take."""
    wanted = steps.channels
    if wanted is not None and given != wanted and (given, wanted) != (1, 3):
        raise InputError(
            f"images: expected {wanted} channels, as the model takes, got {given}.",
            "Convert the images: a grey image goes into a model of three channels as it is.",
        )


def _affine(steps: Preprocessing) -> tuple[list[float], list[float]]:
    """(scale, offset) with image · scale + offset = what the network takes."""
    low, high = steps.value_range
    count = max(len(steps.mean), len(steps.std))
    means, stds = (list(each) * count if len(each) == 1 else list(each) for each in (steps.mean, steps.std))
    if len(means) != len(stds) or (steps.channels is not None and count not in (1, steps.channels)):
        raise ClassifierError(
            f"mean, std: one number, or one per channel of the model ({steps.channels or count}), got "
            f"{len(steps.mean)} and {len(steps.std)}.",
            "Give as many as the model takes channels, or say so with channels=….",
        )
    return (
        [(high - low) / s for s in stds],
        [(low - m) / s for m, s in zip(means, stds, strict=True)],
    )


def target_size(steps: Preprocessing, height: int, width: int) -> tuple[int, int]:
    """(height, width) that an image is resized to, before it is cut."""
    if steps.resize_px is not None:
        return steps.resize_px
    if steps.resize_shorter_px is None:
        return height, width
    side = steps.resize_shorter_px
    if height <= width:
        return side, int(side * width / height)
    return int(side * height / width), side


def _resized(steps: Preprocessing, x: Tensor) -> Tensor:
    size = target_size(steps, x.shape[-2], x.shape[-1])
    if size == tuple(x.shape[-2:]):
        return x
    if steps.interpolation == "nearest":
        return functional.interpolate(x, size=size, mode="nearest")
    return functional.interpolate(
        x, size=size, mode=steps.interpolation, align_corners=False, antialias=steps.antialias
    )


def _cropped(steps: Preprocessing, x: Tensor) -> Tensor:
    if steps.crop_px is None:
        return x
    height, width = steps.crop_px
    top, left = height - x.shape[-2], width - x.shape[-1]
    if top > 0 or left > 0:
        top, left = max(top, 0), max(left, 0)
        x = functional.pad(x, (left // 2, (left + 1) // 2, top // 2, (top + 1) // 2))
    top, left = (x.shape[-2] - height) // 2, (x.shape[-1] - width) // 2
    return x[..., top : top + height, left : left + width]


def network_input(steps: Preprocessing, images: np.ndarray) -> np.ndarray:
    """What the network takes, float32, computed in NumPy in float64: for a runtime without preprocessing.

    `images`: float32 (image, channel, height, width) in [0, 1]. Resizing, where there is any, is torch's: no runtime
    that is served here resizes.
    """
    x = images.astype(np.float64)
    if steps.channels == 3 and x.shape[1] == 1:
        x = np.repeat(x, 3, axis=1)
    if steps.changes_size:
        x = _cropped(steps, _resized(steps, torch.from_numpy(x))).numpy()
    if steps.channel_order == "bgr":
        x = x[:, ::-1]
    low, high = steps.value_range
    mean, std = (np.asarray(each, np.float64).reshape(1, -1, 1, 1) for each in (steps.mean, steps.std))
    x = (x * (high - low) + low - mean) / std
    if steps.layout == "channels-last":
        x = x.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(x, np.float32)
