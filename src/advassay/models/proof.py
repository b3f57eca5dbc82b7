"""Is a loaded model the model? Compared with its own runtime, and its gradient with finite differences.

On the user's images, each also with noise of its own in every channel: an attack leaves grey behind, and a converter
that swaps two channels is right on grey images. What differs is refused with the figures. Nothing here looks at labels:
a model may be wrong about an image, but it must be the same model.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from advassay.errors import AdvassayError, ClassifierError, InputError
from advassay.model_document import GradientProof, ModelProof
from advassay.models.preprocessing_steps import PreprocessedNetwork, check_channels

if TYPE_CHECKING:
    from advassay.models.loaded_model import LoadedModel, Reference

PROOF_IMAGES = 8
"""Images compared, at most."""
FEW = 2
"""Images of these that the gradient, the train mode and a batch of one are checked on."""
NOISE = 8 / 255
"""Amplitude of the noise beside each image."""
TOLERANCE = 2e-4
"""Allowed difference of a logit, relative to the largest (at least 1): float32 networks of hundreds of layers, summed
in another order by another library, differ by about a tenth of it."""
PROBABILITY_TOLERANCE = 2e-5
"""Allowed difference of a sigmoid's probability."""
GRADIENT_TOLERANCE, SINGLE_TOLERANCE = 0.05, 0.15
"""Allowed error of a slope against differences in float64, and in float32."""
STEP, SINGLE_STEPS = 1e-6, (2e-3, 5e-4, 1e-4, 5e-3)
"""Change of a pixel for differences in float64; in float32, of which the one that agrees best counts for each slope:
small ones drown in rounding, large ones cross kinks, and a wrong gradient agrees with none."""
SYNTHETIC_PX = 64
"""Side of synthetic images for a network that takes any size."""
_SAME_FUNCTION = 1e-3
"""The network in float64 stands for the one in float32 where their logits agree to this, relative to the largest."""


def prove_model(model: LoadedModel, images: np.ndarray | None = None) -> ModelProof:
    """The evidence that `model` computes what its own runtime computes.

    `images`: float32 (image, channel, height, width) in [0, 1]; the first PROOF_IMAGES are used. None: synthetic ones.
    Raises ClassifierError with the figures where logits, decisions or gradients differ; InputError for images that the
    model does not take.
    """
    probes = synthetic_images(model) if images is None else _checked(model, images)
    try:
        return _proved(model, probes, synthetic=images is None)
    except AdvassayError:
        raise
    except Exception as problem:  # the network is somebody else's and may raise anything
        said = " ".join(str(problem).split())[:200]
        shape = " × ".join(map(str, probes.shape[1:]))
        raise _refused(model, f"it fails on images of {shape} ({type(problem).__name__}: {said})") from problem


def _proved(model: LoadedModel, probes: np.ndarray, *, synthetic: bool) -> ModelProof:
    everything = np.concatenate([probes, with_colour_noise(probes)])
    with model.attack_mode():
        ours = _logits(model, everything)
        with model.parts.open_reference() as reference:
            theirs = reference(everything)
            _refuse_probabilities(model, reference, theirs, synthetic=synthetic)
            found = _compare(model, reference, ours, theirs)
            rounded = _eight_bit(model, reference, probes, ours[: len(probes)])
        batch = max(float(np.abs(_logits(model, everything[i : i + 1]) - ours[i]).max()) for i in range(FEW))
        if batch > max(found.tolerance, TOLERANCE * max(1.0, float(np.abs(ours).max()))):
            raise _refused(model, f"an image alone and among others gave logits {batch:.2g} apart")
        gradient = check_gradient(model, everything[-FEW:])
        mode, changed = _train_mode(model, everything[:FEW])
    if theirs.shape[1] == 1:
        model.head = "sigmoid"  # one output says nothing of itself before it is seen
    return ModelProof(
        images=len(probes),
        synthetic=synthetic,
        runtime=reference.name,
        compared=found.kind,
        largest_logit=found.largest,
        largest_difference=found.difference,
        tolerance=found.tolerance,
        decisions=len(everything),
        decisions_equal=found.equal,
        eight_bit=rounded,
        batch_difference=batch,
        train_mode=mode,
        train_mode_difference=changed,
        gradient=gradient,
        converter=model.parts.converter,
    )


# ---- images ---------------------------------------------------------------------------------------------------------


