"""Preflight: everything between a call and its first step, and what is kept of it for the next call.

The arguments and the network are checked, the surrogate is built and chosen, how wrong it is near the decision
boundary is measured. That takes as long as some hundred gradients: more than a small sweep itself. All of it follows
from the network, the first images and the arguments, so it is kept in a `PreflightCache` under a key of all three for
as long as the classifier lives; a run that goes on later does without as well. What a call gives is never a matter of
what ran before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from advassay.attacks.attack_step import GradientModel
from advassay.attacks.checks.inputs import (
    ModelWarning,
    check_classifier,
    check_device,
    check_epsilons,
    check_images,
    check_modes,
    check_normalisation,
    check_steps,
    check_weights,
    clipped,
)
from advassay.attacks.checks.model import PROBES, examine, examine_loss
from advassay.attacks.engine.fingerprint import fingerprint
from advassay.attacks.engine.float32_verifier import REWRITES, Float32Verifier, audit_fraction, expected_gradient_count
from advassay.attacks.engine.image_state import GridRow
from advassay.attacks.engine.uncertainty_band import IMAGES, initial_band_width, measure_margin_error
from advassay.attacks.float32_settings import full_float32
from advassay.attacks.surrogate.build import Surrogate, behaviour, build_surrogate, possible_on, supports_channels_last
from advassay.attacks.surrogate.compile import backend_of, compile_surrogate
from advassay.attacks.surrogate.speed_trial import SpeedTrial, architecture, chosen_once, set_aside_note
from advassay.classifier import Classifier
from advassay.classifier_state import one_at_a_time
from advassay.spec.attack_components import UPDATE_RULES
from advassay.spec.attack_spec import PGD, Arm, Precision
from advassay.store_documents import ExecutionConfig

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


# ---- before the first step -------------------------------------------------------------------------------------------

FIRST_IMAGES = max(PROBES, IMAGES)
"""Images that the network is examined and measured on."""
VERIFIED_CHANNELS_LAST = "judged channels-last"
"""Among what held (a text of stored headers): the unmodified network took that layout too."""


class PreflightBatch(NamedTuple):
    """The first images, on which the network is examined and measured."""

    images: Tensor
    """float32 (image, channel, height, width), on the network's device like the others."""
    labels: Tensor
    targets: Tensor | None
    digest: str
    """Of all three."""


class Ready(NamedTuple):
    """What the scheduler is made of."""

    steering: GradientModel
    verifying: GradientModel
    verifier: Float32Verifier | None
    """None where every pass is float32's through the unmodified network."""
    classes: int


