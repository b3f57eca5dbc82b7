"""A network rewritten for attack: the same function to rounding, cheaper to differentiate.

Frozen copy, batch norms folded into the convolutions before them, channels-last, optionally bfloat16 weights, and on a
CPU layers fused (packed_layers.py). What follows what is seen by running the network once, so any module can be
rewritten as far as it goes; every rewrite is checked on example images and taken back where it fails or the logits
move, and fusing, which traces the network, where the gradient moves. The original is never touched: it judges.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from advassay.attacks.surrogate.packed_layers import can_pack_on, fuse, is_watched
from advassay.classifier import Classifier

FUSED = "fused"
FLOAT32_AGREEMENT = 1e-3
"""Largest change of a logit, relative to the largest logit, that rewrites in float32 may make together."""
BFLOAT16_AGREEMENT = 0.25
"""The same for bfloat16; beyond it the gradients steer somewhere else."""
SAME_FLOAT32_GRADIENT, SAME_BFLOAT16_GRADIENT = 0.05, 0.5
"""Length of the change of an image's gradient, relative to its own, that fusing may make: rounding, which the network's
kinks make more of (InceptionV3: up to 0.004 and 0.21), but not another gradient."""


@dataclass(frozen=True)
class Surrogate:
    """The module that gives gradients, what was done to it, and what could not be."""

    module: nn.Module
    rewrites: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def processor_has_bfloat16(device: str | torch.device) -> bool:
    """Whether bfloat16 arithmetic is native there (AVX-512 BF16, AMX, Arm BF16, CUDA 8.0), not emulated."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    try:
        with open("/proc/cpuinfo") as lines:
            flags = next(line for line in lines if line.startswith(("flags", "Features"))).split()
    except (OSError, StopIteration):
        return False
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(flags))


def possible_on(device: str | torch.device, names: Sequence[str]) -> tuple[str, ...]:
    """Those of the rewrites `names` that this device is made for."""
    here = {"bfloat16": processor_has_bfloat16(device), FUSED: can_pack_on(device)}
    return tuple(name for name in names if here.get(name, True))


def build_surrogate(classifier: Classifier, images: Tensor, wanted: Sequence[str], *, sure: bool = False) -> Surrogate:
    """A copy of `classifier` with the rewrites in `wanted` (_REWRITES) as far as they hold.

    `images`: a few examples, float32 (image, channel, height, width) in [0, 1]. The classifier is in attack mode.
    A rewrite that fails on the examples is taken back, with the error in the notes; `sure`: those wanted have been
    found to hold, and are not tried. The copy is made anew at every call.
    """
    try:
        module: nn.Module = copy.deepcopy(classifier)
    except (RuntimeError, TypeError, ValueError) as problem:
        return Surrogate(classifier, notes=(f"the network cannot be copied ({problem}): it is attacked as it is",))
    expected = None if sure else _logits(classifier, images)
    done: list[str] = []
    notes: list[str] = []
    found: _Pass | None = None
    """Of the network as far as it is rewritten; None where that has not been tried."""
    for name, change in _REWRITES:
        if name not in wanted:
            continue
        last, why = "channels-last" in (*done, name), ""
        try:
            before = (found or _tried(module, images, last)) if name == FUSED and expected is not None else None
            candidate = change(module, images)
            if candidate is None:
                continue
            module = candidate
            if expected is not None:
                after = _tried(module, images, last)
                why = _objection(after, expected, before, (*done, name))
        except Exception as problem:  # the network is the user's and may raise anything
            why = f"{type(problem).__name__}: {problem}".partition("\n")[0]
        if why:
            notes.append(f"{name}: taken back: {why}")
            module, found = _changed(copy.deepcopy(classifier), done, images), None
        else:
            done.append(name)
            found = after if expected is not None else None
    return Surrogate(module if done else classifier, tuple(done), tuple(notes))


class _Pass(NamedTuple):
    """Forwards and backwards through a network."""

    logits: Tensor
    gradient: Tensor | None
    """Of the first logit minus the others, with respect to the images; None where there is none."""


def _objection(found: _Pass, expected: Tensor, before: _Pass | None, names: Sequence[str]) -> str:
    """What a rewritten network does otherwise: its logits than the original, its gradient than `before` the rewrite."""
    moved = _relative_change(found.logits, expected)
    if not moved <= (BFLOAT16_AGREEMENT if "bfloat16" in names else FLOAT32_AGREEMENT):
        return f"it moves the logits by {moved:.2g} of the largest"
    if before is None or (before.gradient is None and found.gradient is None):
        return ""
    if before.gradient is None or found.gradient is None:
        return "the gradient is lost or found"
    change, length = (g.flatten(1).norm(dim=1) for g in (found.gradient - before.gradient, before.gradient))
    allowed = SAME_BFLOAT16_GRADIENT if "bfloat16" in names else SAME_FLOAT32_GRADIENT
    if not bool((change <= allowed * length).all()):
        return f"it moves a gradient by {float((change / length).nan_to_num(torch.inf).max()):.2g} of its length"
    return ""


def _changed(module: nn.Module, names: Sequence[str], images: Tensor) -> nn.Module:
    """A copy of the network with the rewrites that are known to hold; each changes what it is given."""
    for name, change in _REWRITES:
        if name in names:
            module = change(module, images) or module
    return module


