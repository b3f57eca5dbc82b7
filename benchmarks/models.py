"""Every model format × real architectures: is it proved, how closely, and how soon is there a first number?

    export ADVASSAY_DATA=../data
    python -m benchmarks.models                     # about 10 minutes on 2 idle cores; writes docs/results/models.md
    python -m benchmarks.models --only resnet18     # rows that contain the text, printed
    python -m benchmarks.models --kept rows.json    # keeps each row as it is made: a run that was stopped goes on

Networks with real weights: those of published robustness (data/robust), and the ImageNet InceptionV3 backbone
(data/weights) with a random head of two classes. All others have random weights, with batch norm statistics of the
images, and the table says so: reading and converting does not depend on what a network has learned. Images are
children's chest X-rays (Kermany et al. 2018, CC BY 4.0), repeated in three channels where a network takes three.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import advassay as aa
from advassay.errors import AdvassayError
from benchmarks.measuring import machine, note, say, table
from benchmarks.robust import SUBJECTS, _load

PAGE = Path(__file__).parents[1] / "docs" / "results" / "models.md"
IMAGES = 8
ATTACK = aa.PGD(2 / 255, step_size=0.5 / 255, steps=10, loss="margin")
SIDE = 64
"""Pixels. Reading, converting and proving a network do not depend on the size; the time of a pass does."""
ARCHITECTURES = ("resnet18", "densenet121", "efficientnet_b0", "convnext_atto", "vit_tiny_patch16_224")
OPSETS = tuple(range(13, 21))


@dataclass(frozen=True)
class Case:
    """One row: how a model file comes about, and how it is loaded."""

    format: str
    architecture: str
    weights: str
    """real | random, and which."""
    make: Callable[[Path], tuple[str, dict[str, Any]]]
    """Folder → (text for load_model, options)."""
    images: Callable[[], np.ndarray]


def xrays(side: int, channels: int = 1) -> np.ndarray:
    """Eight chest X-rays, four of each class, float32 (image, channel, side, side) in [0, 1]."""
    folder = Path(os.environ["ADVASSAY_DATA"]) / "xray" / "kermany_pneumonia_224" / "images"
    paths = sorted(folder.rglob("*.*"))
    chosen = [paths[i] for i in np.linspace(0, len(paths) - 1, IMAGES).astype(int)]
    grey = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in chosen]
    found = [cv2.resize(each, (side, side), interpolation=cv2.INTER_AREA) for each in grey]
    return np.repeat(np.stack(found)[:, None] / np.float32(255), channels, axis=1)


def random_network(name: str, classes: int = 2) -> nn.Module:
    """A timm network with random weights whose batch norms have the statistics of the X-rays."""
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=classes, **({"img_size": SIDE} if "vit" in name else {}))
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None
    with torch.no_grad():
        network.train()(torch.from_numpy(xrays(SIDE, 3)) * 2 - 1)
    return network.eval()


def inception() -> nn.Module:
    """timm's InceptionV3 with the real ImageNet backbone and a random head."""
    torch.manual_seed(0)
    network = timm.create_model("inception_v3", num_classes=2, aux_logits=False).eval()
    folder = Path(os.environ["ADVASSAY_DATA"]) / "weights"
    tensors = load_file(next(folder.glob("inception_v3*.safetensors")))
    network.load_state_dict({name: value.float() for name, value in tensors.items()}, strict=False)
    return network


def onnx_file(network: nn.Module, path: Path, opset: int, example: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(), (torch.from_numpy(example[:2]),), str(path), opset_version=opset, dynamo=False,
            input_names=["images"], output_names=["logits"],
            dynamic_axes={"images": {0: "batch"}, "logits": {0: "batch"}},
        )  # fmt: skip


