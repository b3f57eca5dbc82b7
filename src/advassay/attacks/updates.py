"""One update of an attack, split where amplitudes part: `propose` knows no ε, `settle` applies one.

The order and form of every operation is torchattacks' (and gives Foolbox's bits):
x′ = x + step·direction;  δ = clamp(x′ − x₀, −ε, ε);  x ← clamp(x₀ + δ, 0, 1).

`propose` also says how far the proposal goes (`extent`). Every ε ≥ extent settles to the same bits, so those
amplitudes can go on as one trajectory: this is the prefix sharing of the engine, and why it is exact.

All tensors are float32; x, clean, gradient (row, channel, height, width); step, epsilon (row,).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from advassay.attack_spec import Norm, Update, check_complete

_EPS_FOR_DIVISION = 1e-10  # torchattacks PGDL2: keeps a zero gradient a zero step


def propose(
    x: Tensor, clean: Tensor, gradient: Tensor, step: Tensor, update: Update, norm: Norm
) -> tuple[Tensor, Tensor]:
    """Where the step would go before any ε is looked at, and its extent (row,).

    Projected updates propose an image; its extent is its distance from the clean one. `literal` clips the gradient,
    not the image: it proposes the gradient itself, whose size is the extent.
    """
    if UPDATES[update].bounds == "gradient":
        return gradient, size(gradient, norm)
    proposal = x + column(step) * direction(gradient, update, norm)
    return proposal, size(proposal - clean, norm)


def settle(
    x: Tensor, clean: Tensor, proposal: Tensor, step: Tensor, epsilon: Tensor, update: Update, norm: Norm
) -> Tensor:
    """The next iterate: the proposal projected onto (literal: its gradient clipped to) ε, then clipped to [0, 1]."""
    if UPDATES[update].bounds == "gradient":
        return (x + column(step) * shrink(proposal, epsilon, norm)).clamp(0, 1)
    return (clean + shrink(proposal - clean, epsilon, norm)).clamp(0, 1)


def direction(gradient: Tensor, update: Update, norm: Norm) -> Tensor:
    """The gradient's sign (L∞), the gradient over its L2 norm (L2), or the raw gradient."""
    return NORMS[norm].steepest(gradient) if UPDATES[update].normalised else gradient


def shrink(values: Tensor, epsilon: Tensor, norm: Norm) -> Tensor:
    """The nearest point of the ε-ball: elementwise clamp (L∞), or scaled down where longer than ε (L2)."""
    return NORMS[norm].shrink(values, epsilon)


def size(values: Tensor, norm: Norm) -> Tensor:
    """Largest absolute value (L∞) or Euclidean length (L2) of each row, float32 (row,)."""
    return NORMS[norm].size(values)


def column(per_row: Tensor) -> Tensor:
    """(row,) → (row, 1, 1, 1), to broadcast over images."""
    return per_row.view(-1, 1, 1, 1)


def _largest(values: Tensor) -> Tensor:
    return values.abs().flatten(1).amax(dim=1)


def _clamped(values: Tensor, epsilon: Tensor) -> Tensor:
    return values.clamp(-column(epsilon), column(epsilon))


def _length(values: Tensor) -> Tensor:
    return torch.linalg.vector_norm(values.flatten(1), dim=1, dtype=torch.float64).float()  # a long sum


def _scaled(values: Tensor, epsilon: Tensor) -> Tensor:
    length = _length(values)
    return values * column(torch.where(length > epsilon, epsilon / length, 1.0))


def _normalised(gradient: Tensor) -> Tensor:
    return gradient / column(_length(gradient) + _EPS_FOR_DIVISION)


class _NormEntry(NamedTuple):
    """A norm of perturbations; see the functions of these names."""

    size: Callable[[Tensor], Tensor]
    shrink: Callable[[Tensor, Tensor], Tensor]
    steepest: Callable[[Tensor], Tensor]


class _UpdateEntry(NamedTuple):
    """An update rule."""

    normalised: bool
    """Whether the step follows the gradient's direction alone, not its length."""
    bounds: Literal["image", "gradient"]
    """What is held to ε."""


NORMS: dict[Norm, _NormEntry] = {
    "linf": _NormEntry(_largest, _clamped, torch.sign),
    "l2": _NormEntry(_length, _scaled, _normalised),
}
UPDATES: dict[Update, _UpdateEntry] = {
    "projected-sign": _UpdateEntry(normalised=True, bounds="image"),
    "projected-gradient": _UpdateEntry(normalised=False, bounds="image"),
    "literal": _UpdateEntry(normalised=False, bounds="gradient"),
    "apgd": _UpdateEntry(normalised=True, bounds="image"),  # the schedule and momentum are apgd.py's
}
"""Every norm and update rule there is: the only place where one is registered."""
check_complete("norm", Norm, NORMS)
check_complete("update", Update, UPDATES)
