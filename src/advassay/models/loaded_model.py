"""What a model format is, what it hands back, and what a loaded model is.

Attacks need logits. Where a file's graph can be seen (ONNX, torch.export, Keras) its last softmax or sigmoid is taken
off. Where it cannot (TorchScript, functions) the logarithm stands in for the logit.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from advassay.classifier import Classifier
from advassay.classifier_state import set_mode
from advassay.errors import ClassifierError, MissingLibraryError
from advassay.model_document import Head, ModelDocument, ModelProof, Preprocessing
from advassay.models.preprocessing_steps import PreprocessedNetwork, mean_and_std, needs_steps, network_input
from advassay.optional_libraries import optional_imports
from advassay.registry import Registry


@dataclass(frozen=True)
class Reference:
    """A model in its own runtime: images float32 (image, channel, height, width) in [0, 1] → its outputs, float64."""

    name: str
    """The runtime and its version."""
    function: Callable[[np.ndarray], np.ndarray]
    """Images → outputs (image, output)."""
    outputs: Literal["logits", "softmax", "sigmoid"] = "logits"
    """What the runtime gives: logits, or probabilities of a softmax or of sigmoids."""
    eight_bit: Callable[[np.ndarray], np.ndarray] | None = None
    """The same through the runtime's own preprocessing of 8-bit files; None where nothing is rounded there."""

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return np.asarray(self.function(images), np.float64)


@dataclass(frozen=True)
class ModelRequest:
    """What somebody asked for. Options are None where the model's files, or the defaults, decide."""

    path: Path
    name: str = ""
    """What stands between the prefix and the @ of a text: the architecture in timm:NAME@FILE, a function's name."""
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channels: int | None = None
    class_names: tuple[str, ...] | None = None
    value_range: tuple[float, float] | None = None
    finding: str | int | None = None
    trust: bool = False
    """Whether code that belongs to the model may run."""

    def preprocessing(self, found: Preprocessing | None = None) -> Preprocessing:
        """`found`, or the defaults, with what the options say instead."""
        steps = found or Preprocessing()
        said = {"value_range": self.value_range, "mean": self.mean, "std": self.std, "channels": self.channels}
        given = {name: value for name, value in said.items() if value is not None}
        if not given:
            return steps
        origin = f"options {', '.join(given)}" + (f"; otherwise {steps.origin}" if found else "")
        low, high = self.value_range or steps.value_range
        if self.mean is not None:  # options count in [0, 1], as for every Classifier
            given["mean"] = tuple(low + value * (high - low) for value in self.mean)
        if self.std is not None:
            given["std"] = tuple(value * (high - low) for value in self.std)
        return steps.model_copy(update={**given, "origin": origin})


@dataclass(frozen=True)
class ModelParts:
    """What a format makes of a file: the network, how it takes images, and its own runtime to compare with."""

    network: nn.Module
    """Takes what `preprocessing` makes of an image; gives logits (image, output), or a structure that holds them."""
    preprocessing: Preprocessing
    open_reference: Callable[[], AbstractContextManager[Reference]]
    architecture: str
    weights_sha256: str
    class_names: tuple[str, ...] | None = None
    outputs: tuple[str, ...] | None = None
    """Names of the outputs of a multi-label model; an empty name: the weights were not trained for it."""
    multi_label: bool = False
    """Whether each output is a decision of its own (sigmoid)."""
    thresholds: tuple[float, ...] | None = None
    """Of a multi-label model: the probability from which each output counts as present; None = 0.5."""
    image_size_px: tuple[int, int] | None = None
    batch_size: int | None = None
    """The only batch size that the network takes; None = any."""
    prepare_px: int | None = None
    """Side of square images for which resizing inside does nothing or little; None = `image_size_px`."""
    prepare_resize: Literal["squash", "crop"] = "squash"
    in_float64: Callable[[], nn.Module] | None = None
    """Makes the network in float64, where `double()` of a copy does not; None = it does, or nothing does."""
    converter: str = ""
    notes: tuple[str, ...] = field(default=())


