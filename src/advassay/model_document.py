"""What is known of a model that somebody handed over: how it takes images, and the proof that it was read right.

Written by models/, kept in the store beside the runs (classifiers/<id>/model.json), read by the report.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from advassay.spec.base_model import Frozen
from advassay.store_documents import Document

Interpolation = Literal["nearest", "bilinear", "bicubic"]
Head = Literal["softmax", "sigmoid", "finding"]

PLAIN = "none: RGB in [0, 1], mean 0, std 1"
"""What stands for the origin of a preprocessing where a model's files say nothing."""


class Preprocessing(Frozen):
    """How an image in [0, 1] becomes what a network takes. The steps run in the order of the fields.

    They are part of the classifier and have gradients, so ε is a fraction of the image's own range.
    """

    channels: int | None = Field(None, ge=1)
    """Channels the network takes; a grey image is repeated where it takes three. Null: as many as the image has."""
    resize_px: tuple[int, int] | None = None
    """Height and width that the image is resized to."""
    resize_shorter_px: int | None = Field(None, ge=1)
    """Length that the shorter side is resized to, the other one in proportion. In place of `resize_px`."""
    interpolation: Interpolation = "bilinear"
    antialias: bool = True
    crop_px: tuple[int, int] | None = None
    """Height and width of the centre that is cut out; a smaller image is padded with black first."""
    value_range: tuple[float, float] = (0.0, 1.0)
    """What the values 0 and 1 of the image become: (0, 255), (−1024, 1024), …"""
    channel_order: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, ...] = (0.0,)
    """Subtracted, one number or one per channel, in units of `value_range` and in the network's order of channels."""
    std: tuple[float, ...] = (1.0,)
    """Divided by, likewise."""
    layout: Literal["channels-first", "channels-last"] = "channels-first"
    origin: str = PLAIN
    """Which of the model's files, or which options, say so."""

    @model_validator(mode="after")
    def _steps_fit(self) -> Preprocessing:
        if self.resize_px is not None and self.resize_shorter_px is not None:
            raise ValueError("preprocessing: resize_px or resize_shorter_px, one of them, got both")
        if any(value <= 0 for value in self.std):
            raise ValueError(f"std: above 0, got {self.std}")
        if not self.value_range[0] < self.value_range[1]:
            raise ValueError(f"value_range: (lowest, highest), got {self.value_range}")
        return self

    @property
    def changes_size(self) -> bool:
        """Whether the image is resized or cut."""
        return self.resize_px is not None or self.resize_shorter_px is not None or self.crop_px is not None

    def epsilon_in_model_units(self, epsilon: float) -> tuple[float, ...]:
        """The amplitude `epsilon`, a fraction of [0, 1], as the network meets it; one number per channel's std.

        >>> Preprocessing(value_range=(-1024.0, 1024.0)).epsilon_in_model_units(1 / 255)
        (8.031372549019608,)
        """
        low, high = self.value_range
        return tuple(epsilon * (high - low) / value for value in self.std)

    def describe_epsilon(self, epsilon: float) -> str:
        """The amplitude in grey levels and in the model's units, in words.

        >>> Preprocessing(std=(0.5,)).describe_epsilon(2 / 255)
        '2 of 255 grey levels, 0.0157 in units of the model'
        """
        units = dict.fromkeys(f"{value:.3g}" for value in self.epsilon_in_model_units(epsilon))
        return f"{epsilon * 255:.3g} of 255 grey levels, {', '.join(units)} in units of the model"


class GradientProof(Frozen):
    """The gradient that attacks follow, beside finite differences of the margin."""

    images: int
    directions: int
    """Of each image: the gradient's sign, random signs, a smooth random field."""
    arithmetic: Literal["float64", "float32"]
    """Of the finite differences. float32: the model's file fixes its arithmetic; the tolerance is then wider."""
    largest_error: float
    """Largest |slope by gradient − slope by differences|, as a share of the larger of slope and gradient norm."""
    tolerance: float


class ModelProof(Frozen):
    """Evidence that a loaded model computes what its own runtime computes."""

    images: int
    """Images compared; each also with a little colour noise, as an attack would make it."""
    synthetic: bool
    """Made up (noise and smooth fields) because no images were given; false: the user's own."""
    runtime: str
    """What the model was compared with, e.g. onnxruntime 1.31.1."""
    compared: Literal["logits", "log-probabilities", "probabilities"]
    """What the runtime gives: logits; or probabilities, whose logarithms (softmax) or values (sigmoid) are compared."""
    largest_logit: float
    """Largest |logit| of the runtime on these images."""
    largest_difference: float
    """Largest |difference| of what is compared."""
    tolerance: float
    """What was allowed."""
    decisions: int
    """Passes compared (images, and images with noise)."""
    decisions_equal: int
    """Of these, how many have the same decision; the others' margin lies within the tolerance."""
    eight_bit: tuple[int, int] | None = None
    """(same decision, compared) against the runtime's own preprocessing of 8-bit files, which rounds after resizing;
    null where nothing is rounded."""
    batch_difference: float = 0.0
    """Largest |difference| of a logit between an image alone and among others."""
    train_mode: Literal["same", "differs", "none"] = "none"
    """Whether the model's train mode gives other logits; attacks run in eval mode. none: it has one mode."""
    train_mode_difference: float = 0.0
    gradient: GradientProof | None = None
    converter: str = ""
    """Which converter made the torch module, where one did."""
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """The proof in one sentence, for a record's notes."""
        where = "synthetic images" if self.synthetic else "of these images"
        text = (
            f"model proof: on {self.images} {where} the logits equal those of {self.runtime} to "
            f"{self.largest_difference:.2g} (allowed {self.tolerance:.2g}), {self.decisions_equal} of {self.decisions} "
            "decisions are the same"
        )
        if self.gradient is not None:
            text += (
                f", gradients equal finite differences in {self.gradient.arithmetic} to "
                f"{self.gradient.largest_error:.2g} (allowed {self.gradient.tolerance:.2g})"
            )
        if self.train_mode == "differs":
            text += f"; train mode would change logits by {self.train_mode_difference:.2g}, eval mode is attacked"
        return text + "."


class ModelDocument(Document):
    """classifiers/<id>/model.json: a model that this program did not train."""

    format_version: int = 1
    format: str
    """advassay, huggingface, timm, torchscript, torch-export, onnx, keras, torchxrayvision, python."""
    architecture: str
    """As the model's own files name it; empty where they do not."""
    weights_sha256: str
    """Of the file's bytes; of a folder, of its weights and configuration files by name."""
    class_names: tuple[str, ...] | None
    head: Head
    """softmax: one logit per class. sigmoid: one output, read as (0, z). finding: one output of several, likewise."""
    finding: str | None = None
    """Name of the output that is decided, of a multi-label model."""
    preprocessing: Preprocessing
    image_size_px: tuple[int, int] | None = None
    """Height and width that the network was made for; null where it takes any."""
    proof: ModelProof | None = None
    notes: tuple[str, ...] = ()


def number_per_channel(value: float | Sequence[float]) -> tuple[float, ...]:
    """One number or one per channel, as a tuple.

    >>> number_per_channel(0.5), number_per_channel([0.4, 0.5, 0.6])
    ((0.5,), (0.4, 0.5, 0.6))
    """
    return (float(value),) if isinstance(value, int | float) else tuple(float(each) for each in value)
