"""The network itself, tried on a few images before the first step: broken beyond doubt, or only suspicious?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from advassay.attacks.checks.gradient import compare, jitter_inputs
from advassay.attacks.checks.inputs import NAMED, ModelWarning
from advassay.attacks.losses import attack_loss
from advassay.classifier import Classifier
from advassay.classifier_state import dense_parts
from advassay.errors import AdvassayError, AttackError, ClassifierError, ExtensionError, InputError
from advassay.spec.attack_components import LOSSES

PROBES = 2
"""Images the network is examined with."""
UNSTABLE = 1e-3
"""Change of a logit, relative to the network's scale, that rounding cannot explain …"""
ROUNDING = 1e-5
"""… and the absolute change, in logits, that it always can."""


REPEATS = 2
"""Passes of the same images beside the first: a module whose train and eval do nothing shows in them."""


class ModelReport(NamedTuple):
    """A network as it was found."""

    suspicions: list[ModelWarning]
    logits: Tensor
    """float32 (image, class), of the images it was examined with."""


def examine(
    classifier: Classifier,
    images: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    batch_size: int = PROBES,
    gradient: bool = True,
) -> ModelReport:
    """Try the network on a few images before it is attacked, by whatever loss.

    `images` float32 (image, channel, height, width) in [0, 1]; `labels`, `targets` int64 (image,); `batch_size`: images
    that may go through the network at once; `gradient`: whether the attack needs one, so that a network without any is
    refused. The classifier is already in attack mode. Raises ClassifierError or
    InputError; what is only suspicious is returned.
    """
    images, labels = images[:PROBES], labels[:PROBES]
    targets = None if targets is None else targets[:PROBES]
    try:
        return _examined(classifier, images, labels, targets, batch_size, gradient)
    except (AdvassayError, torch.OutOfMemoryError):
        raise
    except Exception as problem:  # the network is the user's and may raise anything
        raise _explained(classifier, images, problem) from problem


def _examined(
    classifier: Classifier, images: Tensor, labels: Tensor, targets: Tensor | None, batch_size: int, follows: bool
) -> ModelReport:
    buffers = {name: buffer.clone() for name, buffer in classifier.named_buffers()}
    if follows:
        logits, gradient = _margin_gradient(classifier, images, labels, targets)
    else:
        with torch.no_grad():
            logits, gradient = classifier(images), None
        _check_class_count(classifier, logits.shape[1], labels, targets)
    found = _double(logits)
    logits = logits.float()
    _check_logits(logits)
    _check_probabilities(logits)
    extremes = _extremes(classifier, images, batch_size)
    found += _check_stable(classifier, images, logits, _scale(torch.cat([logits, extremes])))
    found += _look_like_probabilities(torch.cat([logits, extremes]))
    found += _written_to(classifier, buffers)
    if not follows:
        return ModelReport(found, logits)
    if gradient is not None and float(gradient.abs().max()) == 0:  # dead on these images, or cut? Noise tells.
        noise = torch.rand(images.shape, generator=torch.Generator("cpu").manual_seed(0), device="cpu")
        gradient = _margin_gradient(classifier, noise.to(images.device), labels, targets)[1]
    _check_gradient(gradient)
    return ModelReport(found + _cut(classifier, images, labels, targets, batch_size), logits)


def examine_loss(loss: str, examined: ModelReport, labels: Tensor, targets: Tensor | None) -> list[ModelWarning]:
    """Whether `loss` suits the network; arguments as for `examine`. Raises AttackError where it has too few classes."""
    least, classes = LOSSES.get(loss).minimum_classes[targets is not None], examined.logits.shape[1]
    if classes < least:
        when = " when targeted" if targets is not None else ""
        raise AttackError(
            f"loss: {loss} needs {least} or more classes{when}, got {classes}.",
            'Use loss="margin", which does not saturate either.',
        )
    return _saturates(examined.logits, labels[:PROBES], loss, None if targets is None else targets[:PROBES])


