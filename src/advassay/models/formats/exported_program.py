"""Programs of torch.export (`.pt2`), of one batch size or of any."""

from __future__ import annotations

import io
import json
import logging
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from advassay.errors import ClassifierError
from advassay.model_document import Preprocessing
from advassay.models.loaded_model import FORMATS, FixedBatch, ModelFormat, ModelParts, ModelRequest, Outputs, Reference
from advassay.models.preprocessing_steps import network_input
from advassay.models.weight_files import file_sha256, refuse_pickle, zip_names

_OLD_PROGRAM = "serialized_exported_program.json"
_CODE = ("aotinductor", "executorch", "custom_obj", "opaque_obj")
"""Parts of an archive that hold machine code or pickled objects."""


class ExportedProgram(ModelFormat):
    """An archive of torch.export.save."""

    name = "torch-export"

    def recognises(self, path: Path) -> bool:
        names = zip_names(path)
        return any(
            name == _OLD_PROGRAM or name.endswith("archive_format") or "/models/model.json" in f"/{name}"
            for name in names
        )

    def open(self, request: ModelRequest) -> Iterator[ModelParts]:
        check_archive(request.path)
        program = _load(request.path)
        batch, channels, height, width = input_shape(program)
        steps = request.preprocessing(Preprocessing(channels=channels))
        module = program.module()
        outputs = take_off_head(module)

        @contextmanager
        def reference() -> Iterator[Reference]:
            own = _load(request.path).module()
            run_any = own if batch is None else FixedBatch(own, batch)

            @torch.no_grad()
            def run(images: np.ndarray) -> np.ndarray:
                given = torch.from_numpy(network_input(steps, images))
                return run_any(given).numpy() if batch is not None else _tensor(own(given)).numpy()

            yield Reference(f"torch.export {torch.__version__}", run, outputs)

        notes = () if outputs == "logits" else (f"the program's last {outputs} was taken off: its logits are attacked",)
        yield ModelParts(
            network=module,
            preprocessing=steps,
            open_reference=reference,
            architecture=type(module).__name__ if type(module).__name__ != "GraphModule" else "",
            weights_sha256=file_sha256(request.path),
            image_size_px=(height, width) if height and width else None,
            batch_size=batch,
            notes=notes,
        )


def check_archive(path: Path) -> None:
    """Raise ClassifierError for an archive with machine code, or with a pickle that holds more than tensors.

    torch.export.load runs the first and unpickles the second without asking.
    """
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if any(part in name for part in _CODE):
                raise ClassifierError(
                    f"{path.name}: it holds {name.rpartition('/')[2]}: machine code or pickled objects, which are not "
                    "loaded.",
                    "Save the exported program alone: torch.export.save(program, 'model.pt2').",
                )
        for name in _pickled(archive):
            if content := archive.read(name):
                try:
                    torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
                except Exception as error:  # the unpickler names what it refuses in errors of several kinds
                    raise refuse_pickle(path, error) from None


def _pickled(archive: zipfile.ZipFile) -> list[str]:
    """Entries that are unpickled when the program is loaded: *.pt, the old format's parts, and what configs say."""
    names = archive.namelist()
    found = [name for name in names if name.endswith(".pt")]
    found += [name for name in names if name.startswith("serialized_") and name != _OLD_PROGRAM]
    for name in names:
        if not name.endswith("_config.json"):
            continue
        try:
            payloads = json.loads(archive.read(name)).get("config", {})
            said = [str(each["path_name"]) for each in payloads.values() if each.get("use_pickle")]
        except (ValueError, AttributeError, KeyError, TypeError):
            continue  # loading says what is wrong with it
        found += [other for other in names if other.rpartition("/")[2] in said]
    return list(dict.fromkeys(found))


def _load(path: Path) -> torch.export.ExportedProgram:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger = logging.getLogger("torch.export")
        level = logger.level
        logger.setLevel(logging.ERROR)  # it warns of names without .pt2
        try:
            with path.open("rb") as file:
                return torch.export.load(io.BytesIO(file.read()))
        except Exception as error:  # a program of another version fails in many ways
            raise ClassifierError(
                f"{path.name}: torch {torch.__version__} cannot read this exported program "
                f"({' '.join(str(error).split())[:200]}).",
                "Export it again with this version of torch: torch.export.save(torch.export.export(model.eval(), "
                "(example,)), 'model.pt2').",
            ) from None
        finally:
            logger.setLevel(level)


def input_shape(program: torch.export.ExportedProgram) -> tuple[int | None, int | None, int | None, int | None]:
    """(batch, channels, height, width) of the only input; None where any is taken.

    Raises ClassifierError unless the program takes one float32 image batch.
    """
    names = set(program.graph_signature.user_inputs)
    inputs = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    value: Any = inputs[0].meta.get("val") if len(inputs) == 1 else None
    if not isinstance(value, Tensor) or value.ndim != 4 or value.dtype != torch.float32:
        raise ClassifierError(
            f"model: expected a program of one input, float32 (image, channel, height, width), got {len(inputs)} "
            "inputs or another type.",
            "Export the network in float32 on one batch of images.",
        )
    batch, channels, height, width = (size if isinstance(size, int) else None for size in value.shape)
    return batch, channels, height, width


_SOFTMAX = ("aten.softmax.int", "aten._softmax.default")
_SIGMOID = ("aten.sigmoid.default",)


def take_off_head(module: nn.Module) -> Outputs:
    """Let a program give its logits: a softmax or sigmoid that its only output comes from is skipped.

    Returns what the program gave before.
    """
    assert isinstance(module, fx.GraphModule)
    end = next(node for node in module.graph.nodes if node.op == "output")
    sources = end.all_input_nodes
    if len(sources) != 1 or sources[0].op != "call_function":
        return "logits"
    target = str(sources[0].target)
    kind: Outputs = "softmax" if target in _SOFTMAX else "sigmoid" if target in _SIGMOID else "logits"
    if kind != "logits":
        end.replace_input_with(sources[0], sources[0].all_input_nodes[0])
        module.graph.eliminate_dead_code()
        module.recompile()
    return kind


def _tensor(outputs: Any) -> Tensor:
    return outputs if isinstance(outputs, Tensor) else outputs[0]


FORMATS.register(ExportedProgram())
