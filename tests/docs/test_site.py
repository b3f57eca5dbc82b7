"""The built site: no broken link, nothing loaded from elsewhere, every name and verb in it, search without a server."""

from __future__ import annotations

import html
import importlib.util
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from documented_pages import ROOT, site_tool

import advassay as aa
from advassay.cli.program import VERBS

MKDOCS = ROOT / ".venv-docs" / "bin" / "mkdocs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with warnings as errors."""
    if not MKDOCS.is_file():
        pytest.skip("needs the environment that `make docs` makes (.venv-docs)")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [MKDOCS, "build", "--strict", "-q", "-d", folder],
        cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def test_no_link_is_broken_and_nothing_comes_from_elsewhere(site: Path) -> None:
    found = site_tool("check_links").crawl(str(site))
    assert (found.broken, found.loaded_from_elsewhere, found.unreachable) == ([], [], [])
    assert found.pages > 80


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    links = '<a href="no.html">a</a><a href="#nowhere">b</a><script src="https://example.org/a.js"></script>'
    (tmp_path / "index.html").write_text(links)
    (tmp_path / "alone.html").write_text("")
    found = site_tool("check_links").crawl(str(tmp_path))
    assert len(found.broken) == 2
    assert len(found.loaded_from_elsewhere) == len(found.unreachable) == 1


def test_every_public_name_and_verb_has_its_place(site: Path) -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in (site / "api").glob("*.html"))
    found = {anchor.rpartition(".")[2] for anchor in re.findall(r'id="(advassay\.[\w.]+)"', text)}
    assert set(aa.__all__) - {"__version__"} <= found
    assert all((site / "cli" / f"{verb.__name__}.html").is_file() for verb in VERBS)


def test_signatures_have_types_and_doctests_are_blocks(site: Path) -> None:
    page = (site / "api" / "study.html").read_text(encoding="utf-8")
    text = re.sub(r"<[^>]+>", "", page)
    assert "-> StudyResult" in html.unescape(text)
    assert re.search(r"<code>(<[^>]+>)*&gt;&gt;&gt;", page)


@pytest.mark.parametrize("name", ["index.html", "tutorial.html", "api/study.html"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_serious(chromium: Any, site: Path, name: str, width: int) -> None:
    spec = importlib.util.find_spec("axe_playwright_python")
    if spec is None or spec.origin is None:
        pytest.skip("needs axe-core (pip install axe-playwright-python)")
    page = chromium.new_page(viewport={"width": width, "height": 900})
    page.goto((site / name).as_uri())
    page.evaluate((Path(spec.origin).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("() => axe.run().then(result => result.violations)")
    grave = [(one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")]
    assert grave == []
    page.close()


def test_search_works_where_pages_are_opened_as_files(chromium: Any, site: Path) -> None:
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.goto((site / "how-to" / "slides.html").as_uri())
    page.fill("input[name=query]", "epsilon50")
    page.wait_for_selector(".md-search-result__item", timeout=60_000)
    assert "epsilon50" in page.inner_text(".md-search-result__list")
    page.close()
