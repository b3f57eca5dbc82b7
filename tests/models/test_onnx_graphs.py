"""ONNX graphs: opsets, batch sizes, heads, layouts; what a converter gets wrong is refused, the next one is tried."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from model_files import TinyNetwork, WithHead, colour_images, export_onnx, logits_of, save_onnx
from torch import nn

import advassay as aa
from advassay.errors import ClassifierError, SpecError

onnx = pytest.importorskip("onnx", reason="needs pip install 'advassay[onnx]'")
pytest.importorskip("onnxruntime", reason="needs pip install 'advassay[onnx]'")

from advassay.models.formats import onnx_graph  # noqa: E402

IMAGES = colour_images()


def agrees(model: aa.Classifier, network: nn.Module) -> bool:
    with torch.no_grad():
        return torch.allclose(model(torch.from_numpy(IMAGES)), logits_of(network, IMAGES), atol=1e-4)


@pytest.mark.parametrize("opset", [13, 17, 20])
def test_a_graph_of_each_opset_is_proved_against_onnx_runtime(tmp_path: Path, opset: int) -> None:
    network = TinyNetwork()
    model = aa.load_model(save_onnx(network, tmp_path / "graph", opset=opset), images=IMAGES)
    assert model.format == "onnx"
    assert model.proof is not None
    assert model.proof.runtime.startswith("onnxruntime ")
    assert model.proof.converter in onnx_graph.CONVERTERS
    assert model.proof.gradient is not None
    assert agrees(model, network)


class Reshaped(nn.Module):
    """Bakes the batch size of its example into the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.network = TinyNetwork()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images.reshape(2, 3, 32, 32)).reshape(2, 3)


def test_a_graph_of_one_batch_size_is_run_in_it(tmp_path: Path) -> None:
    model = aa.load_model(
        save_onnx(Reshaped(), tmp_path / "graph.onnx", opset=17, batch=2, dynamic=False), images=IMAGES
    )
    assert model.parts.batch_size == 2
    assert agrees(model, TinyNetwork())


@pytest.mark.parametrize(("kind", "outputs"), [("softmax", 3), ("sigmoid", 1)])
def test_the_last_node_is_taken_off_where_it_gives_probabilities(tmp_path: Path, kind: str, outputs: int) -> None:
    network = TinyNetwork(outputs)
    path = save_onnx(WithHead(network, kind), tmp_path / "graph.onnx", opset=17)
    model = aa.load_model(path, images=IMAGES)
    logits = logits_of(network, IMAGES)
    expected = logits if outputs > 1 else torch.cat([torch.zeros_like(logits), logits], dim=1)
    with torch.no_grad():
        assert torch.allclose(model(torch.from_numpy(IMAGES)), expected, atol=1e-4)
    assert model.head == kind
    assert model.proof is not None
    assert model.proof.compared == ("log-probabilities" if kind == "softmax" else "probabilities")


class ChannelsLast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = TinyNetwork()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images.permute(0, 3, 1, 2))


def test_a_graph_of_images_with_channels_last_gets_them_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = torch.from_numpy(colour_images(1).transpose(0, 2, 3, 1).copy())
    export_onnx(ChannelsLast(), (example,), tmp_path / "graph.onnx", 17, input_names=["images"])
    model = aa.load_model(tmp_path / "graph.onnx", images=IMAGES)
    assert model.preprocessing.layout == "channels-last"
    assert agrees(model, TinyNetwork())


def wrong(library: object, graph: object) -> nn.Module:
    """A converter that swaps red and blue."""
    network = TinyNetwork().eval()
    with torch.no_grad():
        network.stem.weight.copy_(network.stem.weight.flip(1))
    return network


def broken(library: object, graph: object) -> nn.Module:
    raise NotImplementedError("no operator ReduceMean at opset 18")


