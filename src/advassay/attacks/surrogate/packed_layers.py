"""Layers that steer on a CPU: convolutions whose weights are packed once, and pools that are their own gradient.

PyTorch's convolution lays its weights out anew for oneDNN's kernels at every pass, and again for the gradient; a ReLU
after it reads and writes every activation once more. An attack never changes the weights. So they are packed once, the
ReLU is done inside the kernel, and the gradient with respect to the input, which at stride 1 is a convolution too (of
the output's gradient, with the kernel turned round: Dumoulin & Visin 2016, arXiv:1603.07285, section 4), runs as one.

Images are (image, channel, height, width) of the weights' dtype, float32 or bfloat16; what comes out is channels-last,
whatever goes in. Weights get no gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_mkldnn: Any = torch.ops.mkldnn


def can_pack_on(device: str | torch.device) -> bool:
    """Whether this build of PyTorch has oneDNN's packed convolutions, and the device is a CPU."""
    mkldnn: Any = torch.backends.mkldnn
    present = mkldnn.is_available() and hasattr(_mkldnn, "_convolution_pointwise")
    return present and torch.device(device).type == "cpu"


def can_pack(dtype: torch.dtype) -> bool:
    """Whether convolutions by weights of that type can be packed on this processor."""
    return dtype == torch.float32 or (dtype == torch.bfloat16 and bool(_mkldnn._is_mkldnn_bf16_supported()))


class _Rule(NamedTuple):
    """How a convolution moves over its input."""

    padding: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


class _Packed:
    """A convolution by weights packed as oneDNN's kernels read them, for batches of one shape, anew for another."""

    def __init__(self, weight: Callable[[], Tensor], rule: _Rule) -> None:
        self._weight, self._rule = weight, rule
        self._shape: torch.Size | None = None
        self._packed: Tensor

    def __call__(self, x: Tensor, bias: Tensor | None = None, *, relu: bool = False) -> Tensor:
        if x.shape != self._shape:
            self._packed = _mkldnn._reorder_convolution_weight(self._weight().detach(), *self._rule, list(x.shape))
            self._shape = x.shape
        activation = "relu" if relu else "none"
        y: Tensor = _mkldnn._convolution_pointwise(x, self._packed, bias, *self._rule, activation, [], "")
        return y


class PackedConvolution(nn.Module):
    """`convolution` with its ReLU if `relu`, without its bias if not `bias`.

    Raises TypeError for padding that is not a number of zeros.
    """

    def __init__(self, convolution: nn.Conv2d, *, relu: bool, bias: bool = True) -> None:
        super().__init__()
        if isinstance(convolution.padding, str) or convolution.padding_mode != "zeros":
            raise TypeError(f"padding {convolution.padding!r}, {convolution.padding_mode}: zeros alone can be packed")
        self.relu, self.weight, self.bias = relu, convolution.weight, convolution.bias if bias else None
        self.rule = _Rule(convolution.padding, convolution.stride, convolution.dilation, convolution.groups)
        weight = self.weight  # not self, which a layer that is dropped would keep alive
        self.convolve = _Packed(lambda: weight, self.rule)
        taps = zip(self.rule.padding, self.rule.dilation, convolution.kernel_size, strict=True)
        turned = tuple(dilation * (size - 1) - padding for padding, dilation, size in taps)
        turns = set(self.rule.stride) == {1} and self.rule.groups == 1 and min(turned) >= 0
        back = _Rule(turned, self.rule.stride, self.rule.dilation, 1)
        self._convolve_back = _Packed(lambda: turned_round(weight), back) if turns else None

    @property
    def one_by_one(self) -> bool:
        """Whether each pixel of the output is made of the same pixel of the input alone."""
        return self.weight.shape[2:] == (1, 1) and self.rule == ((0, 0), (1, 1), self.rule.dilation, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _Convolve.apply(x, self)  # type: ignore[no-untyped-call]
        return y

    def input_gradient(self, gradient: Tensor, shape: torch.Size) -> Tensor:
        """The gradient of an input of `shape`, from that of the convolution's output."""
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        if self._convolve_back is not None:
            return self._convolve_back(gradient)
        like = torch.empty(shape, dtype=gradient.dtype, memory_format=torch.channels_last)  # its shape alone is read
        padding, stride, dilation, groups = self.rule
        found: Tensor = torch.ops.aten.convolution_backward(
            gradient, like, self.weight, None, stride, padding, dilation, False, (0, 0), groups, (True, False, False)
        )[0]
        return found


def turned_round(weight: Tensor) -> Tensor:
    """The weight (in, out, height, width) that convolves an output's gradient into the input's."""
    return weight.flip(2, 3).transpose(0, 1).contiguous(memory_format=torch.channels_last)


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: PackedConvolution) -> Tensor:
        y = layer.convolve(x, layer.bias, relu=layer.relu)
        ctx.layer, ctx.shape = layer, x.shape
        if layer.relu:
            ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        if ctx.layer.relu:
            gradient = torch.ops.aten.threshold_backward(gradient, *ctx.saved_tensors, 0)
        return ctx.layer.input_gradient(gradient, ctx.shape), None


