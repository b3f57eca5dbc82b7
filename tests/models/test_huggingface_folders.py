"""Hugging Face folders, built here from configurations: the processor's steps are inside, transformers agrees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_files import colour_images
from small_huggingface import save_resnet as resnet

import advassay as aa
from advassay.errors import ClassifierError
from advassay.models.formats.huggingface import read_processor

transformers: Any = pytest.importorskip("transformers", reason="needs pip install 'advassay[hf]'")


def test_mean_std_labels_and_size_come_from_the_folder(tmp_path: Path) -> None:
    network = resnet(tmp_path)
    images = colour_images(4)
    model = aa.load_model(tmp_path, images=images)
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.no_grad():
        expected = network(pixel_values=(torch.from_numpy(images) - mean) / std).logits
        assert torch.allclose(model(torch.from_numpy(images)), expected, atol=1e-5)
    assert (model.format, model.architecture) == ("huggingface", "ResNetForImageClassification")
    assert model.class_names == ("benign", "malignant")
    assert model.proof is not None
    assert model.proof.eight_bit == (4, 4)
    assert model.proof.runtime.startswith("transformers ")


@pytest.mark.parametrize(
    "steps",
    [
        {"size": {"height": 32, "width": 32}, "resample": 3},
        {"size": {"shortest_edge": 36}, "do_center_crop": True, "crop_size": {"height": 32, "width": 32}},
        {"size": {"height": 32, "width": 32}, "resample": 2, "do_normalize": False},
    ],
)
def test_resizing_and_cropping_are_the_processor_s_own(tmp_path: Path, steps: dict[str, Any]) -> None:
    kind = "ViTImageProcessor" if "crop_size" not in steps else "CLIPImageProcessor"
    base = {"image_processor_type": kind, "do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255,
            "do_normalize": True, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}  # fmt: skip
    resnet(tmp_path, base | steps)
    model = aa.load_model(tmp_path, images=colour_images(4, 48))
    assert model.preprocessing.changes_size
    assert model.proof is not None
    assert model.proof.largest_difference <= model.proof.tolerance
    assert model.proof.eight_bit is not None  # rounded to 8 bits after resizing, so decisions alone are counted


def test_a_wrong_mean_is_refused_by_the_processor_s_own_code(tmp_path: Path) -> None:
    resnet(tmp_path)
    with pytest.raises(ClassifierError, match="logits differ from those of transformers"):
        aa.load_model(tmp_path, mean=[0.5, 0.5, 0.5], std=[0.229, 0.224, 0.225], images=colour_images(4))


def test_a_multi_label_model_needs_a_finding_and_decides_it(tmp_path: Path) -> None:
    names = {0: "Effusion", 1: "Nodule", 2: "Mass"}
    network = resnet(tmp_path, num_labels=3, id2label=names, problem_type="multi_label_classification")
    with pytest.raises(ClassifierError, match=r"finding=NAME .*Effusion, Nodule, Mass"):
        aa.load_model(tmp_path)
    with pytest.raises(ClassifierError, match="got 'Hernia'; its output would be random"):
        aa.load_model(tmp_path, finding="Hernia")
    images = colour_images(4)
    model = aa.load_model(tmp_path, finding="nodule", images=images)
    assert model.class_names == ("no Nodule", "Nodule")
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.no_grad():
        z = network(pixel_values=(torch.from_numpy(images) - mean) / std).logits[:, 1]
        assert torch.allclose(model(torch.from_numpy(images))[:, 1], z, atol=1e-5)


def test_pickled_weights_and_code_of_the_folder_are_refused(tmp_path: Path) -> None:
    network = resnet(tmp_path)
    (tmp_path / "config.json").write_text(
        json.dumps(json.loads((tmp_path / "config.json").read_text()) | {"auto_map": {"AutoModel": "evil.Model"}})
    )
    with pytest.raises(ClassifierError, match="names code of its own"):
        aa.load_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(network.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ClassifierError, match=r"weights in safetensors are needed, found pytorch_model.bin"):
        aa.load_model(tmp_path)


def test_a_head_that_is_missing_is_not_drawn_at_random(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    resnet(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    kept = {name: value for name, value in tensors.items() if not name.startswith("classifier")}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ClassifierError, match="tensors are missing or of another shape"):
        aa.load_model(tmp_path)


def test_a_name_of_the_hub_is_not_fetched() -> None:
    with pytest.raises(ClassifierError, match="Nothing is fetched here"):
        aa.load_model("hf:google/vit-base-patch16-224")


def test_processors_of_known_families_are_read() -> None:
    convnext = read_processor(
        {"do_resize": True, "size": {"shortest_edge": 224}, "crop_pct": 0.875, "resample": 3, "do_normalize": True,
         "image_mean": [0.5] * 3, "image_std": [0.5] * 3}, 3,
    )  # fmt: skip
    assert (convnext.resize_shorter_px, convnext.crop_px, convnext.interpolation) == (256, (224, 224), "bicubic")
    efficientnet = read_processor(
        {"do_resize": True, "size": {"height": 8, "width": 8}, "resample": 0, "rescale_factor": 1 / 127.5,
         "rescale_offset": True}, 3,
    )  # fmt: skip
    assert efficientnet.value_range == (-1.0, 1.0)
    assert read_processor({"do_flip_channel_order": True}, 3).channel_order == "bgr"
    with pytest.raises(ClassifierError, match="pads images"):
        read_processor({"do_pad": True}, 3)


def test_epsilon_is_of_the_image_s_own_range(tmp_path: Path) -> None:
    resnet(tmp_path)
    images = colour_images(4, 48)  # resized inside
    model = aa.load_model(tmp_path, images=images)
    with torch.no_grad():
        labels = model(torch.from_numpy(images)).argmax(dim=1).numpy()
    found = aa.attack(model, images, np.asarray(labels), aa.PGD(4 / 255, steps=3, step_size=2 / 255))
    assert found.logits.shape == (4, 4, 2)
    assert model.preprocessing.describe_epsilon(4 / 255).startswith("4 of 255 grey levels, 0.0685, 0.07, 0.0697")
