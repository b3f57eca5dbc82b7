"""Before the first step: is this attack able to give a meaningful number at all?

What is wrong beyond doubt stops with an error of our tree, naming cause and fix. What is only suspicious is returned as
`Suspicion`s: they become flags of every row, notes of the run's header and a line of the report.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from advassay.attack_spec import Norm, Update, check_epsilon
from advassay.attacks.losses import attack_loss, minimum_classes
from advassay.classifier import Classifier
from advassay.errors import AttackError, ClassifierError, EpsilonError, InputError

PROBES = 2
"""Images the network is examined with."""
UNSTABLE = 1e-3
"""Change of a logit, relative to the network's scale, that rounding cannot explain …"""
ROUNDING = 1e-5
"""… and the absolute change, in logits, that it always can."""


class Suspicion(NamedTuple):
    """Something allowed but doubtful: a flag's name, and a sentence of cause and fix."""

    flag: str
    text: str


def check_images(images: np.ndarray, labels: np.ndarray, targets: np.ndarray | None = None) -> None:
    """Raise InputError unless images are floats in [0, 1], four axes, and labels integers, one each."""
    if images.ndim != 4 or len(images) == 0:
        raise InputError(
            f"images: (image, channel, height, width) with at least one image is needed, got {images.shape}.",
            "Add the missing axis with images[None] or images[:, None].",
        )
    if not np.issubdtype(images.dtype, np.floating):
        raise InputError(
            f"images: floats in [0, 1] are needed, got {images.dtype}.", "Divide 8-bit images by 255, 16-bit by 65535."
        )
    low, high = float(np.min(images)), float(np.max(images))
    if not (low >= 0 and high <= 1):
        raise InputError(f"images: values in [0, 1] are needed, got {low:.4g} to {high:.4g}.", _range_fix(low, high))
    for name, classes in (("labels", labels), ("targets", targets)):
        if classes is not None:
            _check_classes(name, classes, len(images))


def _range_fix(low: float, high: float) -> str:
    if np.isnan(low) or np.isnan(high):
        return "Some pixels are not numbers: mend or leave out those images."
    if low >= 0:
        return f"They look like stored grey levels: divide by {255 if high <= 255 else 65535}."
    return "They look normalised: pass images in [0, 1] and give the normalisation to Classifier(mean=…, std=…)."


def _check_classes(name: str, classes: np.ndarray, n: int) -> None:
    if not np.issubdtype(classes.dtype, np.integer):
        raise InputError(
            f"{name}: class indices as integers are needed, got {classes.dtype}.",
            "One index an image, not one-hot rows or floats: labels.argmax(1) or labels.long().",
        )
    if classes.shape != (n,):
        raise InputError(f"{name}: one per image, ({n},), is needed, got {classes.shape}.", f"Give {n} class indices.")
    if classes.min() < 0:
        raise InputError(f"{name}: class indices from 0 are needed, got {classes.min()}.", "Number the classes from 0.")


def check_epsilons(epsilons: list[float], norm: Norm) -> list[Suspicion]:
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
        return [Suspicion("epsilon_large", text)]
    return []


def check_steps(steps: list[float], epsilons: list[float], update: Update) -> list[Suspicion]:
    """Suspect a sign step so small or so coarse against every ε that the ball cannot be explored."""
    if update == "projected-sign" and steps and epsilons and min(steps) > 2 * max(epsilons) > 0:
        text = (
            f"the step {min(steps):g} is more than twice the largest ε {max(epsilons):g}: iterates jump from "
            'face to face of the ball. Use a relative step such as "epsilon/4".'
        )
        return [Suspicion("step_coarse", text)]
    return []


def check_device(classifier: Classifier, device: torch.device) -> None:
    """Raise ClassifierError unless every weight and buffer is on that kind of device."""
    kinds = {t.device.type for t in (*classifier.parameters(), *classifier.buffers())}
    if kinds != {device.type}:
        raise ClassifierError(
            f"classifier: all of it on one device, {device.type}, is needed, got {', '.join(sorted(kinds))}.",
            'Move the whole classifier, not only the module inside it: classifier.to("cuda").',
        )


