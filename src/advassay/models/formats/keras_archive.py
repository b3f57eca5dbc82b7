"""Keras 3 archives (`.keras`) and whole models in HDF5 (`.h5`), on Keras' torch backend.

A Keras file describes objects to be made by name, and its safe mode has been got round (CVE-2025-1550, -8747, -9906,
CVE-2026-1462). So the description is read here first: only layers, initialisers and activations of Keras itself are
let through. The reference pass runs in a process of its own without network (keras_reference.py).
"""

from __future__ import annotations

import builtins
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from torch import Tensor, nn

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
from advassay.models.weight_files import file_sha256, is_hdf5, zip_names

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
MODULES = ("keras", "keras.layers", "keras.models", "keras.initializers", "keras.regularizers", "keras.constraints",
           "keras.activations", "keras.dtype_policies", "keras.src.models.functional", "keras.src.models.sequential",
           "keras.src.models.model", "keras.src.dtype_policies.dtype_policy", "builtins")  # fmt: skip
"""Where the objects of a description may come from."""
REFUSED = ("Lambda", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer", "MapLayer", "__lambda__",
           "StringLookup", "TextVectorization", "IntegerLookup", "Hashing")  # fmt: skip
"""Classes that run code or read files of their own."""
REFERENCE_SECONDS = 600
_SCALES = (1 / 255, 1 / 127.5)
"""Of a first Rescaling layer: it expects 0–255."""


class KerasArchive(ModelFormat):
    """A `.keras` archive, or HDF5 with a model in it."""

    name = "keras"
    needs = {"keras": "keras"}

    def recognises(self, path: Path) -> bool:
        if {CONFIG, WEIGHTS} <= set(zip_names(path)):
            return True
        return is_hdf5(path) and _hdf5_description(path) is not None

    def open(self, request: ModelRequest) -> Iterator[ModelParts]:
        check_description(request.path)
        keras = import_keras()
        with _with_suffix(request.path) as path:
            model = _load(keras, path, request.path.name)
        height, width, channels, last = input_shape(model)
        steps = request.preprocessing(
            Preprocessing(
                channels=channels,
                layout="channels-last" if last else "channels-first",
                value_range=(0.0, 255.0) if _takes_levels(model) else (0.0, 1.0),
                origin="the model's layers",
            )
        )
        notes = []
        if steps.value_range[1] == 255:
            notes.append("its first layer rescales 0–255, so images are brought to that range first")
        outputs = take_off_head(keras, model)
        if outputs != "logits":
            notes.append(f"the activation of its last layer ({outputs}) was taken off: its logits are attacked")

        @contextmanager
        def reference() -> Iterator[Reference]:
            name = f"keras {keras.__version__} in a process of its own"
            yield Reference(name, lambda images: run_apart(request.path, network_input(steps, images)), outputs)

        yield ModelParts(
            network=_KerasNetwork(model),
            preprocessing=steps,
            open_reference=reference,
            architecture=str(model.name),
            weights_sha256=file_sha256(request.path),
            image_size_px=(height, width) if height and width else None,
            in_float64=lambda: _Float64Network(in_float64(keras, model)),
            notes=tuple(notes),
        )


