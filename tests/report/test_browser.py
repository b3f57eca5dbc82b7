"""The page in a real browser: drawn, quiet, legible at both widths, usable by keyboard, accessible, and alone."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from written_report import Report

from advassay.report import write_comparison

WIDTHS = (1280, 390)


@pytest.fixture(scope="module")
def axe() -> str:
    """The script of axe-core, from the package that bundles it."""
    spec = importlib.util.find_spec("axe_playwright_python")
    if spec is None or spec.origin is None:
        pytest.skip("needs axe-core (pip install axe-playwright-python)")
    return (Path(spec.origin).parent / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def comparison(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report's store beside a copy of it."""
    folder = tmp_path_factory.mktemp("comparison")
    shutil.copytree(report.store, folder / "again")
    return write_comparison([report.store, folder / "again"], folder / "compare.html")


@pytest.fixture
def page(chromium: Any, report: Report) -> Iterator[Any]:
    """The report at 1280 px."""
    opened = chromium.new_page(viewport={"width": WIDTHS[0], "height": 900})
    opened.goto(report.page.as_uri())
    yield opened
    opened.close()


def _unfold(page: Any) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")


def _draw_everything(page: Any) -> int:
    _unfold(page)
    charts = page.locator("figure:has(.specs)")
    for place in range(charts.count()):
        charts.nth(place).scroll_into_view_if_needed()
        charts.nth(place).locator(".live svg").wait_for(timeout=60_000)
    return int(charts.count())


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_opens_quietly_draws_every_chart_and_fits(chromium: Any, report: Report, width: int) -> None:
    page = chromium.new_page(viewport={"width": width, "height": 900})
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.page.as_uri())
    assert _draw_everything(page) >= 14
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [report.page.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert _smallest(page, "main p, main td, main th, main dd, main li, figcaption, summary") >= 12
    assert _smallest(page, ".live svg text") >= 10
    page.close()


def _smallest(page: Any, selector: str) -> float:
    """Smallest font size on screen of what the selector finds, in CSS pixels; a scaled chart's text counts as seen."""
    script = """(selector) => Math.min(...[...document.querySelectorAll(selector)].map((e) => {
        const svg = e.closest("svg");
        const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
        return parseFloat(getComputedStyle(e).fontSize) * scale;
    }))"""
    return float(page.evaluate(script, selector))


@pytest.mark.parametrize("width", WIDTHS)
def test_no_chart_is_cut_off(chromium: Any, report: Report, width: int) -> None:
    """A drawn chart is no wider than its place: nothing hides behind a sideways scroll."""
    page = chromium.new_page(viewport={"width": width, "height": 900})
    page.goto(report.page.as_uri())
    _draw_everything(page)
    wide = page.evaluate(
        "[...document.querySelectorAll('.live')].filter((e) => e.scrollWidth > e.clientWidth + 1)"
        ".map((e) => [e.closest('figure').id, e.scrollWidth, e.clientWidth])"
    )
    assert wide == []
    page.close()


def test_without_script_every_figure_is_still_there(chromium: Any, report: Report) -> None:
    page = chromium.new_context(java_script_enabled=False).new_page()
    page.goto(report.page.as_uri())
    for fold in page.locator("details.supplement > summary").all():
        fold.click()
    images = page.locator("picture.still img")
    assert images.count() >= 14
    assert all(images.nth(i).bounding_box()["width"] > 200 for i in range(images.count()))
    page.close()


def test_a_tooltip_tells_rate_interval_and_n(page: Any) -> None:
    figure = page.locator("#fig-3a")
    figure.scroll_into_view_if_needed()
    figure.locator(".live svg").wait_for(timeout=60_000)
    figure.locator(".live svg .mark-symbol path").first.hover(force=True)
    told = page.locator("#vg-tooltip-element").inner_text()
    assert "rate" in told
    assert "interval from" in told  # at which level, the caption says
    assert "of" in told


def test_every_link_of_the_contents_leads_to_its_section(page: Any) -> None:
    links = page.locator("nav a")
    assert links.count() >= 8
    for place in range(links.count()):
        links.nth(place).click()
        target = page.locator(links.nth(place).get_attribute("href"))
        assert abs(target.bounding_box()["y"]) < 900, links.nth(place).inner_text()


def test_a_table_can_be_saved_from_the_page_alone(page: Any, report: Report) -> None:
    with page.expect_download() as begun:
        page.locator("#cohorts a[download]").first.click()
    saved = Path(begun.value.path()).read_text(encoding="utf-8")
    assert saved == (report.folder / "tables" / "cohorts.csv").read_text(encoding="utf-8")


def test_the_keyboard_reaches_contents_details_and_wide_tables(page: Any) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.tagName + '.' + document.activeElement.className"))
    assert {"A.", "SUMMARY.", "DIV.scroll"} <= reached
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("details").first.evaluate("(details) => details.open")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("which", ["report", "comparison"])
def test_axe_finds_nothing_serious(
    chromium: Any, report: Report, comparison: Path, axe: str, width: int, which: str
) -> None:
    """With every fold open, so that hidden tables are judged too."""
    page = chromium.new_page(viewport={"width": width, "height": 900})
    page.goto((report.page if which == "report" else comparison).as_uri())
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    _draw_everything(page)
    page.evaluate(axe)
    found = page.evaluate("axe.run()")["violations"]
    grave = [
        (one["id"], one["help"], [node["html"][:160] for node in one["nodes"]][:3])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert grave == []
    page.close()