class ModelFormat(ABC):
    """One format. Its file registers one instance; nothing else lists it."""

    name: ClassVar[str]
    """As records and errors name it."""
    prefix: ClassVar[str | None] = None
    """What a text may begin with to name the format: prefix:FILE or prefix:NAME@FILE."""
    needs: ClassVar[Mapping[str, str]] = {}
    """Library → the extra that installs it."""

    @abstractmethod
    def recognises(self, path: Path) -> bool:
        """Whether the file or folder is of this format, by its content."""

    @abstractmethod
    def open(self, request: ModelRequest) -> Iterator[ModelParts]:
        """The model, and where a format has several ways to read it, the next ones; the first that proves right counts.

        Raises ClassifierError for a file that cannot be read or must not be.
        """


FORMATS: Registry[ModelFormat] = Registry(
    "model format",
    ModelFormat,  # type: ignore[type-abstract]
    package="advassay.models.formats",
    group="advassay.model_formats",
    error=ClassifierError,
)
"""What `load_model` reads. Each file of formats/ registers one; other distributions register through entry points."""


def first_channels(tensors: Mapping[str, Tensor]) -> int | None:
    """Channels of the first convolution among a network's tensors, 1 or 3; None where that does not say."""
    for value in tensors.values():
        if value.ndim == 4:
            return int(value.shape[1]) if int(value.shape[1]) in (1, 3) else None
    return None


def load_library(name: str, extra: str) -> ModuleType:
    """Import an optional library.

    Raises MissingLibraryError with the command that installs it, ClassifierError where it is there and broken.
    """
    try:
        with optional_imports(extra):
            return importlib.import_module(name)
    except MissingLibraryError:
        raise
    except ImportError as error:
        raise ClassifierError(
            f"model: the library {name} is installed and cannot be imported ({error}).",
            f"Install it anew: pip install --force-reinstall 'advassay[{extra}]'",
        ) from None


class FixedBatch(nn.Module):
    """A network of one batch size as one of any: batches are split, the last part padded with its first image."""

    def __init__(self, network: nn.Module, size: int) -> None:
        super().__init__()
        self.network, self.size = network, size
        self.training = False

    def forward(self, images: Tensor) -> Tensor:
        parts = []
        for part in images.split(self.size):
            padding = part[:1].expand(self.size - len(part), *part.shape[1:])
            whole = self.network(torch.cat([part, padding]) if len(padding) else part)
            parts.append(single_output(whole)[: len(part)])
        return torch.cat(parts)


def single_output(outputs: object) -> Tensor:
    """The logits among what a network gives: a tensor, something with `logits`, or the only tensor of a list."""
    if isinstance(outputs, Mapping) and "logits" in outputs:
        outputs = outputs["logits"]
    elif not isinstance(outputs, Tensor) and isinstance(getattr(outputs, "logits", None), Tensor):
        outputs = outputs.logits  # type: ignore[attr-defined]
    elif isinstance(outputs, tuple | list) and len(outputs) == 1:
        outputs = outputs[0]
    if isinstance(outputs, Tensor) and outputs.ndim == 2 and outputs.shape[1] > 0:
        return outputs
    seen = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
    raise ClassifierError(
        f"model: its output must be one tensor (image, output), got {seen}.",
        "A model that classifies whole images is needed; wrap others in Python as advassay.Classifier(module).",
    )


def chosen_output(outputs: Tensor, output: int, threshold: float) -> Tensor:
    """One output (image, 1) less the logit of its threshold, so that 0 is where it counts as present."""
    if output >= outputs.shape[1]:
        raise ClassifierError(
            f"finding: expected one of {outputs.shape[1]} outputs, counted from 0, got {output}.",
            "Count the model's outputs.",
        )
    return outputs[:, output : output + 1] - float(np.log(threshold) - np.log1p(-threshold))


