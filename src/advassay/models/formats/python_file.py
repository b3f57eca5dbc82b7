"""A function of a Python file that builds the model: FILE.py:FUNCTION. It runs code, so only where that is trusted."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from advassay.classifier import Classifier, as_module
from advassay.errors import ClassifierError, SpecError
from advassay.model_document import Preprocessing
from advassay.models.loaded_model import (
    FORMATS,
    ModelFormat,
    ModelParts,
    ModelRequest,
    Reference,
    first_channels,
    single_output,
)
from advassay.models.preprocessing_steps import network_input


class PythonFile(ModelFormat):
    """FILE.py:FUNCTION; the function takes nothing and returns a torch module or an advassay.Classifier."""

    name = "python"

    def recognises(self, path: Path) -> bool:
        return path.is_file() and path.suffix == ".py"  # a source has no other mark

    def open(self, request: ModelRequest) -> Iterator[ModelParts]:
        if not request.trust:
            raise SpecError(
                f"model: {request.path.name} is Python code, and it would run.",
                "Read it first; then say so: trust=True in Python, --trust on the command line.",
            )
        if not request.name:
            raise SpecError(
                f"model: expected the function of {request.path.name} that builds the model, got none.",
                f"Give {request.path.name}:FUNCTION.",
            )
        built = _build(request)
        if isinstance(built, Classifier) and built.finding is not None:
            raise ClassifierError(
                f"model: expected a network, or a Classifier of all its outputs, got one of finding {built.finding}.",
                f"Return the network itself, and give finding={built.finding} (--finding {built.finding}).",
            )
        channels = built.channels if isinstance(built, Classifier) else first_channels(_state(built))
        found = Preprocessing(channels=channels)
        if isinstance(built, Classifier):
            mean, std = (tuple(each.flatten().tolist()) for each in (built.mean, built.std))
            found = Preprocessing(
                channels=channels, mean=mean, std=std, origin="the Classifier that the function gives"
            )
        steps = request.preprocessing(found)

        @contextmanager
        def reference() -> Iterator[Reference]:
            again = _network(_build(request)).eval()

            @torch.no_grad()
            def run(images: np.ndarray) -> np.ndarray:
                given = torch.from_numpy(network_input(steps, images))
                return torch.cat([single_output(again(image[None])) for image in given]).numpy()

            yield Reference(f"{request.path.name}:{request.name} called a second time", run)

        network = _network(built)
        yield ModelParts(
            network=network,
            preprocessing=steps,
            open_reference=reference,
            architecture=type(network).__name__,
            weights_sha256=_content_sha256(request.path, _state(network)),
            class_names=built.class_names if isinstance(built, Classifier) else None,
        )


def _build(request: ModelRequest) -> nn.Module:
    """What the function gives, as a module. Raises SpecError where the file has no such function or it fails."""
    spec = importlib.util.spec_from_file_location(f"advassay_model_{request.path.stem}", request.path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        function = getattr(module, request.name, None)
        if not callable(function):
            raise SpecError(
                f"model: {request.path.name} has no function {request.name!r}.",
                f"Functions: {', '.join(name for name, value in vars(module).items() if callable(value))}.",
            )
        return as_module(function())
    except (SpecError, ClassifierError):
        raise
    except Exception as error:  # the code is the user's
        raise SpecError(
            f"model: {request.path.name}:{request.name} fails ({type(error).__name__}: {error}).",
            "Call it in Python on its own first.",
        ) from error


def _network(built: nn.Module) -> nn.Module:
    return built.module if isinstance(built, Classifier) else built


def _state(module: nn.Module) -> Mapping[str, Tensor]:
    return {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}


def _content_sha256(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Of the source and the weights that it gave."""
    digest = hashlib.sha256(path.read_bytes())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\0".encode())
        digest.update(np.ascontiguousarray(value.detach().cpu().numpy()).tobytes())
    return digest.hexdigest()


FORMATS.register(PythonFile())
