"""Before the first step: is this attack able to give a meaningful number at all?

What is wrong beyond doubt stops with an error of our tree, naming cause and fix. What is only suspicious is returned as
`ModelWarning`s: they become flags of every row, notes of the run's header and a line of the report. Here is what
images, labels and numbers show; checks/model.py tries the network.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch.nn.parameter import is_lazy

from advassay.classifier import Classifier
from advassay.errors import ClassifierError, EpsilonError, InputError
from advassay.spec.attack_components import UPDATE_RULES
from advassay.spec.attack_spec import Norm, check_epsilon

NAMED = 5
"""Parts of a network that a message names; the others are counted."""
ROUNDING = 1e-6
"""How far outside [0, 1] a pixel may lie by the rounding of a resize or a division; it is clipped."""


class ModelWarning(NamedTuple):
    """Something allowed but doubtful: a flag's name, and a sentence of cause and fix."""

    flag: str
    text: str


def check_images(images: np.ndarray, labels: np.ndarray, targets: np.ndarray | None = None) -> None:
    """Raise InputError unless images are floats in [0, 1] to rounding, four axes, and labels integers, one each."""
    if images.ndim != 4 or len(images) == 0:
        raise InputError(
            f"images: expected (image, channel, height, width) with at least one image, got {images.shape}.",
            "Add the missing axis with images[None] or images[:, None].",
        )
    if not np.issubdtype(images.dtype, np.floating):
        raise InputError(
            f"images: expected floats in [0, 1], got {images.dtype}.", "Divide 8-bit images by 255, 16-bit by 65535."
        )
    low, high = float(np.min(images)), float(np.max(images))
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):
        raise InputError(f"images: expected values in [0, 1], got {low:.4g} to {high:.4g}.", _range_fix(low, high))
    for name, classes in (("labels", labels), ("targets", targets)):
        if classes is not None:
            _check_classes(name, classes, len(images))


def clipped(image: np.ndarray) -> tuple[np.ndarray, int]:
    """`image` as float32 in [0, 1], a copy, and how many of its pixel values lay outside by rounding."""
    copy = np.array(image, np.float32)
    if copy.min() >= 0 and copy.max() <= 1:  # as nearly all are
        return copy, 0
    outside = int(((copy < 0) | (copy > 1)).sum())
    return np.clip(copy, 0, 1, out=copy), outside


def _range_fix(low: float, high: float) -> str:
    if np.isnan(low) or np.isnan(high):
        return "Some pixels are not numbers: mend or leave out those images."
    if low >= 0:
        return f"They look like stored grey levels: divide by {255 if high <= 255 else 65535}."
    return "They look normalised: pass images in [0, 1] and give the normalisation to Classifier(mean=…, std=…)."


def _check_classes(name: str, classes: np.ndarray, n: int) -> None:
    if not np.issubdtype(classes.dtype, np.integer):
        raise InputError(
            f"{name}: expected class indices as integers, got {classes.dtype}.",
            "One index an image, not one-hot rows or floats: labels.argmax(1) or labels.long().",
        )
    if classes.shape != (n,):
        raise InputError(f"{name}: expected one per image, ({n},), got {classes.shape}.", f"Give {n} class indices.")
    if classes.min() < 0:
        raise InputError(f"{name}: expected class indices from 0, got {classes.min()}.", "Number the classes from 0.")


def check_epsilons(epsilons: list[float], norm: Norm) -> list[ModelWarning]:
    """Raise EpsilonError for an amplitude that cannot be a fraction of [0, 1]; suspect one above half the range."""
    for epsilon in epsilons:
        try:
            check_epsilon(epsilon, norm)
        except ValueError as problem:
            raise EpsilonError(
                str(problem), "An amplitude is a fraction of the [0, 1] range: write grey levels as 4/255."
            ) from None
    if norm == "linf" and max(epsilons, default=0) > 0.5:
        text = (
            f"ε = {max(epsilons):g} is more than half of the [0, 1] range: any image can become grey. Check its unit."
        )
        return [ModelWarning("epsilon_large", text)]
    return []