class ChosenOutput(nn.Module):
    """A network of several outputs as one of a single output."""

    def __init__(self, network: nn.Module, output: int, threshold: float) -> None:
        super().__init__()
        self.network, self.output, self.threshold = network, output, threshold
        self.training = network.training

    def forward(self, images: Tensor) -> Tensor:
        return chosen_output(single_output(self.network(images)), self.output, self.threshold)


class LoadedModel(Classifier):
    """A model that somebody handed over, as a Classifier that knows where it came from and what was proved of it.

    Attacked like any Classifier: `advassay.attack(model, images, labels, …)`. Made by `load_model`.

    - `format`, `architecture`, `weights_sha256`: what it is; `preprocessing`: how it takes images;
    - `head`: softmax | sigmoid | finding; `finding`: name of the output that is decided;
    - `proof`: the evidence, on the images given last to `prove` (synthetic ones after loading without images);
    - `notes`: what a reader of its numbers should know, in plain sentences.
    """

    def __init__(self, parts: ModelParts, request: ModelRequest, format_name: str) -> None:
        head, output, network = decide_head(parts, request)
        steps = parts.preprocessing
        if parts.batch_size is not None:
            network = FixedBatch(network, parts.batch_size)
        inside = needs_steps(steps)
        mean, std = ([0.0], [1.0]) if inside else mean_and_std(steps)
        module = PreprocessedNetwork(steps, network) if inside else network
        names = request.class_names or parts.class_names
        if output is not None and request.class_names is None:
            label = (parts.outputs or ())[output] if parts.outputs else f"output {output}"
            names = (f"no {label}", label)
        super().__init__(module, mean, std, channels=steps.channels, class_names=names)
        self.parts = replace(parts, network=nn.Identity())  # it is in `module`
        self.format, self.architecture, self.weights_sha256 = format_name, parts.architecture, parts.weights_sha256
        self.preprocessing, self.head = steps, head
        self.finding_name = None if output is None else (parts.outputs or {output: str(output)})[output]
        self.image_size_px = parts.image_size_px
        self.output = output
        self.notes: tuple[str, ...] = parts.notes
        self.proof: ModelProof | None = None
        set_mode(self, training=False)

    def decided(self, outputs: object) -> object:
        """Of the network's own outputs, what the class decision rests on: all, or the finding's less its threshold."""
        if self.output is None:
            return outputs
        thresholds = self.parts.thresholds
        return chosen_output(
            single_output(outputs), self.output, 0.5 if thresholds is None else thresholds[self.output]
        )

    def prove(self, images: np.ndarray | None = None) -> ModelProof:
        """Compare with the model's own runtime on `images`, float32 (image, channel, height, width) in [0, 1].

        None: synthetic images. The proof is kept in `proof` and returned. Raises ClassifierError with the figures where
        the two differ, InputError for images that the model does not take.
        """
        from advassay.models.proof import prove_model

        self.proof = prove_model(self, images)
        return self.proof

    def document(self) -> ModelDocument:
        """What the store keeps of the model, as plain data."""
        return ModelDocument(
            format=self.format,
            architecture=self.architecture,
            weights_sha256=self.weights_sha256,
            class_names=self.class_names,
            head=self.head,
            finding=self.finding_name,
            preprocessing=self.preprocessing,
            image_size_px=self.image_size_px,
            proof=self.proof,
            notes=self.notes,
        )


def decide_head(parts: ModelParts, request: ModelRequest) -> tuple[Head, int | None, nn.Module]:
    """(kind of head, output that is decided or None, network). Raises ClassifierError where a finding must be named."""
    if not parts.multi_label and request.finding is None:
        return "softmax", None, parts.network  # that one output is a sigmoid's is seen when the model is proved
    output = find_output(parts, request.finding)
    threshold = 0.5 if parts.thresholds is None else parts.thresholds[output]
    if not 0 < threshold < 1:
        raise ClassifierError(
            f"finding: its threshold lies in (0, 1), got {threshold} for output {output}.",
            "Choose a finding that the weights were trained for.",
        )
    return "finding", output, ChosenOutput(parts.network, output, threshold)