def supports_channels_last(classifier: Classifier, images: Tensor) -> bool:
    """Whether the unmodified network gives the same logits, and a gradient, for images laid out channels-last."""
    try:
        logits = _tried(classifier, images, channels_last=True).logits
        return _relative_change(logits, _logits(classifier, images)) <= FLOAT32_AGREEMENT
    except Exception:  # as above: the caller goes on with the layout the network is known to take
        return False


def behaviour(module: nn.Module, images: Tensor) -> tuple[Tensor, Tensor | None]:
    """Logits (image, class) and the gradient of the first minus the others, None where there is none."""
    return _tried(module, images, channels_last=False)


def max_logit_change(module: nn.Module, before: nn.Module, images: Tensor, *, channels_last: bool) -> float:
    """Largest change of a logit between two versions of a network, relative to the largest logit."""
    now, then = (_tried(each, images, channels_last).logits for each in (module, before))
    return _relative_change(now, then)


def _tried(module: nn.Module, images: Tensor, channels_last: bool) -> _Pass:
    """A pass as the attack will make it, in that layout."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = images.contiguous(memory_format=layout).detach().requires_grad_()
    with torch.enable_grad():
        logits = module(x).float()
        if not logits.requires_grad:
            return _Pass(logits, None)
        (gradient,) = torch.autograd.grad((2 * logits[:, 0] - logits.sum(dim=1)).sum(), x, allow_unused=True)
    return _Pass(logits.detach(), gradient)


def _logits(module: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return module(images).float()


def _relative_change(logits: Tensor, expected: Tensor) -> float:
    scale = float(expected.abs().max().clamp_min(1e-6))
    change = float((logits - expected).abs().max()) / scale
    return change if change == change else float("inf")


def _fold(module: nn.Module, images: Tensor) -> nn.Module | None:
    """Each batch norm that alone follows a convolution becomes part of it; None where there is none."""
    calls = _calls(module, images)
    times = Counter(id(m) for m, _, _ in calls)
    made_by = {id(out): m for m, _, out in calls}
    pairs = [
        (made_by[id(seen)], m)
        for m, seen, _ in calls
        if isinstance(m, nn.BatchNorm2d) and m.track_running_stats and type(made_by.get(id(seen))) is nn.Conv2d
    ]
    pairs = [(c, b) for c, b in pairs if not is_watched(c) and not is_watched(b)]
    pairs = [(c, b) for c, b in pairs if times[id(c)] == times[id(b)] == 1]
    swaps: dict[nn.Module, nn.Module] = {}
    for convolution, norm in pairs:
        rest = _after_norm(norm)
        if rest is not None:
            assert isinstance(convolution, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            swaps[convolution], swaps[norm] = fuse_conv_bn_eval(convolution, norm), rest
    return _swap(module, swaps) if swaps else None


def _after_norm(norm: nn.Module) -> nn.Module | None:
    """What a batch-norm layer still does once its arithmetic is folded away; None if unknown."""
    if type(norm) is nn.BatchNorm2d:
        return nn.Identity()
    drop, act = getattr(norm, "drop", None), getattr(norm, "act", None)
    if isinstance(drop, nn.Module) and isinstance(act, nn.Module):  # timm's BatchNormAct2d
        return act if isinstance(drop, nn.Identity) else nn.Sequential(drop, act)
    return None


def _channels_last(module: nn.Module, images: Tensor) -> nn.Module:
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _bfloat16(module: nn.Module, images: Tensor) -> nn.Module | None:
    """Weights and activations in bfloat16, but the first layer (it sees perturbations far below bfloat16's spacing)
    and the last (it makes the logits) in float32."""
    assert isinstance(module, Classifier)
    layers = [m for m, _, _ in _calls(module, images) if isinstance(m, nn.Conv2d | nn.Linear)]
    if len(layers) < 3:
        return None
    first, last = layers[0], layers[-1]
    inner = module.module.bfloat16()
    module.module = _swap(inner, {first: _Cast(first.float(), torch.bfloat16), last: _Cast(last.float(), None)})
    return module


def _fused(module: nn.Module, images: Tensor) -> nn.Module | None:
    assert isinstance(module, Classifier)
    fused = fuse(module.module) if can_pack_on(images.device) else None
    if fused is None:
        return None
    module.module = fused
    return module


class _Cast(nn.Module):
    """A float32 layer among others: its input lifted to float32, its output cast on (or left)."""

    def __init__(self, layer: nn.Module, output: torch.dtype | None) -> None:
        super().__init__()
        self.layer, self.output = layer, output

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x.float())
        return y if self.output is None else y.to(self.output)


def _calls(module: nn.Module, images: Tensor) -> list[tuple[nn.Module, object, object]]:
    """(layer, its input, its output) of every leaf layer (batch norms count as leaves) in the order they ran."""
    calls: list[tuple[nn.Module, object, object]] = []
    leaves = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d) or not any(True for _ in m.children())]
    hooks = [
        m.register_forward_hook(lambda layer, given, out: calls.append((layer, given[0] if given else None, out)))
        for m in leaves
    ]
    try:
        _logits(module, images)
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def _swap(module: nn.Module, swaps: dict[nn.Module, nn.Module]) -> nn.Module:
    if module in swaps:
        return swaps[module]
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if child in swaps:
                setattr(parent, name, swaps[child])
    return module


_REWRITES = (("folded", _fold), ("channels-last", _channels_last), ("bfloat16", _bfloat16), (FUSED, _fused))
"""In the order in which they are done."""
