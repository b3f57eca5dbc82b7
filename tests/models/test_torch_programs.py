"""TorchScript, torch.export, timm weights, own checkpoints and Python files."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from model_files import TinyNetwork, WithHead, colour_images, logits_of, save_exported, save_torchscript
from safetensors.torch import save_file

import advassay as aa
from advassay.errors import ClassifierError, InputError, SpecError

IMAGES = colour_images()


def same(model: aa.Classifier, network: torch.nn.Module, images: np.ndarray = IMAGES) -> bool:
    with torch.no_grad():
        return torch.allclose(model(torch.from_numpy(images)), logits_of(network, images), atol=1e-5)


def test_torchscript_is_known_by_its_content_and_gives_its_logits(tmp_path: Path) -> None:
    network = TinyNetwork()
    model = aa.load_model(save_torchscript(network, tmp_path / "network.bin"), images=IMAGES)
    assert (model.format, model.head, model.preprocessing.channels) == ("torchscript", "softmax", 3)
    assert same(model, network)
    assert model.proof is not None
    assert model.proof.decisions_equal == model.proof.decisions == 2 * len(IMAGES)
    assert model.proof.gradient is not None
    assert model.proof.gradient.largest_error < 0.05


@pytest.mark.parametrize("batch", [None, 1, 4])
def test_a_program_of_one_batch_size_or_of_any_is_attacked_in_batches_of_its_own(
    tmp_path: Path, batch: int | None
) -> None:
    network = TinyNetwork()
    model = aa.load_model(save_exported(network, tmp_path / "program", batch=batch), images=IMAGES)
    assert (model.format, model.image_size_px, model.parts.batch_size) == ("torch-export", (32, 32), batch)
    assert same(model, network)
    found = aa.attack(model, IMAGES, np.zeros(len(IMAGES), np.int64), aa.PGD(4 / 255, steps=2), batch_size=5)
    assert found.logits.shape == (3, len(IMAGES), 3)


@pytest.mark.parametrize(("kind", "outputs"), [("softmax", 3), ("sigmoid", 1)])
def test_the_last_layer_of_a_program_is_taken_off_where_it_gives_probabilities(
    tmp_path: Path, kind: str, outputs: int
) -> None:
    network = TinyNetwork(outputs)
    model = aa.load_model(save_exported(WithHead(network, kind), tmp_path / "program.pt2"), images=IMAGES)
    logits = logits_of(network, IMAGES)
    expected = logits if outputs > 1 else torch.cat([torch.zeros_like(logits), logits], dim=1)
    with torch.no_grad():
        assert torch.allclose(model(torch.from_numpy(IMAGES)), expected, atol=1e-5)
    assert model.head == kind
    assert any(f"last {kind} was taken off" in note for note in model.notes)


@pytest.mark.parametrize(("kind", "outputs"), [("softmax", 3), ("sigmoid", 1)])
def test_where_a_program_cannot_be_seen_into_the_logarithm_of_its_probabilities_is_attacked(
    tmp_path: Path, kind: str, outputs: int
) -> None:
    network = TinyNetwork(outputs)
    model = aa.load_model(save_torchscript(WithHead(network, kind), tmp_path / "network.pt"), images=IMAGES)
    logits = logits_of(network, IMAGES)
    with torch.no_grad():
        found = model(torch.from_numpy(IMAGES))
    margins = logits - logits[:, :1] if outputs > 1 else torch.cat([torch.zeros_like(logits), logits], dim=1)
    assert torch.allclose(found - found[:, :1], margins, atol=1e-3)
    assert any("logarithms are attacked" in note for note in model.notes)


def test_mean_std_and_range_of_the_options_count_in_0_to_1(tmp_path: Path) -> None:
    path = save_torchscript(TinyNetwork(), tmp_path / "network.pt")
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
    plain = aa.load_model(path, mean=mean, std=std)
    levels = aa.load_model(path, mean=mean, std=std, value_range=(0, 255))
    x = torch.from_numpy(IMAGES)
    normal = (x - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    with torch.no_grad():
        expected = logits_of(TinyNetwork(), normal.numpy())
        assert torch.allclose(plain(x), expected, atol=1e-5)
        assert torch.allclose(levels(x), expected, atol=1e-5)
    assert levels.preprocessing.epsilon_in_model_units(1 / 255) == pytest.approx([1 / (255 * s) for s in std])


def test_a_model_in_train_mode_would_differ_and_that_is_said(tmp_path: Path) -> None:
    source = tmp_path / "network.py"
    source.write_text(
        "import sys\nfrom model_files import TinyNetwork\ndef build():\n    return TinyNetwork().train()\n"
    )
    model = aa.load_model(f"{source}:build", trust=True, images=IMAGES)
    assert model.proof is not None
    assert model.proof.train_mode == "differs"
    assert model.proof.train_mode_difference > 0.01
    assert "eval mode is attacked" in model.proof.summary()
    assert not any(part.training for part in model.modules())


def test_python_code_runs_only_where_that_is_said(tmp_path: Path) -> None:
    source = tmp_path / "network.py"
    source.write_text("raise RuntimeError('it ran')\n")
    with pytest.raises(SpecError, match="is Python code, and it would run"):
        aa.load_model(f"{source}:build")
    with pytest.raises(SpecError, match="it ran"):
        aa.load_model(f"{source}:build", trust=True)


def test_a_function_that_draws_its_weights_anew_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "network.py"
    source.write_text(
        "from torch import nn\ndef build():\n    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 2))\n"
    )
    with pytest.raises(ClassifierError, match=r"could not be proved: logits differ .* called a second time"):
        aa.load_model(f"{source}:build", trust=True, images=IMAGES)


def test_timm_weights_are_read_by_name_with_as_many_classes_and_channels_as_they_have(tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = timm.create_model("test_resnet", num_classes=4, in_chans=1).eval()
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    model = aa.load_model(f"timm:test_resnet@{tmp_path / 'weights.safetensors'}", mean=0.5, std=0.5)
    images = colour_images(4, 64, channels=1)
    with torch.no_grad():
        expected = network(torch.from_numpy(images) * 2 - 1)
        assert torch.allclose(model(torch.from_numpy(images)), expected, atol=1e-5)
    assert (model.architecture, model.preprocessing.channels) == ("test_resnet", 1)


def test_timm_mean_and_std_are_its_defaults_and_that_is_said(tmp_path: Path) -> None:
    network = timm.create_model("test_resnet", num_classes=2)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    model = aa.load_model(f"timm:test_resnet@{tmp_path / 'weights.safetensors'}")
    assert model.preprocessing.mean == tuple(network.pretrained_cfg["mean"])
    assert any("timm's defaults" in note for note in model.notes)


def test_a_timm_folder_says_how_images_become_square(tmp_path: Path) -> None:
    network = timm.create_model("test_resnet", num_classes=2).eval()
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    said = {"input_size": [3, 64, 64], "crop_pct": 0.8, "interpolation": "bicubic", "mean": [0.5] * 3, "std": [0.5] * 3}
    said |= {name: network.pretrained_cfg[name] for name in ("first_conv", "classifier")}
    config = {"architecture": "test_resnet", "num_classes": 2, "pretrained_cfg": said}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = aa.load_model(tmp_path)
    steps = model.preprocessing
    assert (steps.resize_shorter_px, steps.crop_px, steps.interpolation) == (80, (64, 64), "bicubic")
    assert (model.parts.prepare_px, model.parts.prepare_resize) == (80, "crop")
    images = torch.from_numpy(colour_images(4, 80))
    with torch.no_grad():
        assert torch.allclose(model(images), network(images[..., 8:72, 8:72] * 2 - 1), atol=1e-5)
    (tmp_path / "config.json").write_text(json.dumps(config | {"pretrained_cfg": said | {"crop_mode": "border"}}))
    with pytest.raises(ClassifierError, match="crop_mode center or squash"):
        aa.load_model(tmp_path)


def test_weights_of_another_network_are_refused_by_name(tmp_path: Path) -> None:
    save_file(timm.create_model("test_vit", num_classes=2).state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(ClassifierError, match=r"weights.safetensors: tensors .* are needed"):
        aa.load_model(f"timm:test_resnet@{tmp_path / 'weights.safetensors'}")
    with pytest.raises(ClassifierError, match="do not say which network"):
        aa.load_model(tmp_path / "weights.safetensors")
    with pytest.raises(ClassifierError, match=r"expected a name that timm .* knows, got 'resnt18'"):
        aa.load_model(f"timm:resnt18@{tmp_path / 'weights.safetensors'}")


def test_a_transformer_s_image_size_is_read_off_its_weights(tmp_path: Path) -> None:
    network = timm.create_model("test_vit", num_classes=2, img_size=96).eval()
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    model = aa.load_model(f"timm:test_vit@{tmp_path / 'weights.safetensors'}", mean=0.0, std=1.0)
    assert model.image_size_px == (96, 96)


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_pickles_are_refused_and_never_run(tmp_path: Path) -> None:
    mark = tmp_path / "it ran"
    torch.save({"model": TinyNetwork(), "evil": Evil(mark)}, tmp_path / "model.pt")
    (tmp_path / "old.pkl").write_bytes(pickle.dumps(Evil(mark)))
    torch.save({"state_dict": TinyNetwork().state_dict(), "evil": Evil(mark)}, tmp_path / "weights.pt")
    for text in (tmp_path / "model.pt", tmp_path / "old.pkl", f"timm:test_resnet@{tmp_path / 'weights.pt'}"):
        with pytest.raises(ClassifierError, match="a pickled model, which could run any code"):
            aa.load_model(text)
    assert not mark.exists()


@pytest.mark.parametrize(
    "entry", ["data/sample_inputs/model.pt", "data/constants/opaque_obj_0", "data/aotinductor/x.so"]
)
def test_a_program_with_pickled_objects_or_machine_code_is_refused_before_it_is_loaded(
    tmp_path: Path, entry: str
) -> None:
    mark = tmp_path / "it ran"
    good = save_exported(TinyNetwork(), tmp_path / "good.pt2")
    buffer = io.BytesIO()
    torch.save((Evil(mark),), buffer)
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(tmp_path / "bad.pt2", "w") as bad:
        root = source.namelist()[0].partition("/")[0]
        for name in source.namelist():
            if name != f"{root}/{entry}":
                bad.writestr(name, source.read(name))
        bad.writestr(f"{root}/{entry}", buffer.getvalue())
    with pytest.raises(ClassifierError, match=r"pickled|machine code"):
        aa.load_model(tmp_path / "bad.pt2")
    assert not mark.exists()


def test_a_file_that_no_format_knows_is_refused_with_the_formats(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("not a model")
    with pytest.raises(ClassifierError, match=r"no model format recognises this file \(advassay, huggingface, keras"):
        aa.load_model(tmp_path / "model.onnx")
    with pytest.raises(ClassifierError, match="no such file or folder"):
        aa.load_model(tmp_path / "absent.onnx")
    (tmp_path / "bundle" / "configs").mkdir(parents=True)
    (tmp_path / "bundle" / "configs" / "metadata.json").write_text("{}")
    with pytest.raises(ClassifierError, match="MONAI bundle"):
        aa.load_model(tmp_path / "bundle")


def test_a_finding_of_several_is_decided_by_its_own_logit(tmp_path: Path) -> None:
    network = TinyNetwork(5)
    path = save_torchscript(network, tmp_path / "network.pt")
    model = aa.load_model(path, finding=2, images=IMAGES)
    z = logits_of(network, IMAGES)[:, 2]
    with torch.no_grad():
        assert torch.allclose(model(torch.from_numpy(IMAGES)), torch.stack([torch.zeros_like(z), z], dim=1), atol=1e-5)
    assert (model.head, model.finding_name) == ("finding", "2")
    with pytest.raises(ClassifierError, match="finding"):
        aa.load_model(path, finding=5)


def test_images_of_other_channels_are_refused_before_anything_is_compared(tmp_path: Path) -> None:
    model = aa.load_model(save_torchscript(TinyNetwork(), tmp_path / "network.pt"))
    with pytest.raises(InputError, match="expected 3 channels, as the model takes, got 4"):
        model.prove(np.zeros((2, 4, 32, 32), np.float32))
    assert model.prove(colour_images(3, channels=1)).images == 3


def test_a_file_whose_classifier_decides_one_finding_is_refused_with_how_to_name_it(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\nimport advassay as aa\n"
        "def build():\n"
        "    return aa.Classifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(2)), finding=1)\n"
    )
    with pytest.raises(ClassifierError, match=r"got one of finding 1.*--finding 1"):
        aa.load_model(f"{tmp_path / 'net.py'}:build", trust=True)


def test_probabilities_are_no_logits(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\n"
        "def build():\n"
        "    torch.manual_seed(0)\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3), torch.nn.Softmax(1))\n"
    )
    images = np.random.default_rng(0).random((4, 3, 8, 8), np.float32)
    with pytest.raises(ClassifierError, match="got outputs of the python model that are probabilities"):
        aa.load_model(f"{tmp_path / 'net.py'}:build", trust=True, images=images)
