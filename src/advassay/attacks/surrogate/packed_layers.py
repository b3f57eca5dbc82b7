"""The last rewrite on a CPU: layers whose weights are packed once, and a network's own layers put together as these.

PyTorch's convolution lays its weights out anew for oneDNN's kernels at every pass, and again for the gradient; a ReLU
after it reads and writes every activation once more. An attack never changes the weights. So they are packed once, the
ReLU is done inside the kernel, and the gradient with respect to the input, which at stride 1 is a convolution too (of
the output's gradient, with the kernel turned round: Dumoulin & Visin 2016, arXiv:1603.07285, section 4), runs as one.

Images are (image, channel, height, width) of the weights' dtype, float32 or bfloat16; what comes out is channels-last,
whatever goes in. Weights get no gradient.

What follows what is read off the network's graph (torch.fx). Tracing may lose what a module does in plain Python, or a
gradient of its own making: build.py compares logits and gradients on examples, and takes back what changes them.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

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


# ---- a network's layers put together as these ------------------------------------------------------------------------

_RELUS = (F.relu, torch.relu)
_RELU_METHODS = ("relu", "relu_")
_POOL_ARGUMENTS = ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_TRACING = threading.Lock()
"""torch.fx replaces nn.Module's call while it traces, for every thread: two at a time could leave it replaced."""


def fuse(module: nn.Module) -> nn.Module | None:
    """`module` with packed layers; None where there is nothing to pack.

    `module`: in eval mode, frozen, on the CPU; the result shares its parameters. No other thread may call a module
    meanwhile. Raises ValueError for hooks that tracing would lose, and what torch.fx raises for a module that cannot be
    traced.
    """
    whole = fx.Tracer().is_leaf_module  # a module that tracing does not enter keeps its hooks
    for name, each in module.named_modules():
        if _hooked(each) and not whole(each, name):
            raise ValueError(f"hooks of {name or 'the network'} would be lost")
    with _TRACING:  # inside another module, so that it is called as it always is
        traced = fx.symbolic_trace(nn.Sequential(module))
    return _Fusing(traced).fused()


