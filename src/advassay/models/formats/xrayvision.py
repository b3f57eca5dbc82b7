"""Chest X-ray networks of TorchXRayVision: xrv:NAME@FILE with a finding.

Each network has 18 outputs whatever it was trained on; those without a label in its set are random and refused. Its
own outputs are scaled so that 0.5 lies at each finding's operating point: the decision here is the same, z minus the
operating point's logit, without the kinks of that scaling.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from advassay.errors import ClassifierError
from advassay.model_document import Preprocessing
from advassay.models.loaded_model import FORMATS, ModelFormat, ModelParts, ModelRequest, Reference, load_library
from advassay.models.weight_files import file_sha256, is_safetensors, read_state_dict, refuse_pickle

RANGE = (-1024.0, 1024.0)
"""What 0 and 1 become: datasets.normalize(image, 1)."""
_SIDES = {"densenet121": 224, "resnet50": 512, "resnet101": 512}


class TorchXRayVision(ModelFormat):
    """One of the library's core networks, with its weights in a file."""

    name = "torchxrayvision"
    prefix = "xrv"
    needs = {"torchxrayvision": "xrv"}

    def recognises(self, path: Path) -> bool:
        return False  # weights do not say which labels they were trained for: the name does

    def open(self, request: ModelRequest) -> Iterator[ModelParts]:
        library = import_library()
        name, described = _described(library, request)
        tensors = read_weights(library, request.path)
        side = _SIDES[name.partition("-")[0]]
        network = _network(library, name, tensors, request.path)
        found = Preprocessing(
            channels=1,
            resize_px=(side, side),
            interpolation="bilinear",
            value_range=RANGE,
            origin=f"torchxrayvision {library.__version__}",
        )

        @contextmanager
        def reference() -> Iterator[Reference]:
            own: Any = _network(library, name, tensors, request.path)
            own.input_resolution = side  # it then resizes by itself

            @torch.no_grad()
            def run(images: np.ndarray) -> np.ndarray:
                scaled = [library.datasets.normalize(image[0], maxval=1, reshape=True) for image in images]
                with contextlib.redirect_stdout(io.StringIO()):  # it remarks on sizes and ranges
                    return torch.cat([own(torch.from_numpy(each)[None].float()) for each in scaled]).numpy()

            yield Reference(f"torchxrayvision {library.__version__}", run)

        points = tuple(0.5 if math.isnan(each) else float(each) for each in described["op_threshs"])
        yield ModelParts(
            network=network,
            preprocessing=request.preprocessing(found),
            open_reference=reference,
            architecture=name,
            weights_sha256=file_sha256(request.path),
            outputs=tuple(described["labels"]),
            multi_label=True,
            thresholds=points,
            prepare_px=side,
            notes=("decisions are those of the library: present from each finding's operating point on",),
        )


def import_library() -> ModuleType:
    """torchxrayvision, without what importing it does to warnings and to the first image's check."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        library = load_library("torchxrayvision", "xrv")
    for part in (library.models, getattr(library, "utils", None)):
        if isinstance(getattr(part, "warning_log", None), dict):
            part.warning_log["norm_check"] = True  # type: ignore[union-attr]
    return library


def _described(library: ModuleType, request: ModelRequest) -> tuple[str, dict[str, Any]]:
    """(full name, labels and operating points) of the weights named, or of the library's file name for them."""
    sets: dict[str, dict[str, Any]] = library.models.model_urls
    full = {name: each for name, each in sets.items() if name.partition("-")[0] in _SIDES and "op_threshs" in each}
    by_file = {Path(each["weights_url"]).name: name for name, each in full.items()}
    matches = [name for name in full if request.name and (name == request.name or name.endswith(f"-{request.name}"))]
    name = matches[0] if len(matches) == 1 else by_file.get(request.path.name, "")
    if not name or (request.name and not matches and name.partition("-")[0] != request.name):
        raise ClassifierError(
            f"xrv: which of the library's weights {request.path.name} are decides the labels they know, got "
            f"{request.name or 'no name'!r}.",
            f"Give xrv:NAME@FILE with one of {', '.join(sorted(full))}.",
        )
    return name, full[name]


def read_weights(library: ModuleType, path: Path) -> dict[str, Tensor]:
    """Tensors by name: of safetensors, of a state dict, or of a whole pickled network of the library's own classes.

    The last is what the project publishes. It is read by torch's restricted unpickler, which is told to make torch's
    layers and this library's networks and nothing else.
    """
    if is_safetensors(path):
        return read_state_dict(path)
    kinds = [
        library.models.DenseNet,
        library.models._DenseLayer,
        library.models._DenseBlock,
        library.models._Transition,
    ]
    layers = (nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.Linear, nn.Sequential, nn.Upsample)
    with torch.serialization.safe_globals([*kinds, *layers, set]):
        try:
            held = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # the unpickler names what it refuses in errors of several kinds
            raise refuse_pickle(path, error) from None
    if isinstance(held, nn.Module):
        tensors: dict[str, Tensor] = {}
        for place, part in _parts(held):
            for name, value in (*part._parameters.items(), *part._buffers.items()):
                if value is not None:
                    tensors[f"{place}{name}"] = value.detach()
        return tensors
    return read_state_dict(path)


def _parts(module: nn.Module, place: str = "") -> Iterator[tuple[str, nn.Module]]:
    """(dotted name with its dot, part); old pickles lack what newer torch methods expect, so they are not called."""
    yield place, module
    for name, child in module._modules.items():
        if child is not None:
            yield from _parts(child, f"{place}{name}.")


def _network(library: ModuleType, name: str, tensors: dict[str, Tensor], path: Path) -> nn.Module:
    """The library's network with these tensors, giving logits: no sigmoid, no scaling by operating points."""
    if name.startswith("densenet"):
        network: nn.Module = library.models.DenseNet(num_classes=18, in_channels=1, weights=None)
    else:
        network = _resnet(library, name)
    wanted = {key for key in network.state_dict() if not key.endswith(("num_batches_tracked", "op_threshs"))}
    prefix = (
        "model." if not name.startswith("densenet") and not any(key.startswith("model.") for key in tensors) else ""
    )
    given = {f"{prefix}{key}": value.float() for key, value in tensors.items() if not key.endswith("op_threshs")}
    lacking, unknown = wanted - given.keys(), given.keys() - set(network.state_dict())
    if lacking or unknown:
        raise ClassifierError(
            f"{path.name}: its tensors are not those of {name} (missing: {sorted(lacking)[:3]}, unknown: "
            f"{sorted(unknown)[:3]}).",
            "Name the weights that the file holds.",
        )
    network.load_state_dict(given, strict=False)
    return network.eval()


def _resnet(library: ModuleType, name: str) -> nn.Module:
    """The library's ResNet, whose constructor would look for its own file: made without it."""
    import torchvision

    network = library.models.ResNet.__new__(library.models.ResNet)
    nn.Module.__init__(network)
    network.weights, network.apply_sigmoid = name, False
    network.model = getattr(torchvision.models, name.partition("-")[0])(num_classes=18)
    network.model.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    return network


FORMATS.register(TorchXRayVision())
