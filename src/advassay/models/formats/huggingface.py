"""Folders of the Hugging Face Hub: AutoModelForImageClassification with its image processor, safetensors only."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from advassay.errors import ClassifierError
from advassay.model_document import Interpolation, Preprocessing, number_per_channel
from advassay.models.loaded_model import FORMATS, ModelFormat, ModelParts, ModelRequest, Reference, load_library
from advassay.models.weight_files import folder_sha256, is_safetensors, read_json

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
_RESAMPLE: dict[int, Interpolation] = {0: "nearest", 1: "bicubic", 2: "bilinear", 3: "bicubic"}
"""PIL's numbers. torchvision, which image processors run on, has no Lanczos (1) and takes bicubic for it."""
_BGR = "do_flip_channel_order"


class HuggingFaceFolder(ModelFormat):
    """A folder with config.json, model.safetensors and preprocessor_config.json."""

    name = "huggingface"
    prefix = "hf"
    needs = {"transformers": "hf"}

    def recognises(self, path: Path) -> bool:
        if not path.is_dir() or not (path / CONFIG).is_file():
            return False
        said = read_json(path / CONFIG)
        return "pretrained_cfg" not in said and ("architectures" in said or "model_type" in said)

    def open(self, request: ModelRequest) -> Iterator[ModelParts]:
        folder = request.path
        if not folder.is_dir():
            raise ClassifierError(
                f"hf: expected a folder on this machine, got {folder}.",
                "Download the repository first: hf download OWNER/NAME --local-dir my-model. Nothing is fetched here.",
            )
        if not self.recognises(folder):
            raise ClassifierError(f"{folder.name}: {CONFIG} of a Hugging Face model is needed.", "Give its folder.")
        _check_weights(folder)
        transformers = load_library("transformers", "hf")
        model = _load(transformers, folder)
        config: Any = model.config
        multi_label = getattr(config, "problem_type", None) == "multi_label_classification"
        labels = _labels(config)
        settings = _settings(transformers, folder)
        channels = int(getattr(config, "num_channels", 3) or 3)
        steps = request.preprocessing(read_processor(settings, channels))
        side = steps.crop_px or steps.resize_px

        @contextmanager
        def reference() -> Iterator[Reference]:
            yield _own_runtime(transformers, folder, settings, channels)

        yield ModelParts(
            network=_Logits(model),
            preprocessing=steps,
            open_reference=reference,
            architecture=(config.architectures or [type(model).__name__])[0],
            weights_sha256=folder_sha256(folder),
            class_names=None if multi_label else labels,
            outputs=labels if multi_label else None,
            multi_label=multi_label,
            prepare_px=steps.resize_shorter_px or (side[0] if side and side[0] == side[1] else None),
            prepare_resize="crop" if steps.resize_shorter_px else "squash",
            notes=() if settings else (f"the folder has no {PROCESSOR}: mean 0, std 1 and no resizing were taken",),
        )


class _Logits(nn.Module):
    """A Hugging Face model as a module of one tensor."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.training = False

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model(pixel_values=pixels).logits


def _check_weights(folder: Path) -> None:
    """Raise ClassifierError unless the weights are safetensors, and where the folder brings code of its own."""
    weights = [path for path in folder.glob("*.safetensors") if is_safetensors(path)]
    if not weights:
        others = sorted(path.name for path in folder.glob("*.bin")) or ["none"]
        raise ClassifierError(
            f"{folder.name}: weights in safetensors are needed, found {', '.join(others)}; pickled weights could run "
            "any code when they are read.",
            "Where you trust their origin, convert them once: AutoModelForImageClassification.from_pretrained(FOLDER)"
            ".save_pretrained(FOLDER).",
        )
    if "auto_map" in read_json(folder / CONFIG):
        raise ClassifierError(
            f"{folder.name}: its {CONFIG} names code of its own (auto_map), which is not run.",
            "Load it in Python where you trust it, and give advassay.Classifier(model, mean=…, std=…).",
        )


@contextmanager
def _offline() -> Iterator[None]:
    """Nothing is fetched: what a folder lacks is an error."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _load(transformers: Any, folder: Path) -> nn.Module:
    """The model in eval mode and float32. Raises ClassifierError where tensors are missing or it is no classifier."""
    options = {"local_files_only": True, "use_safetensors": True, "trust_remote_code": False}
    with _offline():
        try:
            model, loading = transformers.AutoModelForImageClassification.from_pretrained(
                str(folder), output_loading_info=True, torch_dtype=torch.float32, **options
            )
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            said = " ".join(str(error).split())[:300]
            raise ClassifierError(
                f"{folder.name}: transformers {transformers.__version__} reads no image classifier from it ({said}).",
                "A folder of AutoModelForImageClassification is needed.",
            ) from None
    lacking = [*loading.get("missing_keys", ()), *loading.get("mismatched_keys", ())]
    if lacking:
        raise ClassifierError(
            f"{folder.name}: {len(lacking)} tensors are missing or of another shape ({lacking[0]}, …), and would be "
            "random.",
            "Give the folder that training wrote, with its head.",
        )
    return model.eval()


