"""timm networks with a file of weights: timm:NAME@FILE, or a folder as the Hugging Face Hub keeps timm models."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from advassay.errors import ClassifierError
from advassay.model_document import Interpolation, Preprocessing
from advassay.models.loaded_model import FORMATS, ModelFormat, ModelParts, ModelRequest, Reference
from advassay.models.preprocessing_steps import network_input
from advassay.models.timm_networks import blank_network, has_fixed_size
from advassay.models.weight_files import file_sha256, folder_sha256, read_json, read_state_dict

CONFIG = "config.json"
_AUXILIARY = "AuxLogits."


class TimmWeights(ModelFormat):
    """A timm name and its weights (safetensors, or a state dict of torch.save)."""

    name = "timm"
    prefix = "timm"

    def recognises(self, path: Path) -> bool:
        return path.is_dir() and (path / CONFIG).is_file() and "pretrained_cfg" in read_json(path / CONFIG)

    def open(self, request: ModelRequest) -> Iterator[ModelParts]:
        import timm

        name, weights, said, sha256 = _what(request)
        _check_name(name)
        tensors = read_state_dict(weights)
        configuration = {**_defaults(name), **said.get("pretrained_cfg", {})}
        architecture = name.partition(".")[0]
        side, notes = _side(architecture, configuration, tensors), []
        if dropped := [key for key in tensors if key.startswith(_AUXILIARY)]:
            tensors = {key: value for key, value in tensors.items() if key not in dropped}
            notes.append("the auxiliary head in the file is used in training only and was left out")
        channels, classes = _first_and_last(configuration, tensors, weights)
        network = blank_network(name, channels=channels, classes=classes, image_size_px=side)
        _load(network, tensors, weights, name)
        mean, std = tuple(configuration["mean"]), tuple(configuration["std"])
        if channels == 1:
            mean, std = (float(np.mean(mean)),), (float(np.mean(std)),)
        found = Preprocessing(
            channels=channels,
            mean=mean,
            std=std,
            **(evaluation_size(configuration, side, weights) if said else {}),
            origin=f"{CONFIG} beside the weights" if said else f"timm's defaults for {name}",
        )
        if not said and request.mean is None and request.std is None:
            notes.append(
                f"mean {_listed(mean)} and std {_listed(std)} are timm's defaults for {name}: the weights do not say "
                "what they were trained with (mean=…, std=… say otherwise)"
            )
        steps = request.preprocessing(found)

        @contextmanager
        def reference() -> Iterator[Reference]:
            options: dict[str, Any] = {"img_size": side} if has_fixed_size(name) else {}
            if architecture == "inception_v3":
                options["aux_logits"] = False
            original = timm.create_model(name, pretrained=False, num_classes=classes, in_chans=channels, **options)
            original.load_state_dict(tensors, strict=False)  # compared by name above
            yield Reference(f"timm {timm.__version__}", _one_at_a_time(original.float().eval(), steps))

        labels = said.get("label_names") or ()
        yield ModelParts(
            network=network.eval(),
            preprocessing=steps,
            open_reference=reference,
            architecture=name,
            weights_sha256=sha256,
            class_names=tuple(map(str, labels)) if len(labels) == classes else None,
            image_size_px=(side, side) if has_fixed_size(name) else None,
            prepare_px=steps.resize_shorter_px or (steps.resize_px or (side,))[0],
            prepare_resize="crop" if steps.resize_shorter_px else "squash",
            notes=tuple(notes),
        )


def _one_at_a_time(network: nn.Module, steps: Preprocessing) -> Any:
    @torch.no_grad()
    def outputs(images: np.ndarray) -> np.ndarray:
        given = torch.from_numpy(network_input(steps, images))
        return torch.cat([network(image[None]) for image in given]).numpy()

    return outputs


def _what(request: ModelRequest) -> tuple[str, Path, dict[str, Any], str]:
    """(timm name, file of weights, config.json, hash) of a folder or of NAME@FILE."""
    path = request.path
    if path.is_dir():
        said = read_json(path / CONFIG)
        if "pretrained_cfg" not in said:
            raise ClassifierError(
                f"{path.name}: a timm folder has {CONFIG} with pretrained_cfg, this one has none.",
                "Give timm:NAME@FILE for weights alone.",
            )
        weights = next((path / n for n in ("model.safetensors", "pytorch_model.bin") if (path / n).is_file()), None)
        if weights is None:
            raise ClassifierError(f"{path.name}: model.safetensors is needed, the folder has none.", "Download it.")
        return request.name or str(said.get("architecture", "")), weights, said, folder_sha256(path)
    if not request.name:
        raise ClassifierError(
            f"{path.name}: weights alone do not say which network they are of.",
            f"Give timm:NAME@FILE, e.g. timm:convnext_tiny@{path.name}.",
        )
    return request.name, path, {}, file_sha256(path)


def _check_name(name: str) -> None:
    import timm

    if timm.is_model(name):
        return
    close = difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0.5)
    raise ClassifierError(
        f"timm: expected a name that timm {timm.__version__} knows, got {name!r}.",
        f"Close names: {', '.join(close)}." if close else "timm.list_models() lists them.",
    )


def _defaults(name: str) -> dict[str, Any]:
    import timm

    found = timm.get_pretrained_cfg(name) or timm.models.PretrainedCfg()
    return {key: value for key, value in found.to_dict().items() if value is not None}


_INTERPOLATION: dict[str, Interpolation] = {"nearest": "nearest", "bilinear": "bilinear", "bicubic": "bicubic"}


def evaluation_size(configuration: Mapping[str, Any], side: int, path: Path) -> dict[str, Any]:
    """How timm makes images of `side` pixels when it evaluates: resized to side / crop_pct, the centre cut out.

    crop_mode center: the shorter side is resized; squash: both are (timm.data.create_transform). Raises
    ClassifierError for another mode.

    >>> evaluation_size({"crop_pct": 0.875, "interpolation": "bicubic"}, 224, Path("w"))
    {'interpolation': 'bicubic', 'resize_shorter_px': 256, 'crop_px': (224, 224)}
    """
    mode, resized = configuration.get("crop_mode") or "center", math.floor(side / (configuration.get("crop_pct") or 1))
    interpolation = _INTERPOLATION.get(str(configuration.get("interpolation") or "bilinear"))
    if mode not in ("center", "squash") or interpolation is None:
        raise ClassifierError(
            f"{path.name}: crop_mode center or squash and interpolation {', '.join(_INTERPOLATION)} are read, got "
            f"{mode} and {configuration.get('interpolation')}.",
            "Give the weights alone, timm:NAME@FILE, and images of the network's size.",
        )
    resize = {"resize_shorter_px": resized} if mode == "center" else {"resize_px": (resized, resized)}
    return {"interpolation": interpolation, **resize, "crop_px": (side, side)}


def _first_and_last(configuration: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path) -> tuple[int, int]:
    """(channels, classes), as the shapes of the first convolution and of the head say."""
    stem, head = (_one(configuration.get(part)) for part in ("first_conv", "classifier"))
    first, last = tensors.get(f"{stem}.weight"), tensors.get(f"{head}.weight")
    if first is None or last is None:
        raise ClassifierError(
            f"{path.name}: tensors {stem}.weight and {head}.weight are needed, it has "
            f"{', '.join(list(tensors)[:3])}, …",
            "Give weights with timm's parameter names and a head, of the network named.",
        )
    return int(first.shape[1]), int(last.shape[0])


def _side(name: str, configuration: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> int:
    """Side of the images: the designed one, or what a transformer's position embedding says."""
    side = int(tuple(configuration.get("input_size", (3, 224, 224)))[-1])
    embedding, patches = tensors.get("pos_embed"), tensors.get("patch_embed.proj.weight")
    if not has_fixed_size(name) or embedding is None or patches is None or embedding.ndim != 3:
        return side
    for prefix in (0, 1, 2, 5):  # class, distillation and register tokens before the patches
        root = round((embedding.shape[1] - prefix) ** 0.5)
        if root * root == embedding.shape[1] - prefix:
            return root * int(patches.shape[-1])
    return side


def _load(network: nn.Module, tensors: Mapping[str, Tensor], path: Path, name: str) -> None:
    """Put the tensors in. Raises ClassifierError naming those that are missing, unknown or of another shape."""
    try:
        found = network.load_state_dict(
            {key: t.float() if t.is_floating_point() else t for key, t in tensors.items()}, strict=False
        )
        lacking = [key for key in found.missing_keys if not key.endswith("num_batches_tracked")]
        why = (
            f"missing: {lacking[:3]}, unknown: {found.unexpected_keys[:3]}" if lacking or found.unexpected_keys else ""
        )
    except RuntimeError as error:
        why = " ".join(str(error).split())[:300]
    if why:
        raise ClassifierError(
            f"{path.name}: its tensors are not those of {name} ({why}).",
            "Name the network that was trained, and give weights with timm's parameter names.",
        )


def _one(value: Any) -> str:
    return value if isinstance(value, str) else str((tuple(value or ()) or ("",))[0])


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


FORMATS.register(TimmWeights())