class _Fusing:
    """One traced network, whose graph is changed in place."""

    def __init__(self, traced: fx.GraphModule) -> None:
        self.traced, self.graph = traced, traced.graph
        self.layers, self.made = dict(traced.named_modules()), 0

    def fused(self) -> fx.GraphModule | None:
        """The network with convolutions packed, then pools, then branches put together; None where none was found."""
        for node in list(self.graph.nodes):
            if isinstance(convolution := self._layer(node), nn.Conv2d) and _packs(convolution):
                self._pack(node, convolution)
        for node in list(self.graph.nodes):
            if size := self._pool_size(node):
                self._replace(node, self._call(AveragePool(size), node.all_input_nodes, before=node))
        for node in list(self.graph.nodes):
            beside = [user for user in node.users if _one_by_one(self._layer(user))]
            if len(beside) > 1:
                self._branch(node, beside)
        if not self.made:
            return None
        self.graph.lint()
        self.traced.delete_all_unused_submodules()
        self.traced.recompile()
        self.graph.owning_module = None  # a cycle would keep a dropped network's memory until it is collected
        return self.traced

    def _pack(self, node: fx.Node, convolution: nn.Conv2d) -> None:
        """The convolution at `node`, with the ReLU after it where that is all that becomes of it.

        An average pool before a 1 × 1 convolution to fewer channels goes after it: both are linear, and fewer channels
        are averaged. The bias, which the pool would thin at the edge, is added after both.
        """
        (given,) = node.all_input_nodes
        relu = self._relu_after(node)
        size = self._pool_size(given) if len(given.users) == 1 and _narrows(convolution) else 0
        if size:
            narrow = PackedConvolution(convolution, relu=False, bias=False)
            new = self._call(narrow, given.all_input_nodes, before=node)
            new = self._call(AveragePool(size), [new], before=node)
            new = self._call(BiasAndRelu(convolution.bias, relu=relu is not None), [new], before=node)
        else:
            new = self._call(PackedConvolution(convolution, relu=relu is not None), [given], before=node)
        self._replace(node, new)
        if size:
            self.graph.erase_node(given)
        if relu is not None:
            self._replace(relu, relu.all_input_nodes[0])

    def _branch(self, given: fx.Node, nodes: Sequence[fx.Node]) -> None:
        """The packed 1 × 1 convolutions of `given` at `nodes` as one layer with several outputs."""
        (first, *_) = (node for node in self.graph.nodes if node in nodes)
        layers = [layer for node in nodes if isinstance(layer := self._layer(node), PackedConvolution)]
        together = self._call(Branches(layers), [given], before=first)
        with self.graph.inserting_before(first):
            outputs = [self.graph.call_function(operator.getitem, (together, i)) for i in range(len(nodes))]
        for node, output in zip(nodes, outputs, strict=True):
            self._replace(node, output)

    def _call(self, layer: nn.Module, inputs: Sequence[fx.Node], *, before: fx.Node) -> fx.Node:
        name = f"packed_{self.made}"
        self.made += 1
        self.traced.add_submodule(name, layer)
        self.layers[name] = layer
        with self.graph.inserting_before(before):
            return self.graph.call_module(name, tuple(inputs))

    def _replace(self, node: fx.Node, new: fx.Node) -> None:
        node.replace_all_uses_with(new)
        self.graph.erase_node(node)

    def _layer(self, node: fx.Node) -> nn.Module | None:
        return self.layers.get(str(node.target)) if node.op == "call_module" else None

    def _relu_after(self, node: fx.Node) -> fx.Node | None:
        """The ReLU that is all that becomes of `node`, through layers that change nothing."""
        while len(node.users) == 1:
            node = next(iter(node.users))
            layer = self._layer(node)
            if type(layer) is nn.ReLU and not is_watched(layer):
                return node
            if node.op == "call_function" and node.target in _RELUS:
                return node
            if node.op == "call_method" and node.target in _RELU_METHODS:
                return node
            if not isinstance(layer, nn.Identity | nn.Dropout) or is_watched(layer):
                return None
        return None

    def _pool_size(self, node: fx.Node) -> int:
        """The window of an average pool that keeps the image's size and counts zeros beyond its edge; else 0."""
        layer = self._layer(node)
        if type(layer) is nn.AvgPool2d and not is_watched(layer):
            given: dict[str, Any] = {name: getattr(layer, name) for name in _POOL_ARGUMENTS[1:]}
        elif node.op == "call_function" and node.target is F.avg_pool2d:
            given = dict(zip(_POOL_ARGUMENTS, node.args, strict=False)) | node.kwargs
        else:
            return 0
        windows, strides, paddings = (_sizes(given.get(name)) for name in _POOL_ARGUMENTS[1:4])
        plain = not given.get("ceil_mode") and given.get("count_include_pad", True)
        keeps = len(windows) == 1 and strides == {1} and paddings == {size // 2 for size in windows}
        size = windows.pop() if windows else 0
        return size if plain and keeps and size % 2 and given.get("divisor_override") is None else 0


def _packs(convolution: nn.Conv2d) -> bool:
    zeros = convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)
    return (
        type(convolution) is nn.Conv2d and zeros and can_pack(convolution.weight.dtype) and not is_watched(convolution)
    )


def _narrows(convolution: nn.Conv2d) -> bool:
    alone = {1} == {*convolution.kernel_size, *convolution.stride, convolution.groups} and {*convolution.padding} == {0}
    return alone and convolution.out_channels < convolution.in_channels


def _one_by_one(layer: nn.Module | None) -> bool:
    return isinstance(layer, PackedConvolution) and layer.one_by_one


def _hooked(module: nn.Module) -> bool:
    return any(getattr(module, hooks) for hooks in _HOOKS)


def is_watched(layer: nn.Module) -> bool:
    """Whether something of the user's is called with the layer or in its place, and would not be without it."""
    return _hooked(layer) or "forward" in vars(layer)


def _sizes(value: Any) -> set[int]:
    """The sizes along both axes as a set, one element where they are equal; empty where they are not plain numbers."""
    values = value if isinstance(value, tuple | list) else (value,)
    return set(values) if all(isinstance(each, int) for each in values) else set()
