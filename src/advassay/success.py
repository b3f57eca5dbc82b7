"""The only definition of success. Everything that counts misclassified images calls these functions.

An image *falls* at an iterate when the predicted class (argmax of the logits; the lowest index wins a tie)
is no longer its label; in a targeted attack when it is the target. Two denominators, never one bare number:

- attack_success_rate: over the images first classified correctly ("attackable"); native misclassifications
  count neither above nor below the line (Kovalev & Voynov 2019; study protocol 4);
- robust_accuracy: over all images, the share still classified correctly.

Both leave out images that are *undecided* at the iterate: a NaN logit is no decision, neither success nor robustness.

Two readings, kept apart by name: `last` judges iterate k alone (the paper's), `any` judges iterates 1 … k.
Arrays end in (…, step, image, class) throughout; logits are float32, step 0 is the clean image.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from advassay.array_types import Labels, Logits, Scores

Reading = Literal["last", "any"]


def predicted(logits: Scores) -> np.ndarray:
    """Class index, int64 (…): argmax over the last axis; -1 where any logit is NaN.

    >>> predicted(np.array([[0.0, 1.0], [np.nan, 1.0]], np.float32))
    array([ 1, -1])
    """
    best, decision = logits[..., 0], np.zeros(logits.shape[:-1], np.int64)
    for c in range(1, logits.shape[-1]):  # class by class: ten times as fast as argmax over so short an axis
        value = logits[..., c]
        decision[value > best] = c
        best = np.maximum(best, value)  # NaN once any is
    decision[np.isnan(best)] = -1
    return decision


def probabilities(logits: Scores) -> np.ndarray:
    """Softmax in float64 over the last axis, values in [0, 1]."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    exponential = np.exp(shifted)
    return exponential / exponential.sum(axis=-1, keepdims=True)


def confidence(logits: Scores) -> np.ndarray:
    """Largest softmax probability (…), float64, in [1/classes, 1]; on clean logits the clean_confidence.

    >>> confidence(np.zeros((1, 2), np.float32))
    array([0.5])
    """
    return probabilities(logits).max(axis=-1)


def margin(logits: Scores, labels: Labels) -> np.ndarray:
    """Logit of the label minus the largest other logit (…, image); negative = misclassified.

    `logits` (…, image, class), `labels` (image,). float64.
    """
    wide = logits.astype(np.float64)
    index = np.broadcast_to(labels, wide.shape[:-1])[..., None]
    true = np.take_along_axis(wide, index, axis=-1)[..., 0]
    others = wide.copy()
    np.put_along_axis(others, index, -np.inf, axis=-1)
    return true - others.max(axis=-1)


def is_adversarial(logits: Scores, labels: Labels, targets: Labels | None = None) -> np.ndarray:
    """Whether logits decide for another class than the label, or for the target if there is one; bool (…, image).

    `logits` (…, image, class). A NaN logit decides nothing. Whether an image counts at all is `attackable`'s to say.

    >>> is_adversarial(np.array([[0.0, 1.0], [0.0, 1.0]], np.float32), np.array([0, 1]))
    array([ True, False])
    """
    decision = predicted(logits)
    return (decision != labels) & (decision >= 0) if targets is None else decision == targets


def correct_on_clean(logits: Logits, labels: Labels, targets: Labels | None = None) -> np.ndarray:
    """Images that count in success (…, image): first classified correctly and, if targeted, not of the target class.

    `logits` (…, step, image, class); step 0 is judged.
    """
    correct = predicted(logits[..., 0, :, :]) == labels
    return correct if targets is None else correct & (targets != labels)


def has_succeeded(
    logits: Logits, labels: Labels, success: Reading = "last", targets: Labels | None = None
) -> np.ndarray:
    """Whether each image is misclassified at each iterate (…, step, image), bool; never at step 0.

    `any` is the running maximum over steps 1 … k.
    """
    now = is_adversarial(logits, labels, targets) & correct_on_clean(logits, labels, targets)[..., None, :]
    now[..., 0, :] = False
    if success == "any":
        return np.maximum.accumulate(now, axis=-2)
    if success == "last":
        return now
    raise ValueError(f'success: "last" or "any", got {success!r}')


def undecided(logits: Logits, success: Reading = "last") -> np.ndarray:
    """Whether an iterate has a NaN logit (…, step, image), bool; under `any`, whether one of iterates 0 … k has.

    >>> undecided(np.array([[[0.0, 1.0]], [[np.nan, 1.0]], [[0.0, 1.0]]], np.float32), "any")[:, 0]
    array([False,  True,  True])
    """
    unknown = predicted(logits) < 0
    if success == "any":
        return np.maximum.accumulate(unknown, axis=-2)
    if success == "last":
        return unknown
    raise ValueError(f'success: "last" or "any", got {success!r}')


def counted(logits: Logits, labels: Labels, success: Reading = "last", targets: Labels | None = None) -> np.ndarray:
    """Images in the denominator of success at each iterate (…, step, image): attackable, and misclassified or decided.

    Under `any` an image that was misclassified once stays so, whatever its later iterates are.
    """
    known = has_succeeded(logits, labels, success, targets) | ~undecided(logits, success)
    return known & correct_on_clean(logits, labels, targets)[..., None, :]


def attack_success_rate(
    logits: Logits, labels: Labels, success: Reading = "last", targets: Labels | None = None
) -> np.ndarray:
    """Share of `counted` images misclassified at each iterate (…, step), float64 in [0, 1]; NaN where none counts.

    >>> clean, after = [[2.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]
    >>> attack_success_rate(np.array([clean, after], np.float32), np.array([0, 0]))
    array([0., 1.])
    """
    events = has_succeeded(logits, labels, success, targets)
    return _share(events, counted(logits, labels, success, targets))


def robust_accuracy(logits: Logits, labels: Labels, success: Reading = "last") -> np.ndarray:
    """Share of decided images still classified correctly at each iterate (…, step), float64; NaN where none is.

    Step 0 is the clean accuracy. With `any`, an image must have stayed correct at every iterate up to k, and counts as
    not correct from the first wrong one on, whatever its other iterates are.
    """
    unknown = undecided(logits, success)
    wrong = is_adversarial(logits, labels)
    if success == "any":
        wrong = np.maximum.accumulate(wrong, axis=-2)
    return _share(~wrong & ~unknown, wrong | ~unknown)


def _share(events: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Events among the images that count, over the last axis; NaN where none counts."""
    n = of.sum(axis=-1)
    return np.divide((events & of).sum(axis=-1), n, out=np.full(n.shape, np.nan), where=n > 0)