class _KerasNetwork(nn.Module):
    """A Keras model whose call follows the module's mode: Keras itself looks at the argument `training` alone."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.training = False

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images, training=self.training)


class _Float64Network(_KerasNetwork):
    """A Keras model of float64 layers: matrix products and sums give float64 too, which Keras rounds on torch."""

    def forward(self, images: Tensor) -> Tensor:
        with _float64_promotion():
            return super().forward(images)


@contextmanager
def _float64_promotion() -> Iterator[None]:
    """Keras' type promotion without its cut of 64 to 32 bits, which its backends but TensorFlow make.

    A Keras that keeps that table elsewhere goes on in float32; the proof then says so.
    """
    from keras.src.backend.common import dtypes

    table = getattr(dtypes, "BIT64_TO_BIT32_DTYPE", {})
    before = table.get("float64")
    table["float64"] = "float64"
    try:
        yield
    finally:
        if before is None:
            del table["float64"]
        else:
            table["float64"] = before


# ---- what a file describes ------------------------------------------------------------------------------------------


def check_description(path: Path) -> None:
    """Raise ClassifierError for a file that describes more than Keras' own layers, or whose weights lie elsewhere."""
    import h5py

    if is_hdf5(path):
        with h5py.File(path, "r") as file:
            _check_links(file, path)
        description = _hdf5_description(path)
    else:
        with zipfile.ZipFile(path) as archive:
            if any(name.startswith("assets/") for name in archive.namelist()):
                raise _refuse(path, "it holds files of its own (assets)")
            description = json.loads(archive.read(CONFIG))
            with archive.open(WEIGHTS) as weights, h5py.File(weights, "r") as file:
                _check_links(file, path)
    if isinstance(description, dict):
        description.pop("compile_config", None)  # of the whole model, which is loaded without being compiled
    for what in _described(description):
        refused = what["class_name"] in REFUSED or "Lambda" in what["class_name"]
        module = what.get("module", "keras.layers")
        registered = what.get("registered_name")
        # Keras writes its own functions as of "builtins"; by that name it would fetch eval as well.
        refused |= module == "builtins" and hasattr(builtins, str(what.get("config")))
        if refused or module not in MODULES or ">" in str(registered or ""):
            raise _refuse(
                path, f"it describes {module}.{what['class_name']}" + (f" ({registered})" if registered else "")
            )


def _described(value: Any) -> Iterator[dict[str, Any]]:
    """Every object that a description names, at any depth. Models inside it are compiled as they are loaded, so what
    that takes is looked at too."""
    if isinstance(value, list):
        for each in value:
            yield from _described(each)
    elif isinstance(value, dict):
        if isinstance(value.get("class_name"), str) and value["class_name"] not in ("__keras_tensor__", "__tensor__"):
            yield value
        for each in value.values():
            yield from _described(each)


def _hdf5_description(path: Path) -> Any:
    import h5py

    with h5py.File(path, "r") as file:
        held = file.attrs.get("model_config")
    if held is None:
        return None
    return json.loads(held.decode() if isinstance(held, bytes) else held)


def _check_links(group: Any, path: Path) -> None:
    """Raise ClassifierError for weights that point to other files."""
    import h5py

    for name in group:
        if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
            raise _refuse(path, "its weights are links to other files")
        held = group[name]
        if isinstance(held, h5py.Group):
            _check_links(held, path)
        elif held.external or held.is_virtual:
            raise _refuse(path, "its weights lie in other files")


def _refuse(path: Path, why: str) -> ClassifierError:
    return ClassifierError(
        f"{path.name}: a Keras model of Keras' own layers is needed; {why}, which could run code or read files when it "
        "is loaded.",
        "Where you trust it, load it in Python, export it (model.export('model.onnx', format='onnx')), and give the "
        "ONNX file.",
    )


# ---- the model ------------------------------------------------------------------------------------------------------


def import_keras() -> ModuleType:
    """Keras on its torch backend. Raises SpecError where it is not installed, or was imported with another one."""
    names = {"KERAS_BACKEND": "torch", "KERAS_TORCH_DEVICE": "cpu"}
    if "keras" not in sys.modules:
        with tempfile.TemporaryDirectory() as home:  # a user's keras.json would change layouts and types
            before = {name: os.environ.get(name) for name in (*names, "KERAS_HOME")}
            os.environ.update({**names, "KERAS_HOME": home})
            try:
                load_library("keras", "keras")
            finally:
                for name, value in before.items():
                    os.environ.pop(name, None) if value is None else os.environ.update({name: value})
    keras = load_library("keras", "keras")
    if keras.config.backend() != "torch":
        raise SpecError(
            f"model: Keras must run on torch here, and it was imported with the backend {keras.config.backend()}.",
            "Set KERAS_BACKEND=torch before keras is imported.",
        )
    return keras


@contextmanager
def _with_suffix(path: Path) -> Iterator[Path]:
    """The file under a name with the ending that Keras goes by."""
    wanted = ".h5" if is_hdf5(path) else ".keras"
    if path.suffix == wanted:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / f"model{wanted}"
        shutil.copyfile(path, copy)
        yield copy


