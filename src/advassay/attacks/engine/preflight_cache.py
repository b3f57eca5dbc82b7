"""What one call learnt about a network, kept for the next call on the same network and images.

Examining a network, rewriting it and probing its band take as long as some hundred gradients: more than a small sweep
itself. All of it follows from the network, the first images and the arguments, so it is kept under a key of all three
for as long as the classifier lives. What a call gives is never a matter of what ran before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch

from advassay.attacks.checks.inputs import ModelWarning
from advassay.attacks.engine.fingerprint import fingerprint
from advassay.attacks.float32_settings import full_float32
from advassay.attacks.surrogate.build import Surrogate, behaviour
from advassay.classifier import Classifier
from advassay.classifier_state import one_at_a_time

Measured = TypeVar("Measured")


class ModelCache:
    """What several streams over one classifier may share, as long as nobody changes it: its rewritten copies, and what
    was measured on it before. Hand one to each of them.
    """

    def __init__(self) -> None:
        self.copies: dict[tuple[str, ...], Surrogate] = {}
        self.classes = 0
        """0 = not known yet."""
        self._measured: dict[tuple[object, ...], Any] = {}

    def once(self, measure: Callable[[], Measured], *about: object) -> Measured:
        """What `measure()` gives, measured at the first call `about` the same; `about`: all that the result follows
        from besides the network, its own name first.
        """
        if about not in self._measured:
            self._measured[about] = measure()
        return self._measured[about]


@dataclass
class PreflightCache:
    """What is known of a network before a stream's first step; the stream finds what is not, and writes it here."""

    shared: ModelCache = field(default_factory=ModelCache)
    suspected: Sequence[ModelWarning] | None = None
    """By the examination; None = not examined yet."""
    band: float | None = None
    """|margin|, in logits, that every image's band begins with (uncertainty_band.py); None also where every pass is
    float32."""
    held: tuple[str, ...] | None = None
    """The rewrites that hold; None = not tried yet."""
    set_aside: tuple[str, ...] = ()
    """Rewrites that hold, but are not worth their time (surrogate/speed_trial.py)."""


KEPT = 4
"""Memories a classifier, so that a few precisions can take turns: each a copy of the network, fused with its weights
packed twice beside them."""
_LATEST: WeakKeyDictionary[Classifier, dict[str, PreflightCache]] = WeakKeyDictionary()


def lookup(classifier: Classifier, images: np.ndarray, *asked: object) -> PreflightCache:
    """The memory of this very network, asked the same on the same first `images`; a new one where anything differs.

    `images` float32 (image, channel, height, width) in [0, 1]; `asked`: whatever else the findings depend on, of
    types whose repr says their value. A classifier's latest `KEPT` are kept; of a network that cannot be told from
    another by its content, none.
    """
    with one_at_a_time():
        key = _key(classifier, images, asked)
        if key is None:
            return PreflightCache()
        kept = _LATEST.setdefault(classifier, {})
        # Taken out and put back last: the oldest is the one dropped.
        memory = kept.pop(key, None) or PreflightCache()
        kept[key] = memory
        while len(kept) > KEPT:
            del kept[next(iter(kept))]
        return memory


def _key(classifier: Classifier, images: np.ndarray, asked: Sequence[object]) -> str | None:
    """Hash of everything a network's behaviour is known to follow from, and of its behaviour; None where that fails.

    What it holds (fingerprint.py), and the logits and the gradient of the first image, which a change hidden from all
    that would move.
    """
    try:
        with classifier.attack_mode(), full_float32():
            digest = hashlib.sha256(fingerprint(classifier).encode())
            one = torch.from_numpy(images[:1]).to(classifier.mean.device)
            for each in behaviour(classifier, one):
                digest.update(b"-" if each is None else each.cpu().numpy().tobytes())
    # Not remembered rather than remembered wrongly.
    except Exception:  # the network is the user's and may raise anything: the examination says what is wrong with it
        return None
    digest.update(repr(asked).encode())
    digest.update(np.ascontiguousarray(images).data)
    return digest.hexdigest()