def examine(
    classifier: Classifier, images: Tensor, labels: Tensor, *, loss: str, targets: Tensor | None = None
) -> tuple[list[Suspicion], int]:
    """Try the network on a few images before it is attacked.

    `images` float32 (image, channel, height, width) in [0, 1]; `labels`, `targets` int64 (image,). The classifier is
    already in attack mode. Raises ClassifierError, InputError or AttackError; returns what is only suspicious, and the
    number of classes.
    """
    images, labels = images[:PROBES], labels[:PROBES]
    targets = None if targets is None else targets[:PROBES]
    try:
        logits, gradient = _margin_gradient(classifier, images, labels, targets, loss)
    except RuntimeError as problem:
        _explain(classifier, images, problem)
        raise
    _check_logits(logits)
    _check_probabilities(logits)
    extremes = _extremes(classifier, images)
    _check_stable(classifier, images, logits, _scale(torch.cat([logits, extremes])))
    found = _look_like_probabilities(torch.cat([logits, extremes]))
    if gradient is not None and float(gradient.abs().max()) == 0:  # dead on these images, or cut? Noise tells.
        noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(0)).to(images.device)
        gradient = _margin_gradient(classifier, noise, labels, targets, loss)[1]
    _check_gradient(gradient)
    return found + _saturates(logits, labels, loss, targets), logits.shape[1]


def _margin_gradient(
    classifier: Classifier, images: Tensor, labels: Tensor, targets: Tensor | None, loss: str
) -> tuple[Tensor, Tensor | None]:
    """Logits, and the gradient of the margin (which no scale saturates), None where there is none."""
    x = images.detach().requires_grad_()
    with torch.enable_grad():
        logits = classifier(x)
        _check_class_count(classifier, logits.shape[1], labels, targets, loss)
        if not logits.requires_grad:
            return logits, None
        value = attack_loss(logits, labels, "margin", targets).sum()
        return logits.detach(), torch.autograd.grad(value, x, allow_unused=True)[0]


def _check_logits(logits: Tensor) -> None:
    if not bool(logits.isfinite().any(dim=1).any()):
        raise ClassifierError(
            "module: its logits are NaN or infinite on every image tried.",
            "Check the weights file and the normalisation; run the module on one clean image.",
        )


def _explain(classifier: Classifier, images: Tensor, problem: RuntimeError) -> None:
    """Raise InputError where images and network have different channels; memory and the rest is the network's own."""
    wanted, channels = classifier.channels, images.shape[1]
    if wanted is None or channels == wanted or (channels, wanted) == (1, 3):
        return
    raise InputError(
        f"images: {wanted} channels, as the network's first convolution takes, are needed, got {channels}.",
        "Convert the images, or give Classifier(channels=…) if the network takes another number.",
    ) from problem


def _extremes(classifier: Classifier, images: Tensor) -> Tensor:
    """Logits of noise, black, white and a random black-and-white image (4, class): how far outputs can go."""
    noise = torch.rand(images[:1].shape, generator=torch.Generator().manual_seed(0)).to(images.device)
    strange = torch.cat([noise, torch.zeros_like(noise), torch.ones_like(noise), (noise > 0.5).float()])
    with torch.no_grad():
        return torch.cat([classifier(part) for part in strange.split(PROBES)]).float()


def _scale(logits: Tensor) -> float:
    """The largest |logit| of those that are numbers: the network's scale, also where these images lie near 0."""
    finite = logits[logits.isfinite()]
    return float(finite.abs().max()) if len(finite) else 1.0


def _check_stable(classifier: Classifier, images: Tensor, logits: Tensor, scale: float) -> None:
    """The first image alone must give what it gave among others, to rounding at the network's `scale`."""
    allowed = ROUNDING + UNSTABLE * scale
    with torch.no_grad():
        alone = _change(classifier(images[:1]), logits[:1])
        if alone <= allowed:
            return
        again = _change(classifier(images), logits)
    if again > allowed:
        raise ClassifierError(
            f"module: the same images gave logits {again:.2g} apart in eval mode: not deterministic.",
            "Remove the randomness (dropout kept on, random resizing, noise), or average it inside the module.",
        )
    raise ClassifierError(
        f"module: an image's logits depend on its neighbours in the batch (they differ by {alone:.2g}).",
        "Normalise by fixed statistics: batch norm in eval mode, no statistics over the batch.",
    )


