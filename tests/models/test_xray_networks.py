"""TorchXRayVision: its own decisions, its scale, and labels that the weights were not trained for."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_files import colour_images
from safetensors.torch import save_file

import advassay as aa
from advassay.errors import ClassifierError

pytest.importorskip("torchxrayvision", reason="needs pip install 'advassay[xrv]'")


from advassay.models.formats import xrayvision

xrv: Any = xrayvision.import_library()
IMAGES = colour_images(2, 80, channels=1)


@pytest.fixture(scope="module")
def network() -> Any:
    torch.manual_seed(0)
    made = xrv.models.DenseNet(num_classes=18, in_channels=1, weights=None).eval()
    with torch.no_grad():
        made.classifier.weight.mul_(3)
    return made


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 px in place of 224: the library resizes to what it is told."""
    monkeypatch.setitem(xrayvision._SIDES, "densenet121", 64)


@pytest.fixture
def weights(network: Any, tmp_path: Path) -> Path:
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def test_decisions_are_those_of_the_library_at_its_operating_points(weights: Path, network: Any) -> None:
    name = "densenet121-res224-nih"
    model = aa.load_model(f"xrv:{name}@{weights}", finding="Effusion", images=IMAGES)
    assert model.class_names == ("no Effusion", "Effusion")
    assert model.preprocessing.value_range == (-1024, 1024)
    assert model.preprocessing.resize_px == (64, 64)
    described = xrv.models.model_urls[name]
    point = described["op_threshs"][described["labels"].index("Effusion")]
    scaled = torch.from_numpy((2 * IMAGES - 1) * 1024)
    resized = torch.nn.functional.interpolate(scaled, size=(64, 64), mode="bilinear", antialias=True)
    with torch.no_grad():
        z = network(resized)[:, 7]
        logits = model(torch.from_numpy(IMAGES))
        scores = xrv.models.op_norm(torch.sigmoid(z)[:, None], torch.tensor([point]))[:, 0]
    assert torch.allclose(logits[:, 1], z - float(np.log(point) - np.log1p(-point)), atol=1e-3)
    assert (logits.argmax(dim=1) == (scores >= 0.5)).all()
    assert model.proof is not None
    assert model.proof.runtime.startswith("torchxrayvision ")


def test_labels_that_the_weights_were_not_trained_for_are_refused(weights: Path) -> None:
    with pytest.raises(ClassifierError, match="'Fracture'; its output would be random"):
        aa.load_model(f"xrv:densenet121-res224-nih@{weights}", finding="Fracture")
    with pytest.raises(ClassifierError, match="output 15; its output would be random"):
        aa.load_model(f"xrv:densenet121-res224-nih@{weights}", finding=15)
    with pytest.raises(ClassifierError, match="a model that gives each finding its own decision"):
        aa.load_model(f"xrv:densenet121-res224-nih@{weights}")


def test_weights_must_be_named(weights: Path) -> None:
    with pytest.raises(ClassifierError, match="decides the labels they know"):
        aa.load_model(f"xrv:densenet121@{weights}", finding="Pneumonia")
    with pytest.raises(ClassifierError, match=r"Give xrv:NAME@FILE with one of densenet121-res224-all"):
        aa.load_model(f"xrv:densenet999@{weights}", finding="Pneumonia")


def test_a_whole_network_as_the_project_publishes_it_is_read_without_unpickling_more(
    network: Any, tmp_path: Path
) -> None:
    url = xrv.models.model_urls["densenet121-res224-rsna"]["weights_url"]
    path = tmp_path / Path(url).name
    torch.save(network, path)
    model = aa.load_model(f"xrv:densenet121@{path}", finding="Pneumonia", images=IMAGES)
    assert model.architecture == "densenet121-res224-rsna"
    torch.save({"network": network, "more": warnings.WarningMessage}, path)
    with pytest.raises(ClassifierError, match="a pickled model, which could run any code"):
        aa.load_model(f"xrv:densenet121@{path}", finding="Pneumonia")


def test_importing_the_library_leaves_warnings_as_they_were() -> None:
    before = list(warnings.filters)
    xrayvision.import_library()
    assert warnings.filters == before