def _margin_gradient(
    classifier: Classifier, images: Tensor, labels: Tensor, targets: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Logits, and the gradient of the margin (which no scale saturates), None where there is none."""
    x = images.detach().requires_grad_()
    with torch.enable_grad():
        logits = classifier(x)
        _check_class_count(classifier, logits.shape[1], labels, targets)
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


def _explained(classifier: Classifier, images: Tensor, problem: Exception) -> AttackError:
    """The error of our tree for a network that fails on the first images."""
    wanted, channels = classifier.channels, images.shape[1]
    if wanted is not None and channels != wanted and (channels, wanted) != (1, 3):
        return InputError(
            f"images: expected {wanted} channels, as the network's first convolution takes, got {channels}.",
            "Convert the images, or give Classifier(channels=…) if the network takes another number.",
        )
    others = {t.dtype for t in classifier.module.parameters() if t.is_floating_point()} - {torch.float32}
    if others:
        named = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in others))
        return ClassifierError(
            f"module: expected float32 weights, got {named}, and float32 images cannot go through it.",
            "Convert the network: module.float().",
        )
    said = str(problem).strip().partition("\n")[0][:200]
    return ClassifierError(
        f"module: it fails on the first {len(images)} images ({type(problem).__name__}: {said}).",
        "Run the module and its backward pass on images of this shape and type, in batches of 1 and 2. An exported "
        "program needs a dynamic batch dimension, or goes to Classifier as it is, in no other module.",
    )


def _double(logits: Tensor) -> list[ModelWarning]:
    """Say it where the network computes in float64."""
    if logits.dtype != torch.float64:
        return []
    text = "the network gives logits in float64: they are recorded in float32. Convert it with module.float()."
    return [ModelWarning("float64", text)]


def _written_to(classifier: Classifier, before: Mapping[str, Tensor]) -> list[ModelWarning]:
    """Suspect a network that a pass in eval mode changes: what it gives may depend on what it has seen."""
    now = dict(classifier.named_buffers())
    names = [name for name, buffer in before.items() if name not in now or not _same(now[name], buffer)]
    if not names:
        return []
    named = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    text = (
        f"passes in eval mode change the network's buffers ({named}), so that its logits may depend on the images seen "
        "before. They are put back after the attack. Freeze observers and running statistics."
    )
    return [ModelWarning("stateful", text)]


def _same(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.layout != other.layout:
        return False
    parts = zip(dense_parts(one), dense_parts(other), strict=True)
    return all(a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all()) for a, b in parts)


def _extremes(classifier: Classifier, images: Tensor, batch_size: int) -> Tensor:
    """Logits of noise, black, white and a random black-and-white image (4, class): how far outputs can go."""
    noise = torch.rand(images[:1].shape, generator=torch.Generator("cpu").manual_seed(0), device="cpu").to(
        images.device
    )
    strange = torch.cat([noise, torch.zeros_like(noise), torch.ones_like(noise), (noise > 0.5).float()])
    with torch.no_grad():
        return torch.cat([classifier(part) for part in strange.split(max(PROBES, batch_size))]).float()


def _scale(logits: Tensor) -> float:
    """The largest |logit| of those that are numbers: the network's scale, also where these images lie near 0."""
    finite = logits[logits.isfinite()]
    return float(finite.abs().max()) if len(finite) else 1.0


def _check_stable(classifier: Classifier, images: Tensor, logits: Tensor, scale: float) -> list[ModelWarning]:
    """The same images must give the same again, and the first alone what it gave among others; to rounding at the
    network's `scale`."""
    allowed = ROUNDING + UNSTABLE * scale
    with torch.no_grad():
        again = max(_change(classifier(images).float(), logits) for _ in range(REPEATS))
        alone = _change(classifier(images[:1]).float(), logits[:1])
    if again > allowed:
        raise ClassifierError(
            f"module: the same images gave logits {again:.2g} apart in eval mode: not deterministic.",
            "Remove the randomness (dropout kept on, random resizing, noise), or average it inside the module.",
        )
    if alone > allowed:
        raise ClassifierError(
            f"module: an image's logits depend on its neighbours in the batch (they differ by {alone:.2g}).",
            "Normalise by fixed statistics: batch norm in eval mode, no statistics over the batch, such as scales of "
            "dynamic quantisation. Compute in float32: the module must not lower the precision of matrix products.",
        )
    if again <= ROUNDING * (1 + scale):
        return []
    text = (
        f"the same images gave logits {again:.2g} apart in eval mode: the network is not deterministic, and verdicts "
        "near the decision boundary are chance. Remove dropout, noise or random resizing."
    )
    return [ModelWarning("not_deterministic", text)]


def _change(logits: Tensor, expected: Tensor) -> float:
    both = logits.isfinite() & expected.isfinite()
    return float((logits - expected)[both].abs().max()) if both.any() else 0.0


def _check_class_count(classifier: Classifier, classes: int, labels: Tensor, targets: Tensor | None) -> None:
    for name, wanted in (("labels", labels), ("targets", targets)):
        if wanted is not None and int(wanted.max()) >= classes:
            raise InputError(
                f"{name}: expected class indices below {classes}, the network's classes, got {int(wanted.max())}.",
                "Check that the network and the labels belong together, and that classes are numbered from 0.",
            )
    if classifier.class_names is not None and len(classifier.class_names) != classes:
        raise ClassifierError(
            f"class_names: expected {classes} names, one per logit, got {len(classifier.class_names)}.",
            "Give the names of the classes the network was trained on, in its order.",
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


def _look_like_probabilities(logits: Tensor) -> list[ModelWarning]:
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
    return [ModelWarning("probabilities", text)]


def _check_gradient(gradient: Tensor | None) -> None:
    if gradient is not None and not bool(gradient.isnan().all()) and float(gradient.nan_to_num().abs().max()) > 0:
        return
    seen = "does not exist" if gradient is None else "is NaN" if bool(gradient.isnan().any()) else "is exactly zero"
    raise ClassifierError(
        f"module: the gradient of its logits with respect to the image {seen} on every image tried.",
        "Something cuts it: rounding, argmax, detach(), no_grad() or NumPy inside the module, or NaN weights. "
        "Remove it, or pass a differentiable version.",
    )


def _cut(
    classifier: Classifier, images: Tensor, labels: Tensor, targets: Tensor | None, batch_size: int
) -> list[ModelWarning]:
    """Whether the network changes otherwise than its gradient says (checks/gradient.py)."""
    x = jitter_inputs(images)
    logits, gradient = _margin_gradient(classifier, x, labels, targets)
    if gradient is None or not bool(gradient.isfinite().all()):
        return []

    @torch.no_grad()
    def margin(points: Tensor, image: Tensor) -> Tensor:
        y, t = labels[image], None if targets is None else targets[image]
        logits = torch.cat([classifier(part) for part in points.split(max(PROBES, batch_size))])
        return attack_loss(logits, y, "margin", t)

    kinds = {t.dtype for t in (logits, *classifier.parameters()) if t.is_floating_point()}
    slopes = compare(margin, x, gradient, max(torch.finfo(kind).eps for kind in kinds))
    if not slopes.suspicious:
        return []
    text = (
        f"the network does not change as its gradient says: in {slopes.wrong} of {slopes.judged} comparisons on the "
        f"first images the margin's slope differs (at worst {slopes.seen:.3g} logits per unit where the gradient says "
        f"{slopes.said:.3g}). Part of it gives no gradient (detach, no_grad, rounding, ranking, NumPy) or a made-up "
        "one, so the attack climbs something else and its success is at best a lower bound. Make that part "
        "differentiable."
    )
    return [ModelWarning("gradient_cut", text)]


def _saturates(logits: Tensor, labels: Tensor, loss: str, targets: Tensor | None) -> list[ModelWarning]:
    """Whether the loss has lost its gradient with respect to the logits themselves, on every image tried."""
    z = logits.detach().requires_grad_()
    with torch.enable_grad():
        value = attack_loss(z, labels, loss, targets)
        if value.shape != labels.shape:
            raise ExtensionError(
                f"loss: expected one value an image of {loss}, {tuple(labels.shape)}, got {tuple(value.shape)}.",
                "Correct the package that registers it.",
            )
        (slope,) = torch.autograd.grad(value.sum(), z)
    if float(slope.nan_to_num().abs().max()) > 0:
        return []
    text = (
        f"the gradient of the {loss} loss is exactly zero on every image tried although the margin has one: the "
        'network saturates this loss. Use loss="margin".'
    )
    return [ModelWarning("loss_saturated", text)]