def synthetic_images(model: LoadedModel, count: int = 4) -> np.ndarray:
    """Images that a model is tried on before any are given: smooth colour fields with noise, in steps of 1/255.

    float32 (image, channel, height, width) in [0, 1], of the size and channels that the model takes. Always the same.
    """
    height, width = model.image_size_px or (model.parts.prepare_px or SYNTHETIC_PX,) * 2
    channels = model.preprocessing.channels or 3
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, channels, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
    mixed = 0.7 * smooth + 0.3 * torch.rand(count, channels, height, width, generator=generator)
    return np.asarray((mixed * 255).round() / 255, np.float32)


def with_colour_noise(images: np.ndarray) -> np.ndarray:
    """Each image with noise of amplitude NOISE, another in every pixel and channel; within [0, 1]. Always the same."""
    noise = np.random.default_rng(0).uniform(-NOISE, NOISE, images.shape)
    return np.clip(images + noise, 0, 1).astype(np.float32)


def _checked(model: LoadedModel, images: np.ndarray) -> np.ndarray:
    images = np.asarray(images, np.float32)[:PROOF_IMAGES]
    if images.ndim != 4 or len(images) == 0 or not np.isfinite(images).all() or images.min() < 0 or images.max() > 1:
        raise InputError(
            f"images: expected float32 (image, channel, height, width) in [0, 1], got shape {images.shape}.",
            "Give the images that the model is to be attacked on.",
        )
    check_channels(model.preprocessing, images.shape[1])
    return images if len(images) >= FEW else np.repeat(images, FEW, axis=0)


# ---- logits ---------------------------------------------------------------------------------------------------------


class _Compared(NamedTuple):
    kind: Literal["logits", "log-probabilities", "probabilities"]
    largest: float
    difference: float
    tolerance: float
    equal: int


def _logits(model: LoadedModel, images: np.ndarray) -> np.ndarray:
    """The classifier's logits (image, class) as float64."""
    with torch.no_grad():
        return model(torch.from_numpy(images)).double().numpy()


def _refuse_probabilities(model: LoadedModel, reference: Reference, theirs: np.ndarray, *, synthetic: bool) -> None:
    """Raise ClassifierError where what is said to be logits are probabilities: their gradients saturate, and one output
    that is a probability is never below the 0 at which a logit decides.

    One output between 0 and 1 is a probability on images of the user's alone: a logit on synthetic ones may lie there.
    """
    if reference.outputs != "logits" or theirs.ndim != 2 or not ((theirs >= 0) & (theirs <= 1)).all():
        return
    if (theirs.shape[1] == 1 and not synthetic) or (theirs.shape[1] > 1 and np.allclose(theirs.sum(1), 1, atol=1e-4)):
        raise ClassifierError(
            f"model: expected logits, got outputs of the {model.format} model that are probabilities (from "
            f"{theirs.min():.3g} to {theirs.max():.3g}).",
            "Export the model without its last softmax or sigmoid.",
        )


def _compare(model: LoadedModel, reference: Reference, ours: np.ndarray, theirs: np.ndarray) -> _Compared:
    """Differences between both sides. Raises ClassifierError where they are larger than allowed."""
    if theirs.ndim != 2 or len(theirs) != len(ours) or not np.isfinite(theirs).all():
        raise _refused(model, f"{reference.name} gave outputs of shape {theirs.shape}, or some that are no numbers")
    a, b, kind = _comparable(model, reference, ours, theirs)
    if a.shape != b.shape:
        raise _refused(model, f"{a.shape[1]} outputs where {reference.name} gives {b.shape[1]}")
    difference = float(np.abs(a - b).max())
    largest = float(np.abs(b).max())
    tolerance = PROBABILITY_TOLERANCE if kind == "probabilities" else TOLERANCE * max(1.0, largest)
    equal = _decisions(model, a, kind) == _decisions(model, b, kind)
    close = _margins(model, b, kind) <= 2 * tolerance
    if not difference <= tolerance or not bool((equal | close).all()):
        raise _refused(
            model,
            f"{kind} differ from those of {reference.name} by up to {difference:.3g} (allowed: {tolerance:.2g}, "
            f"largest: {largest:.3g}), and {int((~equal).sum())} of {len(equal)} decisions differ",
        )
    return _Compared(kind, largest, difference, tolerance, int(equal.sum()))