def _change(logits: Tensor, expected: Tensor) -> float:
    both = logits.isfinite() & expected.isfinite()
    return float((logits - expected)[both].abs().max()) if both.any() else 0.0


def _check_class_count(classifier: Classifier, classes: int, labels: Tensor, targets: Tensor | None, loss: str) -> None:
    for name, wanted in (("labels", labels), ("targets", targets)):
        if wanted is not None and int(wanted.max()) >= classes:
            raise InputError(
                f"{name}: class indices below {classes}, the network's classes, are needed, got {int(wanted.max())}.",
                "Check that the network and the labels belong together, and that classes are numbered from 0.",
            )
    if classifier.class_names is not None and len(classifier.class_names) != classes:
        raise ClassifierError(
            f"class_names: {classes} names, one per logit, are needed, got {len(classifier.class_names)}.",
            "Give the names of the classes the network was trained on, in its order.",
        )
    least = minimum_classes(loss, targets is not None)  # type: ignore[arg-type]
    if classes < least:
        when = " when targeted" if targets is not None else ""
        raise AttackError(
            f"loss: {loss} needs {least} or more classes{when}, got {classes}.",
            'Use loss="margin", which does not saturate either.',
        )


def _check_probabilities(logits: Tensor) -> None:
    """Softmax outputs are an error."""
    inside = bool(((logits >= 0) & (logits <= 1)).all())
    if inside and bool(((logits.sum(dim=1) - 1).abs() < 1e-4).all()):
        raise ClassifierError(
            "module: its outputs lie in [0, 1] and sum to 1: they are probabilities, not logits, and a softmax loss on "
            "them has almost no gradient.",
            "Remove the final softmax from the module.",
        )


def _look_like_probabilities(logits: Tensor) -> list[Suspicion]:
    """Outputs that never leave [0, 1], not for noise and extreme images either, are suspected of a sigmoid."""
    if not bool(((logits >= 0) & (logits <= 1)).all()) or not bool((logits > 0).any()):
        return []
    single = logits.shape[1] == 2 and bool((logits[:, 0] == 0).all())
    seen = "single output lies" if single else "outputs lie"
    cost = "every image is decided as class 1" if single else "a softmax loss on them has almost no gradient"
    text = (
        f"the network's {seen} in [0, 1] on every image tried, noise, black and white among them: a sigmoid may be "
        f"built in, and then {cost}. Return the logits before the sigmoid."
    )
    return [Suspicion("probabilities", text)]


def _check_gradient(gradient: Tensor | None) -> None:
    if gradient is not None and not bool(gradient.isnan().all()) and float(gradient.nan_to_num().abs().max()) > 0:
        return
    seen = "does not exist" if gradient is None else "is NaN" if bool(gradient.isnan().any()) else "is exactly zero"
    raise ClassifierError(
        f"module: the gradient of its logits with respect to the image {seen} on every image tried.",
        "Something cuts it: rounding, argmax, detach(), no_grad() or NumPy inside the module, or NaN weights. "
        "Remove it, or pass a differentiable version.",
    )


def _saturates(logits: Tensor, labels: Tensor, loss: str, targets: Tensor | None) -> list[Suspicion]:
    """Whether the loss has lost its gradient with respect to the logits themselves, on every image tried."""
    z = logits.detach().requires_grad_()
    with torch.enable_grad():
        value = attack_loss(z, labels, loss, targets).sum()  # type: ignore[arg-type]
        (slope,) = torch.autograd.grad(value, z)
    if float(slope.nan_to_num().abs().max()) > 0:
        return []
    text = (
        f"the gradient of the {loss} loss is exactly zero on every image tried although the margin has one: the "
        'network saturates this loss. Use loss="margin".'
    )
    return [Suspicion("loss_saturated", text)]