def check_steps(steps: list[float], epsilons: list[float], update: str) -> list[ModelWarning]:
    """Suspect a step of given length that is so coarse against every ε that the ball cannot be explored."""
    if UPDATE_RULES.get(update).step_meaning == "length" and steps and epsilons and min(steps) > 2 * max(epsilons) > 0:
        text = (
            f"the step {min(steps):g} is more than twice the largest ε {max(epsilons):g}: iterates jump from "
            'face to face of the ball. Use a relative step such as "epsilon/4".'
        )
        return [ModelWarning("step_coarse", text)]
    return []


def check_device(classifier: Classifier, device: torch.device) -> None:
    """Raise ClassifierError unless every weight and buffer is on that kind of device."""
    kinds = {t.device.type for t in (*classifier.parameters(), *classifier.buffers())}
    if kinds != {device.type}:
        raise ClassifierError(
            f"classifier: expected all of it on one device, {device.type}, got {', '.join(sorted(kinds))}.",
            'Move the whole classifier, not only the module inside it: classifier.to("cuda").',
        )


def check_classifier(classifier: object) -> None:
    """Raise ClassifierError unless it is a Classifier."""
    if not isinstance(classifier, Classifier):
        raise ClassifierError(
            f"classifier: expected an advassay.Classifier, got {type(classifier).__name__}.",
            "Wrap the module: advassay.Classifier(module, mean=…, std=…).",
        )


def check_weights(classifier: Classifier) -> None:
    """Raise ClassifierError for weights that are not there yet, or that float32 images cannot go through."""
    for name, buffer in classifier.module.named_buffers():
        if buffer.is_inference():
            raise ClassifierError(
                f"module: no gradient can pass {name}, a buffer which was made inside torch.inference_mode().",
                "Build or load the network outside inference mode.",
            )
    for name, weight in classifier.module.named_parameters():
        if is_lazy(weight):
            raise ClassifierError(
                f"module: every layer needs its weights, but the lazy layer of {name} has none yet.",
                "Run one batch through the module and load its weights, then attack it.",
            )
        if weight.is_inference():
            raise ClassifierError(
                f"module: no gradient can pass {name}, which was made inside torch.inference_mode().",
                "Build or load the network outside inference mode.",
            )
        if weight.is_floating_point() and weight.dtype.itemsize < 4:
            raise ClassifierError(
                f"module: expected float32 weights, got {_dtype(weight)} ({name}): its rounding would be attacked.",
                "Convert the network: module.float(). A fast attack is made in bfloat16 by itself.",
            )


def _dtype(weight: torch.Tensor) -> str:
    return str(weight.dtype).removeprefix("torch.")


def check_normalisation(classifier: Classifier) -> list[ModelWarning]:
    """Suspect a mean or standard deviation that no images in [0, 1] can have."""
    mean, std = float(classifier.mean.abs().max()), float(classifier.std.max())
    if mean <= 1 and std <= 1:
        return []
    text = (
        f"images in [0, 1] are normalised with a mean of up to {mean:.4g} and a standard deviation of up to {std:.4g}: "
        "these look like numbers for grey levels from 0 to 255. Divide both by 255."
    )
    return [ModelWarning("normalisation", text)]


def check_modes(classifier: Classifier) -> list[ModelWarning]:
    """Name what is in train mode: it is attacked in eval mode."""
    parts = classifier.training_parts()
    if not parts:
        return []
    if parts == ["the module"]:
        text = "the module was in train mode: it is attacked in eval mode. Call module.eval() to be sure it is meant."
    else:
        named = ", ".join(parts[:NAMED]) + (f" and {len(parts) - NAMED} more" if len(parts) > NAMED else "")
        text = (
            f"parts of the module were in train mode: {named}. They are attacked in eval mode, so dropout that was "
            "left on by choice (Monte Carlo dropout) is off. Call module.eval() to be sure it is meant."
        )
    return [ModelWarning("train_mode", text)]
