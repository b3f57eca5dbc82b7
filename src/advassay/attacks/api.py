"""The two calls people make on arrays: one attack, or a grid of them."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch

from advassay.attacks.batch_tuning import activation_bytes, execution_config
from advassay.attacks.checks.inputs import ModelWarning, check_classifier, check_epsilons, check_images, clipped
from advassay.attacks.engine.float32_verifier import REWRITES
from advassay.attacks.engine.preflight import FIRST_IMAGES, lookup
from advassay.attacks.masked_gradient_rerun import gradient_masked_images, linked_rerun
from advassay.attacks.stream import AttackStream, Item, no_images, stream_of
from advassay.classifier import Classifier
from advassay.classifier_state import one_at_a_time
from advassay.errors import AttackError, AttackWarning, EpsilonError, InputError
from advassay.progress import Silent
from advassay.record_columns import PATH_COLUMNS
from advassay.spec.attack_spec import (
    PGD,
    Precision,
    check_list,
    check_step_rule,
    did_you_mean,
    parse_amplitude,
    parse_step_size,
    step_size_name,
)
from advassay.trajectory import Sweep, Trajectory, TrajectoryRows

DEFAULT_BATCH = 32
BATCH_VALUES, LARGEST_DEFAULT_BATCH = 2**19, 512
"""Of small images more go into a batch, up to so many pixel values and images: a batch's bookkeeping takes the same
time whatever its size, and is felt beside the passes of a small network. Above WHOLE_BATCH_IMAGES only …"""
BATCH_BYTES = 2**28
"""… where a batch's activations are found to take no more than this."""
WHOLE_BATCH_VALUES = 2**23
"""Pixel values up to which `exact` takes all images as one batch, as the peers do: the last bits of a float32
convolution depend on the batch size. 2²³ is 42 images of 3 × 256 × 256."""
WHOLE_BATCH_IMAGES = 128
"""… and images, whatever their size: activations may need far more memory than pixels."""


Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def _named(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """`function`, whose unknown arguments are an AttackError that says what is meant."""
    known = inspect.signature(function).parameters

    @functools.wraps(function)
    def called(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        for name in kwargs:
            if name not in known:
                raise AttackError(
                    f"{name}: {function.__name__} has no such argument. {did_you_mean(name, known)}".strip(),
                    f"It has {', '.join(known)}; those of the attack itself go to advassay.PGD.",
                )
        return function(*args, **kwargs)

    return called


@_named
def attack(
    classifier: Classifier,
    images: Any,
    labels: Any,
    attack: PGD,
    image_ids: Sequence[str] | None = None,
    targets: Any = None,
    batch_size: int | None = None,
    precision: Precision = "exact",
) -> Trajectory:
    """Attack `images` and return every iterate's logits, (step, image, class); step 0 = clean.

    `images` float (image, channel, height, width) in [0, 1], torch or NumPy, never modified; `labels` (and `targets`,
    if attack.targeted) integers (image,). `image_ids` key the random start; by default "0", "1", …
    `precision="exact"` is float32 through the unmodified network: with L∞ projected-sign and no random start the
    iterates are torchattacks' and Foolbox's bit for bit, if those are given the same batch: up to WHOLE_BATCH_IMAGES
    images and WHOLE_BATCH_VALUES pixel values go as one, more in batches of `batch_size` (by default DEFAULT_BATCH, of
    small images more: BATCH_VALUES).
    Raises InputError, EpsilonError, ClassifierError or AttackError where the result would mean nothing.

    >>> linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
    >>> grey, labels = torch.full((3, 1, 2, 2), 0.5), torch.tensor([0, 1, 0])
    >>> t = attack(Classifier(linear), grey, labels, PGD(epsilon=0.02, steps=5))
    >>> t.logits.shape
    (6, 3, 2)
    """
    with one_at_a_time():
        found, suspicions = _attack(classifier, images, labels, attack, image_ids, targets, batch_size, precision)
    _warn(found.notes, suspicions)
    return found


def _attack(
    classifier: Classifier,
    images: Any,
    labels: Any,
    attack: PGD,
    image_ids: Sequence[str] | None,
    targets: Any,
    batch_size: int | None,
    precision: Precision,
) -> tuple[Trajectory, list[ModelWarning]]:
    given = _Arrays(classifier, images, labels, attack, image_ids, targets)
    points = [(step_size_name(attack.step_size), attack.epsilon)]
    rows, run = given.run(points, {points[0][0]: attack.step_size}, batch_size, precision, keep=True)
    axes = _Axes(rows, points, given.image_ids, leading=())
    final = [rows.final_images[i, *points[0]] for i in given.image_ids]
    found = Trajectory(
        attack=attack,
        image_ids=given.image_ids,
        labels=given.labels,
        targets=given.targets,
        **axes.columns(),
        flags={name: axes.per_row(flag) for name, flag in rows.flags.items()},
        cost=run.cost,
        adversarial_images=np.stack(final),
        restarts=_restarts(rows),
        notes=tuple(run.notes),
        precision=precision,
    )
    return found, run.suspicions


@_named
def sweep(
    classifier: Classifier,
    images: Any,
    labels: Any,
    attack: PGD,
    epsilons: Sequence[float | str],
    step_sizes: Sequence[float | str] | None = None,
    image_ids: Sequence[str] | None = None,
    targets: Any = None,
    batch_size: int | None = None,
    precision: Precision = "fast",
    first_success_only: bool = False,
) -> Sweep:
    """Attack `images` at every amplitude (and step size) of a grid; logits (…, epsilon, step, image, class).

    `attack` gives everything but the axes: its own ε is not used, its step size only if `step_sizes` is not given.
    A leading step_size axis exists only if `step_sizes` is given. Arguments and errors as for `attack`.
    `first_success_only` ends each trajectory at its first success (later iterates are NaN, flag `retired`).
    A second call on the same network and first images spares itself the examination (engine/preflight.py).
    `.rerun` is the same sweep under the margin loss, of the images whose gradient vanished or saturated.
    """
    with one_at_a_time():
        found, suspicions = _sweep(
            classifier, images, labels, attack, epsilons, step_sizes, image_ids, targets, batch_size, precision,
            first_success_only,
        )  # fmt: skip
    _warn(found.notes, suspicions)
    return found


def _sweep(
    classifier: Classifier,
    images: Any,
    labels: Any,
    attack: PGD,
    epsilons: Sequence[float | str],
    step_sizes: Sequence[float | str] | None,
    image_ids: Sequence[str] | None,
    targets: Any,
    batch_size: int | None,
    precision: Precision,
    first_success_only: bool,
) -> tuple[Sweep, list[ModelWarning]]:
    given = _Arrays(classifier, images, labels, attack, image_ids, targets)
    amplitudes = _amplitudes(epsilons, attack)
    rules = _step_rules([attack.step_size] if step_sizes is None else step_sizes, attack)
    points = [(name, epsilon) for name in rules for epsilon in amplitudes]
    rows, run = given.run(points, rules, batch_size, precision, first_success_only=first_success_only)
    leading = (len(amplitudes),) if step_sizes is None else (len(rules), len(amplitudes))
    axes = _Axes(rows, points, given.image_ids, leading)
    again, masked = linked_rerun(attack), sorted(given.image_ids.index(i) for i in gradient_masked_images(rows))
    rerun, suspicions = None, list(run.suspicions)
    if again is not None and masked and not first_success_only:
        ids = [given.image_ids[i] for i in masked]
        goals = None if given.targets is None else given.targets[masked]
        part = given.images[masked], given.labels[masked]
        rerun, more = _sweep(classifier, *part, again, amplitudes, step_sizes, ids, goals, batch_size, precision, False)
        suspicions += more
    found = Sweep(
        attack=attack,
        epsilons=tuple(amplitudes),
        step_sizes=None if step_sizes is None else tuple(rules),
        image_ids=given.image_ids,
        labels=given.labels,
        targets=given.targets,
        **axes.columns(),  # type: ignore[arg-type]
        flags={name: axes.per_row(flag) for name, flag in rows.flags.items()},
        cost=run.cost,
        rerun=rerun,
        restarts=_restarts(rows),
        notes=tuple(run.notes),
        precision=precision,
    )
    return found, suspicions


def _warn(notes: Sequence[str], suspicions: Sequence[ModelWarning]) -> None:
    """Warn the caller of `attack` or `sweep`, of each suspicion and of NaN logits once."""
    texts = [f"{flag}: {text}" for flag, text in suspicions] + [note for note in notes if note.startswith("nan:")]
    for text in dict.fromkeys(texts):
        warnings.warn(text, AttackWarning, stacklevel=4)


class _Arrays:
    """The images and labels of one call, checked and as NumPy."""

    def __init__(
        self, classifier: Classifier, images: Any, labels: Any, attack: PGD, image_ids: Any, targets: Any
    ) -> None:
        check_classifier(classifier)
        if not isinstance(attack, PGD):
            raise AttackError(
                f"attack: expected an advassay.PGD, got {type(attack).__name__}.",
                "Say what the attack is: advassay.PGD(epsilon=0.02, step_size=0.01, steps=20).",
            )
        self.classifier, self.attack = classifier, attack
        self.images = _numpy("images", images)
        self.labels = _numpy("labels", labels)
        self.targets = _numpy("targets", targets) if targets is not None else None
        check_images(self.images, self.labels, self.targets)
        if attack.targeted != (targets is not None):
            raise InputError(
                f"targets: needed if and only if the attack is targeted, got targeted={attack.targeted}.",
                "Give targets=… together with PGD(targeted=True).",
            )
        self.labels = self.labels.astype(np.int64)
        self.targets = None if self.targets is None else self.targets.astype(np.int64)
        n = len(self.images)
        if isinstance(image_ids, str):
            raise InputError(f"image_ids: expected a list of {n} ids, got one text.", "Give one id an image.")
        self.image_ids = tuple(map(str, image_ids)) if image_ids is not None else tuple(map(str, range(n)))
        if len(self.image_ids) != n or len(set(self.image_ids)) != n:
            raise InputError(f"image_ids: expected {n} distinct ids, got {len(set(self.image_ids))}.", "One an image.")

    def run(
        self,
        points: list[tuple[str, float]],
        rules: dict[str, float | str],
        batch_size: int | None,
        precision: Precision,
        *,
        keep: bool = False,
        first_success_only: bool = False,
    ) -> tuple[TrajectoryRows, AttackStream]:
        if precision not in REWRITES or (batch_size is not None and batch_size < 1):
            raise AttackError(
                f"precision, batch_size: expected one of {', '.join(REWRITES)} and 1 or more, got {precision!r} and "
                f"{batch_size!r}.",
                "Leave them out for the defaults.",
            )
        device = str(self.classifier.mean.device)
        shape = execution_config(batch_size or self._default_batch(precision), precision=precision, device=device)
        wanted = frozenset(points)
        goals = [-1] * len(self.labels) if self.targets is None else self.targets
        items = [
            Item(*each[:3], wanted, int(each[3]))
            for each in zip(self.image_ids, self.images, self.labels, goals, strict=True)
        ]
        keep_images = (lambda image_id: True) if keep else no_images
        first = slice(FIRST_IMAGES)
        asked = (self.attack.loss, self.attack.update, shape, precision, self.labels[first].tolist(), goals[first])
        run = stream_of(self.attack)(
            self.classifier,
            items,
            self.attack,
            rules,
            shape=shape,
            precision=precision,
            keep_images=keep_images,
            progress=Silent(),
            task="attack",
            images_per_block=np.inf,
            every_seconds=np.inf,
            first_success_only=first_success_only,
            choose_surrogate=True,
            known=lookup(self.classifier, clipped(self.images[first])[0], *asked),
        )
        return TrajectoryRows.concatenate(list(run)), run

    def _default_batch(self, precision: Precision) -> int:
        n = len(self.images)
        if precision == "exact" and self.images.size <= WHOLE_BATCH_VALUES and n <= WHOLE_BATCH_IMAGES:
            return n
        by_pixels = min(LARGEST_DEFAULT_BATCH, BATCH_VALUES // self.images[0].size)
        size = 1 << max(by_pixels, DEFAULT_BATCH).bit_length() - 1
        if min(n, size) > WHOLE_BATCH_IMAGES:
            each = activation_bytes(self.classifier, clipped(self.images[:1])[0])
            if each is None or min(n, size) * each > BATCH_BYTES:
                size = WHOLE_BATCH_IMAGES
        return min(n, size)


def _restarts(rows: TrajectoryRows) -> TrajectoryRows | None:
    again = rows.restart > 0
    return rows.take(again) if again.any() else None


class _Axes:
    """Puts the declared rows (restart 0) of a block into the axes (…, image) of a grid."""

    def __init__(
        self,
        rows: TrajectoryRows,
        points: list[tuple[str, float]],
        image_ids: tuple[str, ...],
        leading: tuple[int, ...],
    ) -> None:
        keys = zip(rows.step_size, rows.epsilon, rows.image_id, rows.restart, strict=True)
        place = {(str(s), float(e), str(i)): r for r, (s, e, i, restart) in enumerate(keys) if restart == 0}
        order = [place[name, epsilon, i] for name, epsilon in points for i in image_ids]
        self.rows, self._index = rows, np.array(order).reshape(*leading, len(image_ids))

    def per_row(self, values: np.ndarray) -> np.ndarray:
        """(row,) → (…, image)."""
        return values[self._index]

    def columns(self) -> dict[str, np.ndarray]:
        """Every column of the path: (row, step, …) → (…, step, image, …), (row,) → (…, image)."""
        lead = self._index.ndim - 1
        found = {name: self.per_row(getattr(self.rows, name)) for name in PATH_COLUMNS}
        return {
            name: np.moveaxis(values, lead, lead + 1) if "step" in PATH_COLUMNS[name].axes else values
            for name, values in found.items()
        }


def _amplitudes(epsilons: Sequence[float | str], attack: PGD) -> list[float]:
    try:
        check_list(epsilons)
        amplitudes = [parse_amplitude(e) for e in epsilons]
    except (TypeError, ValueError) as problem:
        raise EpsilonError(
            f"epsilons: {problem}.", "Give fractions of the [0, 1] range, such as 0.02 or 5/255."
        ) from None
    if not amplitudes or len(set(amplitudes)) < len(amplitudes):
        raise EpsilonError(
            f"epsilons: expected one or more distinct amplitudes, got {list(epsilons)}.", "List each once."
        )
    check_epsilons(amplitudes, attack.norm)
    return amplitudes


def _step_rules(step_sizes: Sequence[float | str], attack: PGD) -> dict[str, float | str]:
    try:
        check_list(step_sizes)
        rules = [parse_step_size(size) for size in step_sizes]
        for rule in rules:
            check_step_rule(rule, attack.update)
    except (TypeError, ValueError) as problem:
        raise AttackError(f"step_sizes: {problem}.", "Give steps such as 0.01, or 100 for a raw gradient.") from None
    if not rules:
        raise AttackError("step_sizes: expected at least one, got none.", "Leave it out to use the attack's own.")
    return {step_size_name(rule): rule for rule in rules}


def _numpy(argument: str, values: Any) -> np.ndarray:
    """The argument's values as an array. Raises InputError for what is no plain array."""
    if isinstance(values, np.ma.MaskedArray):
        raise InputError(
            f"{argument}: expected an array without a mask, got a masked one.",
            f"Fill what is masked, as in {argument}.filled(0), or leave these images out.",
        )
    if isinstance(values, torch.Tensor):
        if values.layout != torch.strided:
            raise InputError(
                f"{argument}: expected a dense tensor, got layout {values.layout}.", f"Give {argument}.to_dense()."
            )
        if values.device.type == "meta":
            raise InputError(
                f"{argument}: expected values, got a tensor on the device meta, which holds none.",
                f"Make {argument} on the CPU or the network's device.",
            )
        plain = values.detach().cpu()
        return plain.numpy() if plain.dtype != torch.bfloat16 else plain.float().numpy()  # NumPy has none
    try:
        return np.asarray(values)
    except ValueError:
        raise InputError(
            f"{argument}: expected an array, got a list whose parts differ in shape.",
            "Bring all images to one shape (image, channel, height, width).",
        ) from None