def find_output(parts: ModelParts, finding: str | int | None) -> int:
    """Index of a multi-label model's output by its name or number. Raises ClassifierError where there is none."""
    names = parts.outputs or ()
    known = [name for name in names if name]
    listed = ", ".join(known) or "by number, counted from 0"
    if finding is None:
        raise ClassifierError(
            "finding: a model that gives each finding its own decision needs the one to attack, got none.",
            f"Give finding=NAME (--finding NAME): {listed}; or attack each of them: --finding all, evaluate_findings.",
        )
    if isinstance(finding, str) and finding.isdigit() and finding not in names:
        finding = int(finding)
    if isinstance(finding, int):
        if finding < 0 or (names and finding >= len(names)):
            raise ClassifierError(f"finding: one of {len(names)} outputs, counted from 0, got {finding}.", listed)
        if names and not names[finding]:
            raise _untrained(f"output {finding}", known)
        return finding
    matches = [place for place, name in enumerate(names) if _plain(name) == _plain(finding)]
    if len(matches) == 1:
        return matches[0]
    raise _untrained(repr(finding), known)


def _untrained(what: str, known: Sequence[str]) -> ClassifierError:
    return ClassifierError(
        f"finding: expected a label that these weights were trained for, got {what}; its output would be random.",
        f"They were trained for: {', '.join(known) or 'outputs without names; give a number, counted from 0'}.",
    )


def _plain(name: str) -> str:
    return name.casefold().replace("_", " ").strip()


# ---- probabilities back to logits ------------------------------------------------------------------------------------

Outputs = Literal["logits", "softmax", "sigmoid"]

SMALLEST_PROBABILITY = 1e-30
"""Probability below which its logarithm is cut, so that it stays a number."""
NEAREST_CERTAINTY = 1e-7
"""Distance from 0 and 1 at which a sigmoid's probability is cut."""


class LogProbabilities(nn.Module):
    """Softmax probabilities (image, class) as their logarithms, which are logits of the same distribution."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.training = network.training

    def forward(self, images: Tensor) -> Tensor:
        return single_output(self.network(images)).clamp_min(SMALLEST_PROBABILITY).log()


class LogOdds(nn.Module):
    """Sigmoid probabilities as their logits, log p − log(1 − p), within ±16."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.training = network.training

    def forward(self, images: Tensor) -> Tensor:
        return torch.logit(single_output(self.network(images)), eps=NEAREST_CERTAINTY)


def as_logits(network: nn.Module, outputs: Outputs) -> nn.Module:
    """A network that gives `outputs` as one that gives logits."""
    if outputs == "softmax":
        return LogProbabilities(network)
    return LogOdds(network) if outputs == "sigmoid" else network


@torch.no_grad()
def kind_of_outputs(network: nn.Module, steps: Preprocessing, side: int) -> Outputs:
    """What a network gives, by what it gives on noise, black, white and a smooth image of `side` pixels.

    softmax: several outputs within [0, 1] whose sum is 1 on each. sigmoid: outputs within [0, 1] on all. Else logits.
    """
    shape = (steps.channels or 3, side, side)
    noise = np.random.default_rng(0).random((3, *shape), np.float32)
    smooth = np.broadcast_to(np.linspace(0, 1, side, dtype=np.float32), shape)
    images = np.stack([*noise, np.zeros(shape, np.float32), np.ones(shape, np.float32), smooth])
    given = torch.from_numpy(network_input(steps, images))
    found = torch.cat([single_output(network(image[None])) for image in given])
    if not bool(((found >= 0) & (found <= 1)).all()) or not bool((found > 0).any()):
        return "logits"
    if found.shape[1] > 1 and bool(((found.sum(dim=1) - 1).abs() < 1e-4).all()):
        return "softmax"
    return "sigmoid"
