"""TorchScript archives (torch.jit.save): a program with its weights. It says nothing of mean, std or classes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from advassay.errors import ClassifierError
from advassay.model_document import Preprocessing
from advassay.models.loaded_model import (
    FORMATS,
    ModelFormat,
    ModelParts,
    ModelRequest,
    Reference,
    as_logits,
    first_channels,
    kind_of_outputs,
    single_output,
)
from advassay.models.preprocessing_steps import network_input
from advassay.models.weight_files import file_sha256, zip_names

USUAL_SIDES = (224, 299, 64, 32, 28, 96, 128, 256, 384, 512)
"""Sides tried, in this order, of a network whose file does not say what it takes."""


class TorchScriptArchive(ModelFormat):
    """A zip archive with the entries code/ and constants.pkl."""

    name = "torchscript"

    def recognises(self, path: Path) -> bool:
        names = zip_names(path)
        return any("/code/" in f"/{name}" for name in names) and any(name.endswith("constants.pkl") for name in names)

    def open(self, request: ModelRequest) -> Iterator[ModelParts]:
        program = _load(request.path)
        found = Preprocessing(channels=first_channels(program.state_dict()))
        steps = request.preprocessing(found)
        side, sizes = _sides(program, steps.channels or 3)
        outputs = kind_of_outputs(_Program(program), steps, side)

        @contextmanager
        def reference() -> Iterator[Reference]:
            again = _load(request.path)

            @torch.no_grad()
            def run(images: np.ndarray) -> np.ndarray:
                given = torch.from_numpy(network_input(steps, images))
                return torch.cat([single_output(again(image[None])) for image in given]).numpy()

            yield Reference(f"torch.jit {torch.__version__}", run, outputs)

        notes = [f"the program takes {side} × {side} pixels; it was tried on usual sizes"] if len(sizes) == 1 else []
        if outputs != "logits":
            notes.append(
                f"its outputs are {outputs} probabilities: their logarithms are attacked, which lose the digits of "
                "probabilities that float32 rounds to 1"
            )
        yield ModelParts(
            network=as_logits(_Program(program), outputs),
            preprocessing=steps,
            open_reference=reference,
            architecture=str(program.original_name),
            weights_sha256=file_sha256(request.path),
            image_size_px=(side, side) if len(sizes) == 1 else None,
            prepare_px=side,
            notes=tuple(notes),
        )


class _Program(nn.Module):
    """A script module as a module of one tensor, with the program's own modes."""

    def __init__(self, program: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.program = program
        self.training = False

    def forward(self, images: Tensor) -> Tensor:
        return single_output(self.program(images))


def _load(path: Path) -> torch.jit.ScriptModule:
    """The program on the CPU, in eval mode. Raises ClassifierError where torch cannot read it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces that torch.jit will go
        try:
            return torch.jit.load(str(path), map_location="cpu").eval()
        except (RuntimeError, ValueError) as error:
            raise ClassifierError(
                f"{path.name}: torch {torch.__version__} cannot read it as TorchScript "
                f"({' '.join(str(error).split())[:200]}).",
                "Save it again with torch.jit.save, or with torch.export.save.",
            ) from None


@torch.no_grad()
def _sides(program: nn.Module, channels: int) -> tuple[int, list[int]]:
    """(the first usual side that the program takes, all of two others that it takes too)."""
    taken: list[int] = []
    for side in USUAL_SIDES:
        try:
            single_output(program(torch.zeros(1, channels, side, side)))
        except ClassifierError:
            raise
        except Exception:  # a program refuses a shape with errors of several kinds
            continue
        taken.append(side)
        if len(taken) == 2:
            break
    if not taken:
        raise ClassifierError(
            f"model: it takes none of the usual images ({channels} channels, sides "
            f"{', '.join(map(str, USUAL_SIDES))}).",
            "Say how many channels it takes (channels=…), or wrap it in Python as advassay.Classifier.",
        )
    return taken[0], taken


FORMATS.register(TorchScriptArchive())