def _comparable(
    model: LoadedModel, reference: Reference, ours: np.ndarray, theirs: np.ndarray
) -> tuple[np.ndarray, np.ndarray, Literal["logits", "log-probabilities", "probabilities"]]:
    """(ours, theirs, what they are): of the decided output where there is one, as z or its probability."""
    output = model.output if model.output is not None else 0 if theirs.shape[1] == 1 else None
    if reference.outputs == "softmax":
        shifted = ours - ours.max(axis=1, keepdims=True)
        log_ours = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        floor = np.log(1e-30)  # below, a float32 probability has no digits left
        return np.maximum(log_ours, floor), np.maximum(np.log(np.maximum(theirs, 1e-45)), floor), "log-probabilities"
    if output is None:
        return ours, theirs, "logits"
    z = ours[:, 1:2] + _shift(model)
    decided = theirs[:, output : output + 1]
    if reference.outputs == "sigmoid":
        return 1 / (1 + np.exp(-z)), decided, "probabilities"
    return z, decided, "logits"


def _shift(model: LoadedModel) -> float:
    """The threshold's logit of a finding; 0 where there is none."""
    thresholds = model.parts.thresholds
    if model.output is None or thresholds is None:
        return 0.0
    threshold = thresholds[model.output]
    return math.log(threshold) - math.log1p(-threshold)


def _decisions(model: LoadedModel, values: np.ndarray, kind: str) -> np.ndarray:
    if values.shape[1] > 1:
        return values.argmax(axis=1)
    return values[:, 0] >= _boundary(model, kind)


def _margins(model: LoadedModel, values: np.ndarray, kind: str) -> np.ndarray:
    """How far each image is from another decision, in the units of `values`."""
    if values.shape[1] > 1:
        ordered = np.sort(values, axis=1)
        return ordered[:, -1] - ordered[:, -2]
    return np.abs(values[:, 0] - _boundary(model, kind))


def _boundary(model: LoadedModel, kind: str) -> float:
    return 1 / (1 + math.exp(-_shift(model))) if kind == "probabilities" else _shift(model)


def _eight_bit(
    model: LoadedModel, reference: Reference, images: np.ndarray, ours: np.ndarray
) -> tuple[int, int] | None:
    """(same decision, compared) where the runtime's own preprocessing rounds 8-bit images; None where nothing does."""
    levels = images * 255
    if reference.eight_bit is None or np.abs(levels - levels.round()).max() > 1e-3:
        return None
    theirs = np.asarray(reference.eight_bit(images), np.float64)
    a, b, kind = _comparable(model, reference, ours, theirs)
    return int((_decisions(model, a, kind) == _decisions(model, b, kind)).sum()), len(images)


def _refused(model: LoadedModel, why: str) -> ClassifierError:
    return ClassifierError(
        f"model: the {model.format} model could not be proved: {why}.",
        "Check mean, std, channels and scale against the model's training; a file that was changed, or a converter "
        "that misreads it, ends here too. Without proof no number would be about this model.",
    )


# ---- gradient -------------------------------------------------------------------------------------------------------


def check_gradient(model: LoadedModel, images: np.ndarray) -> GradientProof:
    """Slopes of the margin between the two largest logits: by the classifier's gradient, and by finite differences.

    `images`: float32 (image, channel, height, width) in [0, 1]; they are moved into (0, 1), off the kinks at its ends.
    Raises ClassifierError where they differ by more than the tolerance, and where there is no gradient.
    """
    x = torch.from_numpy(0.02 + 0.96 * images)
    top, second, gradient = _margin_gradient(model, x)
    directions = _directions(gradient)
    double = _in_float64(model, x)

    def errors(function: Callable[[Tensor], Any], points: Tensor, step: float) -> Tensor:
        return _errors(function, points, gradient, directions, (top, second), step)

    arithmetic: Literal["float64", "float32"]
    if double is not None:
        arithmetic, tolerance = "float64", GRADIENT_TOLERANCE
        largest = float(errors(double, x.double(), STEP).max())
    else:
        arithmetic, tolerance = "float32", SINGLE_TOLERANCE
        largest = float(torch.stack([errors(model, x, step) for step in SINGLE_STEPS]).amin(dim=0).max())
    if not largest <= tolerance:
        raise _refused(
            model,
            f"its gradient differs from finite differences in {arithmetic} by {largest:.2g} of the slope (allowed: "
            f"{tolerance}), so part of it gives no gradient or another function's",
        )
    return GradientProof(
        images=len(x), directions=len(directions), arithmetic=arithmetic, largest_error=largest, tolerance=tolerance
    )


