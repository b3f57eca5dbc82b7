"""ONNX graphs, made into torch modules by the converters that are installed; the first that proves right counts.

The converters differ in the operators and opsets that they read, and in what they get wrong. Each result is compared
with ONNX Runtime on the graph itself, so that which one made it does not matter.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from advassay.errors import ClassifierError, SpecError
from advassay.model_document import Preprocessing
from advassay.models.loaded_model import (
    FORMATS,
    ModelFormat,
    ModelParts,
    ModelRequest,
    Outputs,
    Reference,
    load_library,
)
from advassay.models.preprocessing_steps import network_input
from advassay.models.weight_files import file_sha256, is_onnx

CONVERTERS: dict[str, Callable[[Any, Any], nn.Module]] = {
    "onnx2torch": lambda library, graph: library.convert(graph),
    "onnx2fx": lambda library, graph: library.convert(graph),
    "onnx2pytorch": lambda library, graph: library.ConvertModel(graph, experimental=True),
}
"""Library → how it converts a graph, in the order in which they are tried."""


class OnnxGraph(ModelFormat):
    """A file of onnx.ModelProto, with its external data beside it where it has any."""

    name = "onnx"
    needs = {"onnx": "onnx", "onnxruntime": "onnx"}

    def recognises(self, path: Path) -> bool:
        return is_onnx(path)

    def open(self, request: ModelRequest) -> Iterator[ModelParts]:
        onnx = load_library("onnx", "onnx")
        load_library("onnxruntime", "onnx")
        graph = _read(onnx, request.path)
        seen = inspect_graph(onnx, graph)
        outputs, node = take_off_head(graph)
        steps = request.preprocessing(
            Preprocessing(channels=seen.channels, layout="channels-last" if seen.channels_last else "channels-first")
        )
        notes = (
            [] if outputs == "logits" else [f"the graph's last node ({node}) was taken off: its logits are attacked"]
        )
        if seen.channels_last:
            notes.append("the graph takes images as (image, height, width, channel): channels are moved inside")

        @contextmanager
        def reference() -> Iterator[Reference]:
            yield _onnx_runtime(request.path, steps, seen, outputs)

        sha256 = _sha256(request.path, graph, onnx)
        problems: list[str] = []
        for name in installed_converters():
            try:
                network = convert(name, graph)
            except Exception as error:  # a converter fails in as many ways as there are operators
                problems.append(f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:120]}")
                continue
            for batch in dict.fromkeys((None, seen.batch)):  # most graphs of one batch size convert to any
                yield ModelParts(
                    network=network,
                    preprocessing=steps,
                    open_reference=reference,
                    architecture=graph.graph.name or graph.producer_name,
                    weights_sha256=sha256,
                    image_size_px=seen.size,
                    batch_size=batch,
                    converter=name,
                    notes=(*notes, *(f"not converted by {problem}" for problem in problems)),
                )
        if problems:
            raise ClassifierError(
                f"{request.path.name}: no converter reads this graph (opset {seen.opset}): {'; '.join(problems)}.",
                "Export it at opset 17 (torch.onnx.export(…, opset_version=17)), or as torch.export .pt2.",
            )


class GraphFacts(NamedTuple):
    """What a graph says of its only input."""

    batch: int | None
    channels: int | None
    size: tuple[int, int] | None
    channels_last: bool
    opset: int


def installed_converters() -> list[str]:
    """Names of the converters that can be imported. Raises SpecError where none can."""
    found = []
    for name in CONVERTERS:
        try:
            load_library(name, "onnx")
        except SpecError:
            continue
        found.append(name)
    if not found:
        raise SpecError(
            f"model: ONNX graphs need one of the converters {', '.join(CONVERTERS)}, none is installed.",
            "pip install 'advassay[onnx]'",
        )
    return found


def convert(name: str, graph: Any) -> nn.Module:
    """The graph as a torch module in eval mode, by the converter `name`. Raises whatever the converter raises."""
    library = load_library(name, "onnx")
    copy = type(graph)()
    copy.CopyFrom(graph)  # converters change what they are given
    with warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")
        network = CONVERTERS[name](library, copy)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network.eval()


@contextmanager
def _quiet() -> Iterator[None]:
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)


def _read(onnx: Any, path: Path) -> Any:
    try:
        return onnx.load(str(path))
    except Exception as error:  # protobuf, missing external data, …
        raise ClassifierError(
            f"{path.name}: onnx {onnx.__version__} cannot read it ({' '.join(str(error).split())[:200]}).",
            "Export it again; files of external data must lie beside it.",
        ) from None


def inspect_graph(onnx: Any, graph: Any) -> GraphFacts:
    """What the graph takes. Raises ClassifierError unless it is one float32 batch of images and one output."""
    held = {each.name for each in graph.graph.initializer}
    inputs = [each for each in graph.graph.input if each.name not in held]
    outputs = list(graph.graph.output)
    kind = inputs[0].type.tensor_type if len(inputs) == 1 else None
    sizes = [dim.dim_value or None for dim in kind.shape.dim] if kind is not None else []
    if kind is None or len(sizes) != 4 or kind.elem_type != onnx.TensorProto.FLOAT or len(outputs) != 1:
        named = ", ".join(each.name for each in (*inputs, *outputs))
        raise ClassifierError(
            "model: expected a graph of one input, float32 (image, channel, height, width), and one output, got "
            f"{len(inputs)} inputs and {len(outputs)} outputs ({named}).",
            "Export the classifier alone, in float32.",
        )
    last = sizes[1] not in (1, 3) and sizes[3] in (1, 3)
    batch, channels, height, width = (sizes[0], sizes[3], sizes[1], sizes[2]) if last else sizes
    opset = max((each.version for each in graph.opset_import if each.domain in ("", "ai.onnx")), default=0)
    return GraphFacts(batch, channels, (height, width) if height and width else None, last, opset)


_HEADS: dict[str, Outputs] = {"Softmax": "softmax", "Sigmoid": "sigmoid"}


def take_off_head(graph: Any) -> tuple[Outputs, str]:
    """Let a graph give its logits: a Softmax or Sigmoid that makes its output is skipped, and Identity before it.

    Returns (what the graph gave before, the name of the node).
    """
    (output,) = graph.graph.output
    makers = {name: node for node in graph.graph.node for name in node.output}
    node = makers.get(output.name)
    while node is not None and node.op_type == "Identity":
        node = makers.get(node.input[0])
    kind = _HEADS.get(node.op_type, "logits") if node is not None else "logits"
    if node is None or kind == "logits":
        return "logits", ""
    logits, name = node.input[0], f"{node.op_type} {node.name}".strip()
    del output.type.tensor_type.shape.dim[:]
    output.type.tensor_type.ClearField("shape")
    output.name = logits
    return kind, name


def _sha256(path: Path, graph: Any, onnx: Any) -> str:
    """Of the file; with external data, of the file and all of them by name."""
    unread = onnx.load(str(path), load_external_data=False)
    beside = {
        entry.value
        for tensor in unread.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
    if not beside:
        return file_sha256(path)
    digest = hashlib.sha256(file_sha256(path).encode())
    for name in sorted(beside):
        digest.update(f"\n{name}\0{file_sha256(path.parent / name)}".encode())
    return digest.hexdigest()


def _onnx_runtime(path: Path, steps: Preprocessing, seen: GraphFacts, outputs: Outputs) -> Reference:
    """ONNX Runtime on the file as it is, in the batch size that the graph takes, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ClassifierError(
            f"{path.name}: ONNX Runtime {onnxruntime.__version__} refuses it ({' '.join(str(error).split())[:200]}).",
            "Check the file with onnx.checker.check_model, or export it again.",
        ) from None
    name = session.get_inputs()[0].name
    size = seen.batch or 1

    def run(images: np.ndarray) -> np.ndarray:
        given = network_input(steps, images)
        found = []
        for start in range(0, len(given), size):
            part = given[start : start + size]
            padded = np.concatenate([part, np.repeat(part[:1], size - len(part), axis=0)])
            found.append(np.asarray(session.run(None, {name: padded})[0])[: len(part)])
        return np.concatenate(found).reshape(len(given), -1)

    return Reference(f"onnxruntime {onnxruntime.__version__}", run, outputs)


FORMATS.register(OnnxGraph())
