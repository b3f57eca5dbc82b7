"""The page in a real browser: drawn, quiet, legible at both widths, and alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from written_report import Report


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs Chromium (apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_opens_quietly_draws_every_chart_and_fits(chromium: Any, report: Report, width: int) -> None:
    page = chromium.new_page(viewport={"width": width, "height": 900})
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.page.as_uri())
    charts = page.locator("figure:has(.specs)")
    for place in range(charts.count()):
        charts.nth(place).scroll_into_view_if_needed()
        charts.nth(place).locator(".live svg").wait_for(timeout=60_000)
    assert charts.count() >= 7
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [report.page.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert (
        page.evaluate(
            "Math.min(...[...document.querySelectorAll('p, td, figcaption')].map((e) => "
            "parseFloat(getComputedStyle(e).fontSize)))"
        )
        >= 12
    )
    page.close()


def test_without_script_every_figure_is_still_there(chromium: Any, report: Report) -> None:
    page = chromium.new_context(java_script_enabled=False).new_page()
    page.goto(report.page.as_uri())
    images = page.locator("picture.still img")
    assert images.count() >= 7
    assert all(images.nth(i).bounding_box()["width"] > 200 for i in range(images.count()))
    page.close()


def test_a_tooltip_tells_rate_interval_and_n(chromium: Any, report: Report) -> None:
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.goto(report.page.as_uri())
    figure = page.locator("#fig-3a")
    figure.scroll_into_view_if_needed()
    figure.locator(".live svg").wait_for(timeout=60_000)
    figure.locator(".live svg .mark-symbol path").first.hover(force=True)
    told = page.locator("#vg-tooltip-element").inner_text()
    assert "rate" in told
    assert "95 % interval" in told
    assert "of" in told
    page.close()
