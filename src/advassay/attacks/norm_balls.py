"""The two norms of a perturbation: how long it is, the nearest point of an ε-ball, the steepest direction.

All tensors are float32, images (row, channel, height, width), ε (row,).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from advassay.spec.attack_spec import Norm, check_complete

_EPS_FOR_DIVISION = 1e-10  # torchattacks PGDL2: keeps a zero gradient a zero step


def steepest_direction(gradient: Tensor, norm: Norm) -> Tensor:
    """The gradient's sign (L∞), or the gradient over its L2 norm (L2)."""
    return NORMS[norm].steepest(gradient)


def project_onto_ball(values: Tensor, epsilon: Tensor, norm: Norm) -> Tensor:
    """The nearest point of the ε-ball: elementwise clamp (L∞), or scaled down where longer than ε (L2)."""
    return NORMS[norm].project(values, epsilon)


def norm_of(values: Tensor, norm: Norm) -> Tensor:
    """Largest absolute value (L∞) or Euclidean length (L2) of each row, float32 (row,)."""
    return NORMS[norm].length(values)


def as_column(per_row: Tensor) -> Tensor:
    """(row,) → (row, 1, 1, 1), to broadcast over images."""
    return per_row.view(-1, 1, 1, 1)


def _largest(values: Tensor) -> Tensor:
    return values.abs().flatten(1).amax(dim=1)


def _clamped(values: Tensor, epsilon: Tensor) -> Tensor:
    return values.clamp(-as_column(epsilon), as_column(epsilon))


def _length(values: Tensor) -> Tensor:
    # In float64, because it is a long sum: in float32 its last bits would depend on how the kernel splits it.
    return torch.linalg.vector_norm(values.flatten(1), dim=1, dtype=torch.float64).float()


def _scaled(values: Tensor, epsilon: Tensor) -> Tensor:
    length = _length(values)
    return values * as_column(torch.where(length > epsilon, epsilon / length, 1.0))


def _normalised(gradient: Tensor) -> Tensor:
    return gradient / as_column(_length(gradient) + _EPS_FOR_DIVISION)


class _NormEntry(NamedTuple):
    """A norm of perturbations."""

    length: Callable[[Tensor], Tensor]
    project: Callable[[Tensor, Tensor], Tensor]
    steepest: Callable[[Tensor], Tensor]


NORMS: dict[Norm, _NormEntry] = {
    "linf": _NormEntry(_largest, _clamped, torch.sign),
    "l2": _NormEntry(_length, _scaled, _normalised),
}
"""Every norm there is: the only place where one is registered."""
check_complete("norm", Norm, NORMS)