def _load(keras: ModuleType, path: Path, name: str) -> Any:
    try:
        return keras.models.load_model(str(path), compile=False, safe_mode=True)
    except Exception as error:  # Keras fails in as many ways as it has layers
        raise ClassifierError(
            f"{name}: Keras {keras.__version__} cannot read it ({' '.join(str(error).split())[:200]}).",
            "Save it again with model.save('model.keras') of Keras 3.",
        ) from None


def input_shape(model: Any) -> tuple[int | None, int | None, int | None, bool]:
    """(height, width, channels, whether channels come last). Raises ClassifierError for another kind of input."""
    inputs, outputs = list(model.inputs), list(model.outputs)
    shape = tuple(inputs[0].shape) if len(inputs) == 1 else ()
    if len(shape) != 4 or len(outputs) != 1 or len(outputs[0].shape) != 2:
        raise ClassifierError(
            f"model: expected a Keras model of one image batch and one output (image, class), got {len(inputs)} "
            f"inputs of shape {shape} and {len(outputs)} outputs.",
            "Give the classifier alone.",
        )
    if shape[1] in (1, 3) and shape[3] not in (1, 3):
        return shape[2], shape[3], shape[1], False
    return shape[1], shape[2], shape[3], True


def take_off_head(keras: ModuleType, model: Any) -> Outputs:
    """Let a model give its logits: the softmax or sigmoid of its last layer becomes the identity.

    Returns what the model gave before.
    """
    layer = model.outputs[0]._keras_history.operation
    while getattr(layer, "outputs", None) and getattr(layer, "layers", None):  # a model in the model
        layer = layer.outputs[0]._keras_history.operation
    activation = getattr(getattr(layer, "activation", None), "__name__", "")
    if type(layer).__name__ == "Softmax":
        layer.call = lambda inputs, mask=None: inputs
        return "softmax"
    if activation not in ("softmax", "sigmoid"):
        return "logits"
    layer.activation = keras.activations.linear
    return activation  # type: ignore[return-value]


def in_float64(keras: ModuleType, model: Any) -> Any:
    """The same model with every layer's arithmetic in float64: Keras fixes it in the layers' descriptions."""
    described = json.dumps(keras.saving.serialize_keras_object(model)).replace('"float32"', '"float64"')
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")  # a Sequential takes its own from here
    try:
        double = keras.saving.deserialize_keras_object(json.loads(described), safe_mode=True)
    finally:
        keras.config.set_dtype_policy(policy)
    double.set_weights(model.get_weights())
    return double


def _takes_levels(model: Any) -> bool:
    """Whether the first layer that changes anything is a Rescaling of 0–255."""
    for layer in model.layers:
        if type(layer).__name__ == "InputLayer":
            continue
        if getattr(layer, "layers", None) and getattr(layer, "outputs", None):
            return _takes_levels(layer)
        scale: Any = getattr(layer, "scale", 0.0)
        return type(layer).__name__ == "Rescaling" and any(abs(float(scale) - each) < 1e-6 for each in _SCALES)
    return False


def run_apart(path: Path, given: np.ndarray) -> np.ndarray:
    """Outputs of the file's model, run in a process of its own without network. Raises ClassifierError.

    `given`: float32, what the model takes.
    """
    script = Path(__file__).parents[1] / "keras_reference.py"
    with tempfile.TemporaryDirectory() as name, _with_suffix(path) as model:
        folder = Path(name)
        np.save(folder / "given.npy", given)
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("KERAS", "PYTHON"))}
        environment |= {"KERAS_BACKEND": "torch", "KERAS_TORCH_DEVICE": "cpu", "KERAS_HOME": name, "HOME": name}
        done = subprocess.run(
            [sys.executable, "-I", str(script), str(model), str(folder / "given.npy"), str(folder / "found.npy")],
            env=environment,
            capture_output=True,
            text=True,
            timeout=REFERENCE_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            said = (done.stderr.strip().splitlines() or ["no message"])[-1][:200]
            raise ClassifierError(
                f"{path.name}: Keras fails on it in a process of its own ({said}).", "Load it with Keras alone first."
            )
        return np.load(folder / "found.npy")


FORMATS.register(KerasArchive())