def _margin_gradient(model: LoadedModel, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(index of the largest logit, of the second, gradient of their difference) of each image."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(x)
        top, second = logits.detach().topk(2, dim=1).indices.unbind(1)
        rows = torch.arange(len(x))
        margin = logits[rows, top] - logits[rows, second]
        if not margin.requires_grad:
            raise _refused(model, "its logits have no gradient with respect to the image")
        (gradient,) = torch.autograd.grad(margin.sum(), x, allow_unused=True)
    if gradient is None or not bool(gradient.isfinite().all()):
        raise _refused(model, "its logits have no gradient with respect to the image, or one that is no number")
    return top, second, gradient


def _directions(gradient: Tensor) -> list[Tensor]:
    """The gradient's sign, random signs, and a smooth random field; each within [−1, 1]."""
    generator = torch.Generator().manual_seed(1)
    signs = torch.randint(0, 2, gradient.shape, generator=generator) * 2.0 - 1
    coarse = torch.randn(*gradient.shape[:2], 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=gradient.shape[2:], mode="bilinear", align_corners=False)
    return [gradient.sign(), signs, smooth / smooth.abs().amax(dim=(1, 2, 3), keepdim=True)]


@torch.no_grad()
def _errors(
    function: Callable[[Tensor], Any],
    x: Tensor,
    gradient: Tensor,
    directions: list[Tensor],
    classes: tuple[Tensor, Tensor],
    step: float,
) -> Tensor:
    """Differences (direction, image) of slopes, as shares of the larger of the slope and the gradient's norm."""
    rows, (top, second) = torch.arange(len(x)), classes
    norm = gradient.double().flatten(1).norm(dim=1)
    found = []
    for direction in directions:
        move = step * direction.to(x.dtype)
        ahead, behind = function(x + move), function(x - move)
        margins = [(logits[rows, top] - logits[rows, second]).double() for logits in (ahead, behind)]
        measured = (margins[0] - margins[1]) / (2 * step)
        said = (gradient.double() * direction.double()).flatten(1).sum(dim=1)
        share = (measured - said).abs() / torch.maximum(measured.abs(), norm).clamp_min(1e-12)
        found.append(share.nan_to_num(math.inf))
    return torch.stack(found)


def _in_float64(model: LoadedModel, x: Tensor) -> Callable[[Tensor], Any] | None:
    """The same classifier in float64; None where its arithmetic is fixed, or it becomes another function."""
    double: Callable[[Tensor], Any]
    try:
        double = copy.deepcopy(model).double() if model.parts.in_float64 is None else _rebuilt(model)
        with torch.no_grad():
            logits, single = double(x.double()), model(x)
    except Exception:  # the network is somebody else's and may raise anything
        return None
    allowed = _SAME_FUNCTION * max(1.0, float(single.abs().max()))
    same = logits.dtype == torch.float64 and float((logits - single).abs().max()) <= allowed
    return double if same and _keeps_digits(double, x) else None


def _rebuilt(model: LoadedModel) -> Callable[[Tensor], Any]:
    """The classifier around the network that its format makes in float64."""
    assert model.parts.in_float64 is not None
    whole = PreprocessedNetwork(model.preprocessing, model.parts.in_float64()).double()
    return lambda x: model.decide(model.decided(whole(x)))


@torch.no_grad()
def _keeps_digits(double: Callable[[Tensor], Any], x: Tensor) -> bool:
    """Whether float64 goes through: a change of 1e-9, lost in float32, must change a logit."""
    x = x.double()
    generator = torch.Generator().manual_seed(2)
    move = 1e-9 * torch.randn(x.shape, generator=generator, dtype=torch.float64)
    return bool((double(x + move) != double(x)).any())


def _train_mode(model: LoadedModel, images: np.ndarray) -> tuple[Literal["same", "differs", "none"], float]:
    """Whether the train mode of a copy gives other logits, and by how much."""
    x = torch.from_numpy(images)
    try:
        trained = copy.deepcopy(model)
        trained.module.train()
        if not any(part.training for part in trained.module.modules()):
            return "none", 0.0
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            change = float((trained(x) - model(x)).abs().max())
    except Exception:  # as above; an exported program has one mode
        return "none", 0.0
    return ("same", 0.0) if change <= TOLERANCE else ("differs", change)
