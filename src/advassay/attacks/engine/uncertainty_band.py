"""The band around the decision boundary inside which a steered verdict is not trusted, for one image at a time.

An image's band starts at the width a probe of the network found (`measure_margin_error`), the same for every image of a
run, and widens by that image's own comparisons alone. So which iterates float32 judges follows from the image, its
points, the network and the starting width: not from neighbours, order, or where a run was interrupted. Amplitudes added
to an image later are settled by themselves.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from advassay.attacks.attack_step import GradientModel
from advassay.success import margin

WIDENING = 2.0
"""The band is this many times the largest error seen near the boundary …"""
NEAR = 4.0
"""… where near means this many bands; farther out errors grow with the margin and say little about it …"""
NEAREST = 0.5
"""… and, of the probe, the share of comparisons nearest to it."""

PAIRS = 32
"""Comparisons made, or as many as one batch holds."""
IMAGES = 4
"""Images they are made on, each at several distances from the clean one."""
NEAREST_STEP, FARTHEST_STEP = 2.0**-12, 2.0**-4
"""Range of those distances: below what fells an undefended network, and the middle of a usual grid."""


def initial_band_width(margins: np.ndarray, errors: np.ndarray) -> float:
    """WIDENING times the largest error among the nearest half of a probe's comparisons, or any that reached 0.

    `margins`: |steered margin|, `errors`: |float32 margin − steered margin|, in logits, (comparison,). An error that
    is not a number, or no comparison at all, makes the band EVERYTHING: all is judged.

    >>> initial_band_width(np.array([0.1, 0.2, 30.0, 40.0]), np.array([0.02, 0.01, 1.0, 1.0]))
    0.04
    >>> initial_band_width(np.array([0.1, 30.0]), np.array([0.02, 31.0]))
    62.0
    """
    if not len(margins) or np.isnan(errors).any():
        return EVERYTHING
    nearest = np.argsort(margins, kind="stable")[: max(1, round(NEAREST * len(margins)))]
    # An error as large as the margin can have changed the verdict, however far from the boundary.
    flipped = errors >= margins
    return min(EVERYTHING, float(WIDENING * max(errors[nearest].max(), errors[flipped].max(initial=0.0))))


EVERYTHING = float(np.finfo(np.float32).max)
"""A band that holds every margin; finite, so that a header can hold it."""


class BandResult(NamedTuple):
    """What float32 must judge."""

    width: np.ndarray
    """Half width of each image's band, in logits, float64 (image,)."""
    required: np.ndarray
    """(row, step) bool."""


def required_float32_mask(
    steered: np.ndarray,
    judged: np.ndarray,
    start: float,
    downward: float,
    scored: np.ndarray | None = None,
    image: np.ndarray | None = None,
) -> BandResult:
    """Of each image, a set of iterates that holds its own band: mandatory ones, those inside it, those that widen it.

    `steered`, `judged`: margins (row, step), NaN where unknown. `downward`: −1 where a negative margin means
    adversarial, +1 where a positive one does (targeted). `scored` (row, step): where float32 has judged, if that is not
    where `judged` is a number (NaN logits decide nothing). `image` (row,): which image a row is of, numbered from 0;
    by default all are of one. Mandatory are the clean image, the last iterate, every iterate that was never steered,
    and of each row the steered successes up to the first that float32 confirms. What float32 knows beyond the set
    changes nothing; where it lacks something required, score that and ask again.
    """
    scored = ~np.isnan(judged) if scored is None else scored
    image = np.zeros(len(steered), np.int64) if image is None else image
    width = np.full(image.max(initial=0) + 1, start)
    # NaN where either is unknown; comparisons with it are false, so that unknown iterates widen nothing.
    sizes, errors = np.abs(steered), np.abs(judged - steered)
    required = np.zeros(steered.shape, bool)
    required[:, [0, -1]] = True
    while True:
        # An image whose width stays gains nothing by another round: what is required of it follows from its width.
        required |= ~(sizes > width[image, None])
        required |= _successes(steered, judged, scored, required, downward)
        wider = _wider(sizes, errors, required, width, image)
        if not (wider > width).any():
            return BandResult(width, required)
        width = wider


def _successes(
    steered: np.ndarray, judged: np.ndarray, scored: np.ndarray, required: np.ndarray, downward: float
) -> np.ndarray:
    """Each row's steered successes up to the first iterate that float32 finds adversarial, or has yet to judge."""
    confirmed = judged * downward > 0
    maybe = (steered * downward > 0) | (required & confirmed)
    # A clean image that is misclassified is no success of the attack.
    maybe[:, 0] = False
    ends = maybe & (~scored | confirmed)
    return maybe & (np.cumsum(ends, axis=1) - ends == 0)


def _wider(
    sizes: np.ndarray, errors: np.ndarray, required: np.ndarray, width: np.ndarray, image: np.ndarray
) -> np.ndarray:
    """The widths that the comparisons of required iterates ask for, at least `width`."""
    # Only of what is required, or a record would depend on what else happened to be scored.
    counts = required & ~np.isnan(errors) & ((sizes <= NEAR * width[image, None]) | (errors >= sizes))
    largest = np.where(counts, errors, 0.0).max(axis=1)
    wider = width.copy()
    np.maximum.at(wider, image, WIDENING * largest)
    return wider


def measure_margin_error(
    steering: GradientModel,
    judging: GradientModel,
    images: Tensor,
    labels: Tensor,
    targets: Tensor | None,
    batch_size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """(|steered margin|, |float32 margin − steered margin|) of the comparisons, float64 (comparison,).

    `images` float32 (image, channel, height, width) in [0, 1]; `labels` and `targets` (of a targeted attack, whose
    margins are the targets') int64 (image,). Every pass has `batch_size` images, as the attack's own have.
    """
    images, labels = images[:IMAGES], labels[:IMAGES]
    targets = None if targets is None else targets[:IMAGES]
    # The surrogate's gradient: the attack will look for the boundary where this one leads.
    gradient = torch.cat(
        [steering.gradient(x, y, t)[1][:kept] for x, y, t, kept in _batches(images, labels, targets, batch_size)]
    )
    each = -(-max(PAIRS, min(batch_size, 2 * PAIRS)) // len(images))
    # Spread evenly over orders of magnitude: nobody knows yet how far from the image the boundary is.
    steps = [0.0, *np.geomspace(NEAREST_STEP, FARTHEST_STEP, max(each - 1, 1)).tolist()]
    distances = torch.tensor(steps, dtype=torch.float32, device=images.device)
    moved = (images[:, None] + distances[:, None, None, None] * gradient.sign()[:, None]).clamp(0, 1).flatten(0, 1)
    wanted = (labels if targets is None else targets).repeat_interleave(len(distances))
    parts = _batches(moved, wanted, None, batch_size)
    low, high = (
        margin(torch.cat([net.score(x)[:kept] for x, _, _, kept in parts]).cpu().numpy(), wanted.cpu().numpy())
        for net in (steering, judging)
    )
    return np.abs(low), np.abs(high - low)


def _batches(
    images: Tensor, labels: Tensor, targets: Tensor | None, batch_size: int
) -> list[tuple[Tensor, Tensor, Tensor | None, int]]:
    """Parts of `batch_size`, the last one padded with its first image; with how many are real."""
    parts = []
    for begin in range(0, len(images), batch_size):
        count = min(batch_size, len(images) - begin)
        index = torch.tensor([*range(begin, begin + count)] + [begin] * (batch_size - count), device=images.device)
        parts.append((images[index], labels[index], None if targets is None else targets[index], count))
    return parts
