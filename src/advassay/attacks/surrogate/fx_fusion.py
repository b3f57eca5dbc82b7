"""The last rewrite on a CPU: a network's convolutions, ReLUs and average pools put together as packed_layers.py's.

What follows what is read off the network's graph (torch.fx). Tracing may lose what a module does in plain Python, or a
gradient of its own making: build.py compares logits and gradients on examples, and takes back what changes them.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from advassay.attacks.surrogate.packed_layers import AveragePool, BiasAndRelu, Branches, PackedConvolution, can_pack

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