class Preflight:
    """The preflight of one attack; `notes` and `warnings` say what it found."""

    def __init__(
        self,
        classifier: Classifier,
        rules: PGD | Arm,
        *,
        shape: ExecutionConfig,
        precision: Precision,
        known: PreflightCache,
        choose: bool,
    ) -> None:
        self.classifier, self.rules, self.shape, self.precision = classifier, rules, shape, precision
        self.known, self._choose = known, choose
        self.notes: list[str] = []
        self.warnings: list[ModelWarning] = []
        self.classes = 0

    def check_arguments(self) -> torch.device:
        """Check what needs no pass through the network; returns the device that it is on."""
        check_classifier(self.classifier)
        check_weights(self.classifier)
        check_device(self.classifier, torch.device(self.shape.device))
        self.warnings = check_modes(self.classifier) + check_normalisation(self.classifier)
        return self.classifier.mean.device  # which one of several

    def take(self, images: np.ndarray, labels: np.ndarray, targets: np.ndarray | None) -> PreflightBatch:
        """The first images as the network takes them. Raises InputError for what is wrong with them."""
        check_images(images, labels, targets)
        device = self.classifier.mean.device
        x, y = torch.from_numpy(clipped(images)[0]).to(device), torch.from_numpy(labels).to(device)
        goal = None if targets is None else torch.from_numpy(targets).to(device)
        digest = hashlib.sha256(repr((images.shape, labels.tolist(), goal if goal is None else goal.tolist())).encode())
        digest.update(x.cpu().contiguous().numpy().data)
        return PreflightBatch(x, y, goal, digest.hexdigest())

    def examine(self, first: PreflightBatch, rows: Sequence[GridRow]) -> None:
        """The grid, the network and the loss: broken beyond doubt is an error, what is only suspicious is noted."""
        epsilons, steps = sorted({r.epsilon for r in rows}), [r.step for r in rows]
        self.warnings += check_epsilons(epsilons, self.rules.norm) + check_steps(steps, epsilons, self.rules.update)
        if self.known.suspected is None or not self.known.shared.classes:
            self.known.suspected = self._examine_network(first)
        self.warnings += self.known.suspected
        self.classes = self.known.shared.classes
        self.notes += [f"{w.flag}: {w.text}" for w in self.warnings]

    def _examine_network(self, first: PreflightBatch) -> list[ModelWarning]:
        batch_size, shared = self.shape.batch_size, self.known.shared
        follows = UPDATE_RULES.get(self.rules.update).needs_gradient
        examined = shared.once(
            lambda: examine(
                self.classifier, first.images, first.labels, targets=first.targets, batch_size=batch_size,
                gradient=follows,
            ),
            "examined", first.digest, batch_size, follows,
        )  # fmt: skip
        shared.classes = examined.logits.shape[1]
        return examined.suspicions + examine_loss(self.rules.loss, examined, first.labels, first.targets)

    def prepare(self, first: PreflightBatch, rows: Sequence[GridRow], images: int) -> Ready:
        """The network that steers and the one that judges; `rows`: of one image, `images`: about how many there are."""
        loss, gradients = self.rules.loss, max(images, 1) * expected_gradient_count(rows, self.rules)
        surrogate = self._surrogate(first, gradients)
        last = self._verifies_channels_last(first)
        self.known.held = (*surrogate.rewrites, *([VERIFIED_CHANNELS_LAST] if last else []))
        verifying = GradientModel(self.classifier, loss, channels_last=last)
        if UPDATE_RULES.get(self.rules.update).needs_float32:
            return Ready(verifying, verifying, None, self.classes)
        if not surrogate.rewrites:
            return Ready(GradientModel(self.classifier, loss), verifying, None, self.classes)
        if self.known.band is None:
            self.known.band = self._initial_band(surrogate, verifying, first)
        steering = GradientModel(surrogate.module, loss, channels_last="channels-last" in surrogate.rewrites)
        verifier = Float32Verifier(audit_fraction(gradients), start=self.known.band)
        return Ready(steering, verifying, verifier, self.classes)

    def _surrogate(self, first: PreflightBatch, gradients: int) -> Surrogate:
        """The copy that gives gradients: rewritten as far as that holds and pays, or as it is known to have."""
        if UPDATE_RULES.get(self.rules.update).needs_float32:
            return Surrogate(self.classifier)
        self._note_set_aside()
        wanted = tuple(r for r in self.shape.rewrites if r in REWRITES[self.precision])
        if self.known.held is not None:
            wanted = tuple(r for r in wanted if r in self.known.held)
        elif self._choose and wanted:
            wanted = self._chosen(first, wanted, gradients)
        if not wanted:
            return Surrogate(self.classifier)
        surrogate = self._built(first, wanted)
        if backend := backend_of(self.shape.rewrites):
            surrogate = compile_surrogate(surrogate, first.images, self.shape.batch_size, backend)
        self.notes += surrogate.notes
        return surrogate

    def _built(self, first: PreflightBatch, wanted: tuple[str, ...]) -> Surrogate:
        copies, sure = self.known.shared.copies, self.known.held is not None
        surrogate = copies.get(wanted) or build_surrogate(self.classifier, first.images[:PROBES], wanted, sure=sure)
        if surrogate.module is not self.classifier:  # or what is remembered of a network would keep it alive
            copies[wanted] = copies[surrogate.rewrites] = surrogate  # the next call asks for what held
        return surrogate

    def _chosen(self, first: PreflightBatch, wanted: tuple[str, ...], gradients: int) -> tuple[str, ...]:
        """The part of `wanted` that steers fastest here; the others are set aside, with a note."""
        whole = self._built(first, wanted)

        def choose() -> tuple[str, ...]:
            trial = SpeedTrial(
                self.classifier, first.images, first.labels, first.targets, loss=self.rules.loss,
                batch_size=self.shape.batch_size, gradients=gradients,
            )  # fmt: skip
            return trial.choose(wanted, lambda names: self._built(first, names))

        work = (tuple(first.images.shape), self.shape.batch_size, self.rules.loss, gradients, first.targets is None)
        chosen = chosen_once(
            (architecture(self.classifier), work, wanted, whole.rewrites, torch.get_num_threads()), choose
        )
        for names, built in list(self.known.shared.copies.items()):
            if chosen != built.rewrites and set(names) <= set(wanted):
                del self.known.shared.copies[names]  # each holds the weights once or twice more
        if chosen == whole.rewrites:
            return wanted  # with the notes of what did not hold
        self.known.set_aside = tuple(name for name in whole.rewrites if name not in chosen)
        self.notes += [*whole.notes, set_aside_note(self.known.set_aside)]
        return chosen

    def _note_set_aside(self) -> None:
        """Note what was set aside before: when the store's shape was chosen, or in an earlier call."""
        here = possible_on(self.shape.device, REWRITES[self.precision])
        absent = () if backend_of(self.shape.rewrites) else tuple(r for r in here if r not in self.shape.rewrites)
        if names := absent or self.known.set_aside:
            self.notes.append(set_aside_note(names))

    def _verifies_channels_last(self, first: PreflightBatch) -> bool:
        """Whether the unmodified network is given images laid out channels-last; never where every bit is asked for."""
        if self.precision == "exact":
            return False
        if self.known.held is not None:
            return VERIFIED_CHANNELS_LAST in self.known.held
        images = first.images[:PROBES]
        return self.known.shared.once(
            lambda: supports_channels_last(self.classifier, images), "channels-last", first.digest
        )

    def _initial_band(self, surrogate: Surrogate, verifying: GradientModel, first: PreflightBatch) -> float:
        """Half width, in logits, that every image's band starts with: measured on the first images, along the margin's
        gradient, whatever the loss."""
        batch_size = self.shape.batch_size
        steering = GradientModel(surrogate.module, "margin", channels_last="channels-last" in surrogate.rewrites)

        def width() -> float:
            errors = measure_margin_error(steering, verifying, first.images, first.labels, first.targets, batch_size)
            return initial_band_width(*errors)

        return self.known.shared.once(width, "band", first.digest, batch_size, self.shape.rewrites, self.known.held)