def test_the_first_converter_that_proves_right_is_kept_and_the_others_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = onnx_graph.installed_converters()[0]
    first, second = [name for name in ("onnx2torch", "onnx2fx", "onnx2pytorch") if name != right]
    table = {first: broken, second: wrong, right: onnx_graph.CONVERTERS[right]}
    monkeypatch.setattr(onnx_graph, "CONVERTERS", table)
    monkeypatch.setattr(onnx_graph, "installed_converters", lambda: list(table))
    monkeypatch.setattr(onnx_graph, "load_library", lambda name, extra: __import__(right if name in table else name))
    model = aa.load_model(save_onnx(TinyNetwork(), tmp_path / "graph.onnx", opset=17), images=IMAGES)
    assert model.proof is not None
    assert model.proof.converter == right
    told = " ".join(model.notes)
    assert "no operator ReduceMean" in told
    assert f"tried first and refused: {second}: model: the onnx model could not be proved: logits differ" in told


def test_where_every_converter_is_wrong_the_figures_of_each_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_graph, "CONVERTERS", {"one": wrong, "two": wrong})
    monkeypatch.setattr(onnx_graph, "installed_converters", lambda: ["one", "two"])
    monkeypatch.setattr(onnx_graph, "load_library", lambda name, extra: __import__("onnx"))
    with pytest.raises(ClassifierError, match=r"no way to read it proves right\. one: .*logits differ.* two: "):
        aa.load_model(save_onnx(TinyNetwork(), tmp_path / "graph.onnx", opset=17), images=IMAGES)


def test_a_missing_library_is_named_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_onnx(TinyNetwork(), tmp_path / "graph.onnx", opset=17)
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SpecError, match=r"pip install 'advassay\[onnx\]'"):
        aa.load_model(path)


def test_a_changed_weight_in_the_file_is_another_model(tmp_path: Path) -> None:
    path = save_onnx(TinyNetwork(), tmp_path / "graph.onnx", opset=17)
    before = aa.load_model(path, images=IMAGES)
    graph = onnx.load(str(path))
    weight = next(each for each in graph.graph.initializer if len(each.dims) == 4)
    values = onnx.numpy_helper.to_array(weight).copy()
    values.flat[0] += 0.5
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(graph, str(path))
    after = aa.load_model(path, images=IMAGES)
    assert after.weights_sha256 != before.weights_sha256
    with torch.no_grad():
        x = torch.from_numpy(IMAGES)
        assert float((after(x) - before(x)).abs().max()) > 1e-3


def test_a_graph_of_two_inputs_is_refused(tmp_path: Path) -> None:
    class Two(nn.Module):
        def forward(self, images: torch.Tensor, age: torch.Tensor) -> torch.Tensor:
            return images.mean(dim=(2, 3)) + age

    example = (torch.from_numpy(colour_images(1)), torch.ones(1, 1))
    export_onnx(Two(), example, tmp_path / "graph.onnx", 17)
    with pytest.raises(ClassifierError, match="got 2 inputs and 1 outputs"):
        aa.load_model(tmp_path / "graph.onnx")


def test_a_text_that_looks_like_a_graph_is_none(tmp_path: Path) -> None:
    from advassay.models.weight_files import is_onnx

    path = save_onnx(TinyNetwork(), tmp_path / "graph.onnx", opset=17)
    assert is_onnx(path)
    whole = path.read_bytes()
    for name, content in {"cut": whole[:-1], "more": whole + b"\xff", "empty": b"", "text": b"\x08\x07 graph"}.items():
        (tmp_path / name).write_bytes(content)
        assert not is_onnx(tmp_path / name), name


def test_numbers_are_of_the_user_s_images(tmp_path: Path) -> None:
    model = aa.load_model(save_onnx(TinyNetwork(), tmp_path / "graph.onnx", opset=17))
    assert model.proof is not None
    assert model.proof.synthetic
    assert not model.prove(IMAGES).synthetic
    labels = model(torch.from_numpy(IMAGES)).argmax(dim=1).numpy()
    found = aa.sweep(model, IMAGES, np.asarray(labels), aa.PGD(8 / 255, steps=3), epsilons=[0.0, 8 / 255])
    assert float(found.robust_accuracy()[0, -1]) == 1.0