def exported_file(network: nn.Module, path: Path, example: np.ndarray, batch: int | None) -> None:
    shapes = None if batch else ({0: torch.export.Dim("batch")},)
    given = torch.from_numpy(example[: batch or 2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(network.eval(), (given,), dynamic_shapes=shapes), str(path))


def script_file(network: nn.Module, path: Path, example: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(network.eval(), torch.from_numpy(example[:1])).save(str(path))


HALF: dict[str, Any] = {"mean": 0.5, "std": 0.5}
RANDOM = "random"


def torch_cases() -> Iterator[Case]:
    """timm names, TorchScript, torch.export of both kinds and ONNX at three opsets, of each architecture."""

    def of(save: Callable[[nn.Module, Path, np.ndarray], None], build: Callable[[], nn.Module], side: int) -> Any:
        def make(folder: Path) -> tuple[str, dict[str, Any]]:
            save(build(), folder / "model", xrays(side, 3))
            return str(folder / "model"), HALF

        return make

    def timm_text(name: str, build: Callable[[], nn.Module]) -> Any:
        def make(folder: Path) -> tuple[str, dict[str, Any]]:
            save_file({key: value.contiguous() for key, value in build().state_dict().items()}, folder / "w")
            return f"timm:{name}@{folder / 'w'}", HALF

        return make

    real = "ImageNet backbone, random head"
    networks: list[tuple[str, Callable[[], nn.Module], int, str]] = [
        *((name, lambda name=name: random_network(name), SIDE, RANDOM) for name in ARCHITECTURES),  # type: ignore[misc]
        ("inception_v3", inception, 96, real),
    ]
    for name, build, side, weights in networks:
        opsets = OPSETS if name in ARCHITECTURES else (17,)
        images = lambda side=side: xrays(side, 3)  # noqa: E731
        yield Case("timm", name, weights, timm_text(name, build), images)
        yield Case("TorchScript", name, weights, of(script_file, build, side), images)
        for batch, kind in ((None, "any batch"), (1, "batch of 1")):
            save = lambda network, path, example, batch=batch: exported_file(network, path, example, batch)  # noqa: E731
            yield Case(f"torch.export, {kind}", name, weights, of(save, build, side), images)
        for opset in opsets:
            save = lambda network, path, example, opset=opset: onnx_file(network, path, opset, example)  # noqa: E731
            yield Case(f"ONNX, opset {opset}", name, weights, of(save, build, side), images)


def published(name: str) -> np.ndarray:
    """The first test images of a network of published robustness."""
    return _load(Path(os.environ["ADVASSAY_DATA"]) / "robust", name, IMAGES)[1].numpy()


def robust_cases() -> Iterator[Case]:
    """Networks of published robustness with their real weights, on the test images that they were published on."""
    for name, subject in SUBJECTS.items():

        def make(folder: Path, name: str = name, subject: Any = subject) -> tuple[str, dict[str, Any]]:
            network = subject.build().eval()
            network.load_state_dict(load_file(Path(os.environ["ADVASSAY_DATA"]) / "robust" / f"{name}.safetensors"))
            onnx_file(network, folder / "model", 17, published(name))
            return str(folder / "model"), {"mean": list(subject.mean), "std": list(subject.std)}

        yield Case("ONNX, opset 17", name, "real, published", make, lambda name=name: published(name))


def huggingface_cases() -> Iterator[Case]:
    """Families of transformers at SIDE px, each with the kind of processor that its cards have."""
    import transformers

    cut = {"size": {"shortest_edge": SIDE}, "crop_pct": 0.875, "resample": 3}
    whole = {"size": {"height": SIDE, "width": SIDE}, "resample": 2}
    centre = {"size": {"shortest_edge": SIDE + 8}, "resample": 2, "do_center_crop": True,
              "crop_size": {"height": SIDE, "width": SIDE}}  # fmt: skip
    families: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
        "ViT": ("ViTImageProcessor", whole, {"hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3,
                                             "intermediate_size": 768, "image_size": SIDE}),
        "ConvNext": ("ConvNextImageProcessor", cut, {"hidden_sizes": [40, 80, 160, 320], "depths": [2, 2, 6, 2]}),
        "ResNet": ("ConvNextImageProcessor", cut, {"layer_type": "basic", "hidden_sizes": [64, 128, 256, 512],
                                                   "depths": [2, 2, 2, 2]}),
        "MobileNetV2": ("MobileNetV2ImageProcessor", centre, {}),
        "Swin": ("ViTImageProcessor", whole, {"image_size": SIDE, "window_size": 4, "embed_dim": 48,
                                              "depths": [2, 2, 2, 2], "num_heads": [3, 6, 12, 24]}),
    }  # fmt: skip
    for family, (kind, steps, size) in families.items():

        def make(
            folder: Path, family: str = family, kind: str = kind, steps: Any = steps, size: Any = size
        ) -> tuple[str, dict[str, Any]]:
            torch.manual_seed(0)
            config = getattr(transformers, f"{family}Config")(num_labels=2, **size)
            getattr(transformers, f"{family}ForImageClassification")(config).eval().save_pretrained(folder)
            common = {"image_processor_type": kind, "do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255,
                      "do_normalize": True, "image_mean": [0.485, 0.456, 0.406],
                      "image_std": [0.229, 0.224, 0.225]}  # fmt: skip
            (folder / "preprocessor_config.json").write_text(json.dumps(common | steps))
            return str(folder), {}

        yield Case("Hugging Face", f"{family}ForImageClassification", RANDOM, make, lambda: xrays(SIDE + 16, 3))


def keras_cases() -> Iterator[Case]:
    """keras.applications, random weights, with the layers that rescale inside where they have them."""
    for name, side in (("MobileNetV2", SIDE), ("DenseNet121", SIDE), ("EfficientNetV2B0", SIDE)):

        def make(folder: Path, name: str = name, side: int = side) -> tuple[str, dict[str, Any]]:
            from advassay.models.formats.keras_archive import import_keras

            keras: Any = import_keras()
            keras.utils.set_random_seed(0)
            build = getattr(keras.applications, name)
            build(weights=None, input_shape=(side, side, 3), classes=2).save(folder / "model.keras")
            return str(folder / "model.keras"), {} if name.startswith("Eff") else HALF

        yield Case("Keras", name, RANDOM, make, lambda side=side: xrays(side, 3))


def xrv_cases() -> Iterator[Case]:
    def make(folder: Path) -> tuple[str, dict[str, Any]]:
        from advassay.models.formats.xrayvision import import_library

        torch.manual_seed(0)
        network = import_library().models.DenseNet(num_classes=18, in_channels=1, weights=None)
        save_file(network.state_dict(), folder / "weights")
        return f"xrv:densenet121-res224-all@{folder / 'weights'}", {"finding": "Pneumonia"}

    yield Case("TorchXRayVision", "densenet121-res224-all", RANDOM, make, lambda: xrays(256, 1))


def row(case: Case) -> list[str]:
    """The case loaded, proved on its images, attacked: one row of the table."""
    images = case.images()
    with tempfile.TemporaryDirectory() as name:
        text, options = case.make(Path(name))
        gc.collect()
        begin = time.perf_counter()
        try:
            model = aa.load_model(text, images=images, **options)
        except AdvassayError as error:
            return [case.format, case.architecture, case.weights, "refused", error.problem[:120], "", "", "", "", ""]
        proved = time.perf_counter() - begin
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            labels = np.asarray(model(torch.from_numpy(images)).argmax(dim=1))
            found = aa.attack(model, images, labels, ATTACK)
        first = time.perf_counter() - begin
    proof = model.proof
    assert proof is not None
    assert proof.gradient is not None
    runtime = proof.runtime.removesuffix(" in a process of its own")
    runtime += f", by {proof.converter}" if proof.converter else ""
    return [
        case.format,
        case.architecture,
        case.weights,
        runtime,
        f"{proof.largest_difference:.1e} ({proof.tolerance:.1e})",
        f"{proof.decisions_equal}/{proof.decisions}",
        f"{proof.gradient.largest_error:.1e} ({proof.gradient.arithmetic})",
        f"{float(found.robust_accuracy()[-1]):.2f}",
        f"{proved:.1f}",
        f"{first:.1f}",
    ]


HEADER = ["format", "architecture", "weights", "compared with", "largest difference (allowed)", "same decisions",
          "gradient error", "robust accuracy", "proved after s", "first number after s"]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="rows whose format or architecture contains this text; printed only")
    parser.add_argument("--kept", type=Path, help="JSON file that rows are kept in and taken from")
    arguments = parser.parse_args()
    every = [torch_cases, robust_cases, huggingface_cases, keras_cases, xrv_cases]
    cases = [case for cases in every for case in cases() if arguments.only in f"{case.format} {case.architecture}"]
    held: dict[str, list[str]] = {}
    if arguments.kept is not None and arguments.kept.exists():
        held = json.loads(arguments.kept.read_text())
    rows = []
    for case in cases:
        name = f"{case.format}, {case.architecture}"
        note(name)
        rows.append(held[name] if name in held else row(case))
        held[name] = rows[-1]
        if arguments.kept is not None:
            arguments.kept.write_text(json.dumps(held))
        note(" | ".join(rows[-1]))
    text = table(HEADER, rows)
    say(text)
    if not arguments.only:
        PAGE.write_text(_page(text))


def _page(text: str) -> str:
    packages = ("timm", "onnx", "onnxruntime", "onnx2torch", "onnx2fx", "transformers", "keras", "torchxrayvision")
    return f"""# Models of other makers: each format proved

Made by `python -m benchmarks.models` ({machine(*packages)}).

Eight chest X-rays (Kermany et al. 2018) of {SIDE} px for each (96 px for InceptionV3), or eight test images for the
networks of published robustness. *Largest difference*: of a logit (log-probability, or sigmoid's probability) between
the classifier that is attacked and the model's own runtime, on the images and on the same with colour noise; in
brackets what is allowed. *Gradient error*: slopes of the margin by the gradient against finite differences, as a share.
*Robust accuracy*: of PGD (margin loss, ε = 2/255, 10 steps) on the decisions of the clean images, the first number; of
a network with random weights it says nothing. Seconds include reading, converting and the proof; the first Keras row
includes Keras' import.

{text}
"""


if __name__ == "__main__":
    main()
