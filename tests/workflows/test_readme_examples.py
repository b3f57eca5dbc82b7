"""README, "A model of your own": its command parses, and its Python runs as written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from tiny_models import TinyCnn

from advassay.cli.program import app

README = Path(__file__).parents[2] / "README.md"


def section() -> str:
    text = README.read_text(encoding="utf-8")
    return text[text.index("## A model of your own") : text.index("The attack alone, without a store:")]


def test_the_command_is_one_that_the_program_knows() -> None:
    (block,) = re.findall(r"```\n(\.venv/bin/advassay evaluate .*?)\n```", section(), re.DOTALL)
    _, verb, *arguments = shlex.split(block)
    command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    context = command.make_context(verb, arguments)
    assert context.params["require"] == ["robust_accuracy@2/255 >= 0.5"]
    assert context.params["preset"] == "quick"


def test_the_python_runs_as_written(
    network: TinyCnn, images: tuple[np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", section(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    pixels = torch.from_numpy(images[0][:8, None].astype(np.float32) / 255)
    names = {"module": network, "images": pixels, "labels": images[1][:8]}
    exec(code, names)
    result = names["result"]
    assert result.robust_accuracy("2/255").n == 8  # type: ignore[union-attr]
    assert (tmp_path / "report.html").is_file()
