"""The tutorial, word for word, with a smaller network and fewer images; the error texts as the program prints them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from documented_pages import BLOCK, ROOT, shell_lines, site_tool
from typer.testing import CliRunner

from advassay.cli.program import app

TUTORIAL = ROOT / "docs" / "tutorial.md"
FASTER = ["--set", "training.architecture=test_resnet", "--set", "training.epochs=1", "--set", "attack.steps=2",
          "--set", "attack.images=8"]  # fmt: skip


def advassay(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, done.output
    return done.output


def test_the_tutorial_leads_from_images_to_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = TUTORIAL.read_text(encoding="utf-8")
    printed = {}
    for language, block in BLOCK.findall(text):
        if language == "yaml":
            written = yaml.safe_load(Path("study.yaml").read_text())
            assert yaml.safe_load(block)["sources"] == written["sources"], "init writes other sources than the page"
            Path("study.yaml").write_text(block, encoding="utf-8")
        for line in shell_lines(block) if language == "" else ():
            _, verb, *arguments = shlex.split(line)
            if verb == "phantoms":
                arguments = ["120" if one == "320" else one for one in arguments]
            faster = [*FASTER, "--no-measure"] if verb == "plan" else FASTER
            printed[verb] = advassay(verb, *arguments, *(faster if verb in ("plan", "power", "run") else ()))
    assert "write two classes" in printed["init"]
    assert "is not reached" not in printed["plan"], "the page's own study makes the program complain"
    assert Path("runs/my-images/report/report.html").is_file()
    assert Path("report.md").is_file()
    assert len(re.findall(r"^my-images ", printed["analyse"], re.MULTILINE)) == 5


def test_pictures_of_the_tutorial_are_small() -> None:
    files = list((ROOT / "docs" / "tutorial-figures").iterdir())
    assert files
    assert all(path.stat().st_size < 200_000 for path in files)


def test_the_error_texts_are_what_the_program_prints() -> None:
    page = (ROOT / "docs" / "faq.md").read_text(encoding="utf-8")
    assert site_tool("error_texts").with_outputs(page) == page, "run: python docs/site/error_texts.py docs/faq.md"