def _labels(config: Any) -> tuple[str, ...] | None:
    """Class names in the order of the logits; None where the configuration only counts them."""
    names = getattr(config, "id2label", None) or {}
    count = int(getattr(config, "num_labels", len(names)))
    found = tuple(str(names.get(i, names.get(str(i), ""))) for i in range(count))
    numbered = all(name in ("", f"LABEL_{i}") for i, name in enumerate(found))
    return None if numbered else found


def _settings(transformers: Any, folder: Path) -> dict[str, Any]:
    """The image processor's settings, defaults of its class included; {} where the folder has none."""
    if not (folder / PROCESSOR).is_file():
        return {}
    return {**_processor(transformers, folder).to_dict(), **read_json(folder / PROCESSOR)}


def _processor(transformers: Any, folder: Path) -> Any:
    with _offline():
        return transformers.AutoImageProcessor.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )


def read_processor(settings: Mapping[str, Any], channels: int) -> Preprocessing:
    """An image processor's settings as steps. Raises ClassifierError for a step that is not known.

    do_resize with size {height, width} or {shortest_edge}, crop_pct (ConvNeXt), do_center_crop with crop_size,
    do_rescale with rescale_factor, rescale_offset (EfficientNet), do_normalize with image_mean and image_std,
    do_flip_channel_order (MobileViT).
    """
    if not settings:
        return Preprocessing(channels=channels)
    said: dict[str, Any] = {"channels": channels, "origin": PROCESSOR}
    if settings.get("do_resize"):
        said |= _resizing(settings)
    if settings.get("do_center_crop") and "crop_px" not in said:
        said["crop_px"] = _height_width(settings.get("crop_size"))
    if settings.get("do_pad"):
        raise ClassifierError(
            "model: its image processor pads images, which is not read.",
            "Wrap the model in Python: advassay.Classifier.",
        )
    factor = float(settings.get("rescale_factor", 1 / 255)) if settings.get("do_rescale", True) else 1.0
    low, high = 0.0, 255 * factor
    if settings.get("rescale_offset"):
        low, high = low - 1, high - 1
    said["value_range"] = (low, high)
    if settings.get("do_normalize"):
        said["mean"] = number_per_channel(settings["image_mean"])
        said["std"] = number_per_channel(settings["image_std"])
    if settings.get(_BGR):
        said["channel_order"] = "bgr"
    return Preprocessing(**said)


def _resizing(settings: Mapping[str, Any]) -> dict[str, Any]:
    size = settings.get("size")
    resample = int(settings.get("resample", 2) or 0)
    if resample not in _RESAMPLE:
        raise ClassifierError(f"model: its image processor resizes by PIL's method {resample}, which is not read.")
    said: dict[str, Any] = {"interpolation": _RESAMPLE[resample]}
    shorter = size if isinstance(size, int) else (size or {}).get("shortest_edge")
    if shorter is None:
        return said | {"resize_px": _height_width(size)}
    shorter, share = int(shorter), settings.get("crop_pct")
    if share is None:
        return said | {"resize_shorter_px": shorter}
    if shorter >= 384:  # ConvNextImageProcessor squashes large images
        return said | {"resize_px": (shorter, shorter)}
    return said | {"resize_shorter_px": int(shorter / float(share)), "crop_px": (shorter, shorter)}


def _height_width(size: Any) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    if isinstance(size, Mapping) and {"height", "width"} <= set(size):
        return int(size["height"]), int(size["width"])
    raise ClassifierError(
        f"model: its image processor's size is {{height, width}} or {{shortest_edge}}, got {size}.",
        "Wrap the model in Python: advassay.Classifier(model, mean=…, std=…).",
    )


def _own_runtime(transformers: Any, folder: Path, settings: Mapping[str, Any], channels: int) -> Reference:
    """The processor's own code and the model loaded anew: on values 0–255 without rounding, and on 8-bit images."""
    model = _load(transformers, folder)
    processor = _processor(transformers, folder) if settings else None

    def pixels(images: np.ndarray) -> np.ndarray:
        return np.repeat(images, channels, axis=1) if images.shape[1] == 1 < channels else images

    @torch.no_grad()
    def run(images: np.ndarray) -> np.ndarray:
        given = list(pixels(images))
        if processor is None:
            return model(pixel_values=torch.from_numpy(np.stack(given))).logits.numpy()
        taken = processor(images=given, return_tensors="pt", input_data_format="channels_first")
        return model(pixel_values=taken["pixel_values"].float()).logits.numpy()

    return Reference(
        f"transformers {transformers.__version__}",
        lambda images: run(images * np.float32(255) if processor is not None else images),
        eight_bit=(lambda images: run((images * 255).round().astype(np.uint8))) if processor is not None else None,
    )


FORMATS.register(HuggingFaceFolder())
