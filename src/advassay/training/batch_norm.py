"""Batch-norm statistics recomputed from images, because running averages lag far behind when updates are few.

A running average (momentum 0.1) describes the networks of the last ten updates or so, and with few, large updates
those differ from the one that is evaluated (measured: training loss 0.008, evaluation accuracy 0.51). The remedy is
that of stochastic weight averaging (Izmailov et al. 2018) and of Wu & Johnson 2021 ("Rethinking 'Batch' in BatchNorm",
section 3).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def recompute_statistics(network: nn.Module, batches: Iterable[Tensor]) -> int:
    """Replace every batch-norm layer's running mean and variance by their plain average over `batches`.

    Everything but batch norm (dropout, stochastic depth) is in evaluation mode meanwhile; modes and momenta are put
    back after. batches: float32 images as `network` takes them, of equal or nearly equal sizes. Returns the number of
    layers.
    """
    layers = [part for part in network.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    if not layers:
        return 0
    modes = [(part, part.training) for part in network.modules()]
    momenta = [layer.momentum for layer in layers]
    try:
        network.eval()
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # torch's word for a cumulative average
            layer.training = True
        for images in batches:
            network(images)
    finally:
        for part, mode in modes:
            part.training = mode
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
    return len(layers)
