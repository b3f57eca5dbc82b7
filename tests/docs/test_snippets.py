"""What README and docs show runs: commands are known to the program, Python runs as written, YAML is a study."""

from __future__ import annotations

import ast
import doctest
import inspect
import re
import shlex
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import typer
import yaml
from documented_pages import BLOCK, PAGES, ROOT, Block, blocks, shell_lines
from torch import nn

import advassay as aa
from advassay.cli.program import app
from advassay.study import parse_study

VERBS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
LANGUAGES = {"", "bash", "console", "python", "yaml", "toml", "json"}
SHELL = list(blocks("", "bash", "console"))
ADVASSAY = re.compile(r"^(?:\.venv/bin/)?advassay ")
INLINE = re.compile(r"`advassay ([a-z]+)([^`]*)`")


def commands() -> list[tuple[str, str]]:
    found = [(str(block), line) for block in SHELL for line in shell_lines(block.text) if ADVASSAY.match(line)]
    workflow = [block for block in blocks("yaml") if "run: >" in block.text]
    found += [(str(block), yaml.safe_load(block.text)[0]["run"].strip()) for block in workflow]
    return found


def test_every_block_is_in_a_language_that_is_tested() -> None:
    assert {block.language for block in blocks()} <= LANGUAGES


def test_the_pages_hold_commands_to_test() -> None:
    assert len(commands()) > 60


@pytest.mark.parametrize(("place", "line"), commands())
def test_every_command_of_a_block_is_one_that_the_program_knows(place: str, line: str) -> None:
    _, verb, *arguments = shlex.split(re.split(r"\s[>|]\s", line)[0], comments=True)
    if verb.startswith("-"):
        return
    VERBS[verb].make_context(verb, arguments, resilient_parsing=False)  # raises where an option does not exist


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_in_a_sentence_is_one_that_the_program_knows(page: Path) -> None:
    for verb, rest in INLINE.findall(BLOCK.sub("", page.read_text(encoding="utf-8"))):
        assert verb in VERBS, f"advassay {verb}"
        known = {option for parameter in VERBS[verb].params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", rest)) <= known | {"--help"}, f"advassay {verb}{rest}"


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_every_other_command_leads_somewhere(block: Block) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in shell_lines(block.text):
        word, *rest = line.split()
        if word == "make" and rest:
            assert rest[0] in targets, line
        if word.endswith("python") and rest[:1] == ["-m"] and rest[1].startswith("benchmarks"):
            assert (ROOT / (rest[1].replace(".", "/") + ".py")).is_file() or (
                ROOT / rest[1].replace(".", "/")
            ).is_dir(), line
        if word.endswith("python") and rest[0].endswith(".py"):
            assert (ROOT / rest[0]).is_file(), line


@pytest.mark.parametrize("block", list(blocks("toml")), ids=str)
def test_toml_is_read(block: Block) -> None:
    tomllib.loads(block.text)


def test_the_package_of_the_page_is_the_one_that_is_installed_and_attacked_with() -> None:
    shown = [block.text for block in blocks("toml", "python") if block.page.name == "update-rule.md"]
    package = ROOT / "tests" / "contracts" / "heavy_ball"
    assert shown == [
        (package / name).read_text(encoding="utf-8") for name in ("pyproject.toml", "src/advassay_heavy_ball.py")
    ]


@pytest.mark.parametrize("block", [block for block in blocks("yaml") if "run: >" not in block.text], ids=str)
def test_every_piece_of_a_study_fits_into_a_study(block: Block) -> None:
    text = block.text.replace("heavy-ball", "projected-sign").replace("true-class-logit", "margin")  # not installed
    archive = {"kind": "phantoms", "phantom": "chest"}
    cohort = {"source": "archive", "classes": {"f": {"sex": ["F"]}, "m": {"sex": ["M"]}}}
    rest = {"name": "piece", "sources": {"archive": archive}, "cohorts": {"X": cohort}, "training": {"epochs": 1}}
    study = rest | yaml.safe_load(text)
    parse_study(yaml.safe_dump(study, allow_unicode=True, sort_keys=False))


# ---- Python ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def names(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the pages take for granted: a module, images, labels, a store, the studies; the folder they lie in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "studies").symlink_to(ROOT / "studies")
    (tmp_path / "runs").symlink_to(store.parent)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 5, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 12 * 12, 2)).eval()
    images = torch.rand(24, 1, 28, 28)
    labels = module((images - 0.5) / 0.5).argmax(1)
    assert 0 < int(labels.sum()) < len(labels)
    return {"module": module, "images": images, "labels": labels, "aa": aa}