class Branches(nn.Module):
    """1 × 1 convolutions of the same images, as a tuple: their gradients go back through the weights side by side, as
    one, instead of being computed and added one by one."""

    def __init__(self, layers: Sequence[PackedConvolution]) -> None:
        super().__init__()
        if not all(layer.one_by_one for layer in layers):
            raise ValueError("1 × 1 convolutions of stride 1 alone can be put side by side")
        self.layers = nn.ModuleList(layers)
        rule = _Rule((0, 0), (1, 1), (1, 1), 1)
        weights = [layer.weight for layer in layers]
        self.convolve_back = _Packed(lambda: torch.cat([turned_round(weight) for weight in weights], dim=1), rule)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        ys: tuple[Tensor, ...] = _Branch.apply(x, self)  # type: ignore[no-untyped-call]
        return ys


class _Branch(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, branches: Branches) -> tuple[Tensor, ...]:
        ctx.branches = branches
        ys = tuple(layer.convolve(x, layer.bias, relu=layer.relu) for layer in branches.layers)  # type: ignore[operator]
        ctx.save_for_backward(*(y for y, layer in zip(ys, branches.layers, strict=True) if layer.relu))
        return ys

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        saved = iter(ctx.saved_tensors)
        parts = [
            torch.ops.aten.threshold_backward(gradient, next(saved), 0) if layer.relu else gradient
            for gradient, layer in zip(gradients, ctx.branches.layers, strict=True)
        ]
        return ctx.branches.convolve_back(torch.cat(parts, dim=1).contiguous(memory_format=torch.channels_last)), None


class AveragePool(nn.Module):
    """Average over a square window of odd `size` around every pixel, zeros beyond the edge counted: keeps the shape.

    The weight of a for b is that of b for a, so the gradient is the same pool of the output's gradient. Raises
    ValueError for an even size.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        if size % 2 == 0:
            raise ValueError(f"size: an odd number of pixels has a middle, got {size}")
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _Average.apply(x, self.size)  # type: ignore[no-untyped-call]
        return y


class _Average(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int) -> Tensor:
        ctx.size = size
        return F.avg_pool2d(x, size, 1, size // 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return F.avg_pool2d(gradient, ctx.size, 1, ctx.size // 2), None


class BiasAndRelu(nn.Module):
    """A bias (channel,) added, if there is one, then a ReLU if `relu`."""

    def __init__(self, bias: Tensor | None, *, relu: bool) -> None:
        super().__init__()
        self.bias, self.relu = bias, relu

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.bias is None else x + self.bias.view(-1, 1, 1)
        return y.relu() if self.relu else y
