"""`advassay evaluate` as typed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import bars, write_folders
from typer.testing import CliRunner

from advassay.cli.program import app
from advassay.models.checkpoint import CheckpointMetadata, write_checkpoint
from advassay.models.timm_networks import build_network

SIDE = 32


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of an untrained network of two classes."""
    network = build_network("resnet10t", channels=1, classes=2, image_size_px=SIDE, seed=0).eval()
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    metadata = CheckpointMetadata(
        classifier="0" * 16, architecture="resnet10t", class_names=("wide", "tall"), positive="tall",
        image_type="drawings", channels=1, image_size_px=SIDE, mean=0.5, std=0.5, scaling="full-range", resize="squash",
        bits=8, cohort="bars", cohort_identity="0" * 16, train_size=1, seed=0, updates=1, start_weights_sha256=None,
        versions={},
    )  # fmt: skip
    write_checkpoint(path, network, metadata)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pixels, labels = bars(12, seed=4)
    return write_folders(tmp_path_factory.mktemp("images") / "bars", pixels, np.asarray(labels), ("wide", "tall"))


def test_the_answer_and_the_report_are_printed_and_a_requirement_that_is_not_met_ends_with_8(
    model: Path, folder: Path, tmp_path: Path
) -> None:
    asked = [
        "evaluate",
        str(model),
        str(folder),
        "--store",
        str(tmp_path / "mine"),
        "--preset",
        "quick",
        "--limit",
        "4",
    ]
    asked += ["--require", "robust_accuracy@2/255 >= 0.99", "--sarif", str(tmp_path / "out.sarif")]
    asked += ["--junit", str(tmp_path / "out.xml"), "--quiet"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 8, done.output
    lines = done.stdout.strip().splitlines()
    assert lines[-1] == str(tmp_path / "mine" / "report" / "report.html")
    assert Path(lines[-1]).is_file()
    assert "robust_accuracy@2/255 >= 0.99: NOT met" in done.stdout
    assert "quick: 4 images, at most " in done.stderr
    assert json.loads((tmp_path / "out.sarif").read_text())["version"] == "2.1.0"
    assert (tmp_path / "out.xml").read_text().startswith("<?xml")
    again = CliRunner().invoke(app, [*asked[:9], "--json"])
    assert again.exit_code == 0, again.output
    data = json.loads(again.stdout)
    assert data["answer"][0] in done.stdout
    assert data["planted"]["images"] + data["planted"]["left_out"] == 4
    assert {row["arm"] for row in data["rows"]} == {"margin"}


def test_a_slip_in_a_requirement_is_said_before_anything_is_read(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["evaluate", "nothing", "nowhere", "--require", "robust >= 1"])
    assert done.exit_code == 2
    assert "which have intervals, got 'robust'" in done.stderr


def test_a_file_that_is_no_model_is_refused_with_what_can_be_given(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no model")
    done = CliRunner().invoke(
        app, ["evaluate", str(tmp_path / "notes.txt"), str(folder), "--store", str(tmp_path / "mine")]
    )
    assert done.exit_code == 5
    assert "ONNX or Keras" in done.stderr


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:.*torch.jit:FutureWarning")
def test_a_model_of_another_maker_is_proved_on_the_images_before_it_is_attacked(folder: Path, tmp_path: Path) -> None:
    network = build_network("resnet10t", channels=3, classes=2, image_size_px=SIDE, seed=0).eval()
    script = torch.jit.trace(network, torch.zeros(2, 3, SIDE, SIDE))
    torch.jit.save(script, str(tmp_path / "model.bin"))  # recognised by content, not by its name
    store = tmp_path / "mine"
    asked = ["evaluate", str(tmp_path / "model.bin"), str(folder), "--store", str(store), "--limit", "4", "--json"]
    done = CliRunner().invoke(app, [*asked, "--preset", "quick", "--quiet"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert any("the logits equal those of torch.jit" in note for note in said["notes"])
    (kept,) = (store / "classifiers").glob("*/model.json")
    document = json.loads(kept.read_text())
    assert (document["format"], document["class_names"]) == ("torchscript", None)
    assert document["proof"]["images"] == 8
