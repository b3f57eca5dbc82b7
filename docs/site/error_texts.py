"""Runs the commands of docs/faq.md and writes what they print below them.

    python docs/site/error_texts.py docs/faq.md

Each block of the page that begins with `$ advassay` is run in a folder with `study.yaml` (the demo study), `my-images`
(two small images in one folder) and `empty`. A test fails where the page does not show what the program prints.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from typer.testing import CliRunner

from advassay.cli.program import app

BLOCK = re.compile(r"```console\n\$ (advassay .*)\n(?:.*\n)*?```\n")


def with_outputs(text: str) -> str:
    """The page with the output of every command written anew."""
    with _scratch_folder():
        return BLOCK.sub(lambda match: f"```console\n$ {match[1]}\n{_output(match[1])}```\n", text)


def _output(command: str) -> str:
    done = CliRunner().invoke(app, shlex.split(command)[1:])
    if done.exit_code == 0:
        raise ValueError(f"{command}: expected an error, got exit code 0")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output.replace(f"{Path.cwd()}/", "")  # the folder has another name each time


@contextmanager
def _scratch_folder() -> Iterator[None]:
    before = Path.cwd()
    study = (Path(__file__).parents[2] / "studies" / "demo.yaml").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            Path("study.yaml").write_text(study, encoding="utf-8")
            Path("empty").mkdir()
            Path("my-images").mkdir()
            for name in "ab":
                pixels = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
                cv2.imwrite(f"my-images/{name}.png", pixels)
            yield
        finally:
            os.chdir(before)


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(with_outputs(page.read_text(encoding="utf-8")), encoding="utf-8")