def of_page(name: str) -> list[str]:
    return [block.text for block in blocks("python") if block.page == ROOT / name]


RUN = (
    "README.md",
    "docs/api/README.md",
    "docs/api/study.md",
    "docs/explanation/unseen-margin.md",
    "docs/how-to/evaluate-a-model.md",
    "docs/tutorial.md",
)
DOCTESTS = ("docs/faq.md", "docs/explanation/statistics.md")
ELSEWHERE = ("docs/how-to/update-rule.md", "src/advassay/models/README.md", "src/advassay/sources/README.md")
"""Compared with a package above; given a model file, and a source, below."""
SKETCHES = {
    "docs/how-to/transfer.md": ("advassay.analysis", "advassay.records"),
    "src/advassay/report/figures/README.md": ("advassay.report.figures.figure",),
    "src/advassay/sources/datasets/README.md": ("advassay.sources.datasets",),
    "src/advassay/sources/dicom/README.md": ("advassay.sources.dicom", "advassay.spec.source_spec"),
    "src/advassay/sources/reports/README.md": ("advassay.sources.reports",),
    "src/advassay/sources/slides/README.md": ("advassay.sources.slides", "advassay.spec.tile_spec"),
}
"""Page of a room, whose lines need an archive or slides → modules that have what it calls."""


def test_every_page_with_python_is_run() -> None:
    found = {block.page.relative_to(ROOT).as_posix() for block in blocks("python")}
    assert found == {*RUN, *DOCTESTS, *ELSEWHERE, *SKETCHES}


@pytest.mark.parametrize("page", SKETCHES)
def test_what_a_room_calls_is_there_and_takes_these_arguments(page: str) -> None:
    modules = [import_module(name) for name in SKETCHES[page]]
    for text in of_page(page):
        for call in (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)):
            if not isinstance(call.func, ast.Name) or call.func.id == "Path":
                continue
            (called,) = {getattr(module, call.func.id) for module in modules if hasattr(module, call.func.id)}
            keywords = {one.arg: None for one in call.keywords}
            inspect.signature(called).bind(*call.args, **keywords)  # type: ignore[arg-type]


@pytest.mark.parametrize("page", RUN)
def test_python_runs_as_written(page: str, names: dict[str, Any]) -> None:
    for text in of_page(page):
        exec(compile(text, page, "exec"), names)


@pytest.mark.parametrize("page", DOCTESTS)
def test_sessions_print_what_they_show(page: str, names: dict[str, Any]) -> None:
    for text in of_page(page):
        found = doctest.DocTestParser().get_doctest(text, names, page, page, 0)
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL)
        runner.run(found)
        assert runner.summarize(verbose=False).failed == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the exporter that makes the file
def test_the_models_page_loads_proves_and_attacks_a_file(names: dict[str, Any], tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 5, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 12 * 12, 2)).eval()
    images = torch.rand(8, 3, 28, 28)
    torch.onnx.export(network, (images,), str(tmp_path / "model.onnx"), input_names=["x"], dynamo=False,
                      dynamic_axes={"x": {0: "n"}})  # fmt: skip
    mean, std = (torch.tensor(each)[None, :, None, None] for each in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    given = names | {"images": images, "labels": network((images - mean) / std).argmax(1)}
    (text,) = of_page("src/advassay/models/README.md")
    exec(text, given)
    assert given["model"].format == "onnx"


def test_the_sources_page_reads_a_source(names: dict[str, Any], tmp_path: Path) -> None:
    from advassay.sources import append_private, index, open_source, pseudonym_key
    from advassay.spec.source_spec import FolderSource
    from advassay.store_layout import Store

    for name in ("tb/1.png", "tb/2.png", "norm/3.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(
            str(tmp_path / "images" / name), np.random.default_rng(len(name)).integers(0, 255, (40, 40), np.uint8)
        )
    (tmp_path / "key").write_bytes(bytes(range(32)))
    (tmp_path / "new").mkdir()
    given: dict[str, Any] = {
        "open_source": open_source, "index": index, "append_private": append_private, "pseudonym_key": pseudonym_key,
        "source": FolderSource(kind="folder", path="images"), "data": tmp_path, "key_file": tmp_path / "key",
        "store": Store(tmp_path / "new" / "store"),
    }  # fmt: skip
    (text,) = of_page("src/advassay/sources/README.md")
    exec(text, given)
    assert given["opened"].rows.height == 3
