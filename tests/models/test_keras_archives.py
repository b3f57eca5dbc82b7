"""Keras models: layers of Keras alone are loaded, layouts and heads are read, Keras itself agrees."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_files import colour_images

import advassay as aa
from advassay.errors import ClassifierError

if find_spec("keras") is None:  # importing it here would choose a backend
    pytest.skip("needs pip install 'advassay[keras]'", allow_module_level=True)

from advassay.models.formats.keras_archive import check_description, import_keras

keras: Any = import_keras()
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras with NumPy 2
IMAGES = colour_images(4)


def build(outputs: int = 3, activation: str | None = "softmax", *first: Any) -> Any:
    """A network with what TensorFlow does otherwise than torch: SAME padding at stride 2, batch norm with ε 1e-3."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            *first,
            layers.Conv2D(8, 3, strides=2, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(2, padding="same"),
            layers.Dropout(0.5),
            layers.Flatten(),
            layers.Dense(outputs, activation=activation),
        ]
    )
    norm = next(layer for layer in model.layers if type(layer).__name__ == "BatchNormalization")
    norm.set_weights(
        [np.linspace(0.5, 1.5, 8), np.linspace(-1, 1, 8), np.linspace(-0.2, 0.2, 8), np.linspace(1e-3, 0.1, 8)]
    )
    return model


def log_probabilities(model: Any, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return np.log(model(torch.from_numpy(images.transpose(0, 2, 3, 1).copy()), training=False).numpy())


def test_a_keras_model_is_proved_against_keras_in_a_process_of_its_own(tmp_path: Path) -> None:
    original = build()
    original.save(tmp_path / "model.keras")
    expected = log_probabilities(original, IMAGES)
    (tmp_path / "model.keras").rename(tmp_path / "model.bin")  # known by its content
    model = aa.load_model(tmp_path / "model.bin", images=IMAGES)
    with torch.no_grad():
        logits = model(torch.from_numpy(IMAGES))
    assert torch.allclose(logits.log_softmax(1), torch.from_numpy(expected), atol=1e-4)
    proof = model.proof
    assert proof is not None
    assert proof.runtime.startswith("keras ")
    assert (proof.train_mode, model.head) == ("differs", "softmax")  # dropout and batch norm follow the mode
    assert (model.preprocessing.layout, model.image_size_px) == ("channels-last", (32, 32))
    assert proof.gradient is not None
    assert (proof.gradient.arithmetic, proof.gradient.tolerance) == ("float64", 0.05)
    assert proof.gradient.largest_error < 1e-3

    kernel, bias = original.layers[-1].get_weights()
    original.layers[-1].set_weights([kernel, bias + np.array([0.0, 0.05, 0.1])])
    original.save(tmp_path / "model.keras")
    shutil.copyfile(tmp_path / "model.keras", tmp_path / "model.bin")
    with pytest.raises(ClassifierError, match="log-probabilities differ from those of keras"):
        model.prove(IMAGES)


def test_one_sigmoid_output_of_levels_in_hdf5_becomes_two_classes_of_images_in_0_to_1(tmp_path: Path) -> None:
    original = build(1, "sigmoid", keras.layers.Rescaling(1 / 127.5, offset=-1))
    original.save(tmp_path / "model.h5")
    model = aa.load_model(tmp_path / "model.h5", images=IMAGES)
    assert model.preprocessing.value_range == (0, 255)
    assert model.head == "sigmoid"
    with torch.no_grad():
        z = model(torch.from_numpy(IMAGES))[:, 1:]
    assert torch.allclose(
        torch.sigmoid(z).log(), torch.from_numpy(log_probabilities(original, IMAGES * 255)), atol=1e-4
    )
    found = aa.attack(model, IMAGES, np.zeros(4, np.int64), aa.PGD(4 / 255, steps=2))
    assert np.isfinite(found.logits).all()


def changed(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The archive with another description."""
    other = path.with_name("changed.keras")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(other, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "config.json":
                description = json.loads(content)
                change(description)
                content = json.dumps(description).encode()
            target.writestr(name, content)
    return other


def lambda_layer(description: dict[str, Any]) -> None:
    description["config"]["layers"][2] |= {"class_name": "Lambda", "config": {"function": {"class_name": "__lambda__"}}}


def custom_layer(description: dict[str, Any]) -> None:
    description["config"]["layers"][2] |= {"module": "os", "class_name": "system", "registered_name": "my>Layer"}


def hidden_function(description: dict[str, Any]) -> None:
    description["config"]["layers"][2]["config"]["kernel_initializer"] = {
        "module": "keras.src.utils.file_utils", "class_name": "function", "config": "get_file",
        "registered_name": "get_file",
    }  # fmt: skip


def compiled_inside(description: dict[str, Any]) -> None:
    """A model inside the model is compiled while it is loaded."""
    description["config"]["layers"][2]["compile_config"] = {
        "loss": {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}
    }


def python_function(description: dict[str, Any]) -> None:
    description["config"]["layers"][2]["config"]["kernel_initializer"] = {
        "module": "builtins", "class_name": "function", "config": "eval", "registered_name": "function",
    }  # fmt: skip


@pytest.mark.parametrize("change", [lambda_layer, custom_layer, hidden_function, compiled_inside, python_function])
def test_a_description_of_anything_but_keras_layers_is_refused_before_it_is_loaded(
    tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    build().save(tmp_path / "model.keras")
    with pytest.raises(ClassifierError, match=r"a Keras model of Keras' own layers is needed; it describes"):
        aa.load_model(changed(tmp_path / "model.keras", change))


def test_weights_that_point_to_other_files_are_refused(tmp_path: Path) -> None:
    import h5py

    build().save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5", "a") as file:
        file["elsewhere"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(ClassifierError, match="links to other files"):
        check_description(tmp_path / "model.h5")


def test_the_process_of_its_own_has_no_network() -> None:
    import subprocess
    import sys

    import advassay.models

    script = Path(advassay.models.__file__).with_name("keras_reference.py")
    code = (
        f"import runpy, socket; space = runpy.run_path({str(script)!r}); print(space['give_up_network']())\n"
        "try: socket.create_connection(('127.0.0.1', 9), 1)\n"
        "except PermissionError as error: print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() in (["namespace", "refused"], ["hook", "refused"])
