"""Start weights from a safetensors file, fitted to the network: other channels, another head, nothing else."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from advassay.errors import TrainingError
from advassay.models.weight_files import read_tensors

_AUXILIARY_HEAD = "AuxLogits"  # of torchvision's InceptionV3; the networks here are built without it


class StartWeights(NamedTuple):
    """What was taken from a start-weights file."""

    used: int
    """Tensors copied into the network."""
    wanted: int
    """Tensors the network has beside its head (step counters of batch norm not counted)."""
    head: bool
    """The file's head was used too (same number of classes)."""


def start_weights_path(data: Path | None, weights: str | None) -> Path | None:
    """The start-weights file inside the data folder, or None where the spec names none.

    Raises TrainingError without a data folder, for a path that leaves it, and for a missing file.
    """
    if weights is None:
        return None
    if data is None:
        raise TrainingError(
            f"training.weights: {weights!r} is relative to the data folder, and none was given.",
            "Give --data FOLDER, or training.weights: null to start from random weights.",
        )
    if PurePath(weights).is_absolute() or ".." in PurePath(weights).parts:
        raise TrainingError(
            f"training.weights: must stay inside the data folder, got {weights!r}.", "Give a path relative to --data."
        )
    path = Path(data) / weights
    if not path.is_file():
        raise TrainingError(f"training.weights: no file {weights!r} in the data folder.", "Check the name and --data.")
    return path


def load_start_weights(network: nn.Module, path: Path) -> StartWeights:
    """Copy the file's tensors into a timm network of the same architecture (its parameter names), as float32.

    Two differences are bridged. The head may be missing or have another number of classes: the network keeps its own.
    A three-channel first convolution becomes a one-channel one by summing its kernels over RGB: a grey image then gets
    the response it would get repeated in three channels (Classifier normalises every channel alike).

    Raises TrainingError naming the tensors for every other difference, and for a file that is no safetensors.
    """
    configuration: dict[str, Any] = getattr(network, "pretrained_cfg", None) or {}
    given = read_tensors(path)
    wanted = {name: t for name, t in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    given = {name: t for name, t in given.items() if not name.endswith("num_batches_tracked")}
    heads = (*_names(configuration.get("classifier")), _AUXILIARY_HEAD)
    stems = [f"{name}.weight" for name in _names(configuration.get("first_conv"))]

    body = {name for name in wanted if not _belongs(name, heads)}
    fitted = {name: t for name, t in given.items() if not _belongs(name, heads)}
    for stem in stems:
        if stem in fitted and stem in wanted:
            fitted[stem] = _fit_channels(fitted[stem], wanted[stem])
    _refuse_differences(path, fitted, {name: wanted[name] for name in body})

    head = {name for name in wanted if _belongs(name, heads)}
    head_fits = bool(head) and all(n in given and given[n].shape == wanted[n].shape for n in head)
    if head_fits:
        fitted |= {name: given[name] for name in head}
    network.load_state_dict({name: t.float() for name, t in fitted.items()}, strict=False)
    return StartWeights(used=len(fitted), wanted=len(body), head=head_fits)


def _fit_channels(kernel: Tensor, wanted: Tensor) -> Tensor:
    """(out, 3, h, w) → (out, 1, h, w) where the network takes grey images."""
    if kernel.ndim == 4 and kernel.shape[1] == 3 and wanted.shape[1] == 1:
        return kernel.to(torch.float64).sum(dim=1, keepdim=True).float()
    return kernel


def _refuse_differences(path: Path, given: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    missing = sorted(wanted.keys() - given.keys())
    unknown = sorted(given.keys() - wanted.keys())
    shaped = [
        f"{name} {tuple(given[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in sorted(wanted.keys() & given.keys())
        if given[name].shape != wanted[name].shape
    ]
    found = {"missing": missing, "unknown": unknown, "of another shape": shaped}
    problems = [f"{len(names)} {what} ({_first(names)})" for what, names in found.items() if names]
    if problems:
        raise TrainingError(
            f"training.weights: {path.name} must hold the network's tensors by name and shape; "
            f"of {len(wanted)}: {'; '.join(problems)}.",
            "Give weights of the same architecture with timm's parameter names, or change training.architecture.",
        )


def _first(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def _names(value: str | tuple[str, ...] | list[str] | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())


def _belongs(name: str, modules: tuple[str, ...]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)
