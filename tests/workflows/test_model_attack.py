"""`attack --model` on models of other makers: proved first, and attacked as the model takes images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import TinyCnn, as_input, write_folders
from typer.testing import CliRunner

from advassay.cli.program import app
from advassay.records import open_records

Arrays = tuple[np.ndarray, np.ndarray]
NAMES = ("wide", "tall")
FAST = [
    "--set",
    "attack.images=6",
    "--set",
    "attack.steps=3",
    "--set",
    "attack.controls=false",
    "--device",
    "cpu",
    "-q",
]


@pytest.fixture
def script(network: TinyCnn, tmp_path: Path) -> Path:
    """The network as a TorchScript file, which says nothing of its images or classes."""
    path = tmp_path / "model.pt"
    torch.jit.trace(network, as_input(np.zeros((1, 28, 28), np.uint8))).save(str(path))  # type: ignore[no-untyped-call]
    return path


@pytest.mark.filterwarnings("ignore:.*torch.jit", "ignore::advassay.errors.AdvassayWarning")
def test_a_model_of_another_maker_is_proved_and_attacked_by_the_default_arms(
    network: TinyCnn, images: Arrays, script: Path, tmp_path: Path
) -> None:
    folder = write_folders(tmp_path / "images", *images, NAMES)
    call = ["attack", "--model", str(script), "--images", str(folder), "--store", str(tmp_path / "mine"), *FAST]
    done = CliRunner().invoke(app, [*call, "--classes", "wide,tall", "--channels", "1"])
    assert done.exit_code == 0, done.output
    headers = open_records(tmp_path / "mine").headers
    assert {header.arm for header in headers} == {"A", "B", "C"}
    for header in headers:
        assert header.class_names == NAMES
        assert header.model_proof is not None
        assert header.model_proof.decisions_equal == header.model_proof.decisions
        assert header.model_proof.runtime.startswith("torch")
    run = open_records(tmp_path / "mine").runs[0]
    clean, labels = run.column("logits")[:, 0], run.column("label")
    expected = network(as_input(images[0])).detach().numpy()
    known = {(round(float(z[0]), 3), int(y)) for z, y in zip(expected, images[1], strict=True)}
    assert {(round(float(z[0]), 3), int(y)) for z, y in zip(clean, labels, strict=True)} <= known
    again = CliRunner().invoke(app, [*call, "--classes", "wide,tall", "--channels", "1"])
    assert again.exit_code == 0
    assert [header.cost for header in open_records(tmp_path / "mine").headers] == [header.cost for header in headers]


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_what_does_not_fit_is_refused(images: Arrays, script: Path, tmp_path: Path) -> None:
    folder = write_folders(tmp_path / "images", *images, ("wide", "ring"))
    call = ["attack", "--model", str(script), "--images", str(folder), "--store", str(tmp_path / "mine"), *FAST]
    named = CliRunner().invoke(app, [*call, "--classes", "wide,tall"])
    assert named.exit_code != 0
    assert "ring" in named.output
    study = CliRunner().invoke(app, ["attack", "study.yaml", "--mean", "0.5"])
    assert study.exit_code != 0
    assert "are about --model" in " ".join(study.output.split())
