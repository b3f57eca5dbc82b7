"""The viewer in a real browser: from a number to its images to one image and its proof, by keyboard, quietly."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from advassay.viewer import OpenedStore, web_app
from advassay.viewer.request_checks import allowed_hosts
from advassay.viewer.server import bound

WIDTHS = (1280, 390)


@contextmanager
def served(opened: OpenedStore, **options: Any) -> Iterator[str]:
    """The viewer on a free port, in a thread: its address."""
    listening = bound(0)
    port = int(listening.getsockname()[1])
    config = uvicorn.Config(web_app(opened, allowed_hosts(port), **options), log_level="error", access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        listening.close()


@pytest.fixture(scope="module")
def address(opened: OpenedStore) -> Iterator[str]:
    with served(opened) as found:
        yield found


@pytest.fixture(scope="module")
def axe() -> str:
    """The script of axe-core, from the package that bundles it."""
    spec = importlib.util.find_spec("axe_playwright_python")
    if spec is None or spec.origin is None:
        pytest.skip("needs axe-core (pip install axe-playwright-python)")
    return (Path(spec.origin).parent / "axe.min.js").read_text(encoding="utf-8")


class Watched:
    """A page of which every message and request is kept."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))

    def was_quiet_and_alone(self, address: str) -> None:
        assert self.said == []
        outside = [url for url in self.asked if not url.startswith((address, "data:", "blob:"))]
        assert outside == []


def proved(page: Any) -> str:
    page.locator(".proof.exact, .proof.close, .proof.refused").wait_for(timeout=120_000)
    return str(page.locator("#proof-word").inner_text())


def grey_levels(page: Any, canvas: str) -> int:
    """How many shades a canvas shows: 1 where nothing is drawn."""
    script = """(id) => {
        const c = document.getElementById(id);
        const d = c.getContext('2d').getImageData(0, 0, c.width,
        c.height).data; return new Set(Array.from(d).filter((_, i) => i % 4 === 0)).size; }"""
    return int(page.evaluate(script, canvas))


def test_from_a_number_to_its_images_to_one_image_and_its_proof(
    chromium: Any, address: str, opened: OpenedStore
) -> None:
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    watched = Watched(page)
    page.goto(f"{address}/?cohort=X-AGE&arm=C")
    page.locator("#surface-chart svg").wait_for(timeout=60_000)
    assert page.locator("h1").inner_text() == opened.title  # markup in a title is text
    assert page.locator("h1 b").count() == 0
    link = page.locator("#surface-numbers a").last
    events = int(link.inner_text())
    assert events > 0
    link.click()
    page.locator("#rows a").first.wait_for()
    assert page.locator("#count").inner_text().startswith(f"{events} row")
    assert page.locator("#rows tr").count() == events
    page.locator("#heads button", has_text="Clean confidence").click()
    page.wait_for_url("**sort=clean_confidence**")
    page.select_option("select[name=label]", "<i>20s")
    page.wait_for_url("**label=%3Ci%3E20s**")
    page.go_back()
    page.wait_for_url(lambda url: "label" not in url)
    assert page.locator("select[name=label]").input_value() == ""
    page.locator("#rows a").first.click()
    assert proved(page) == "This record, bit for bit"
    assert page.locator("#shots").is_visible()
    assert all(grey_levels(page, canvas) > 2 for canvas in ("clean", "attacked", "difference"))
    watched.was_quiet_and_alone(address)
    page.close()


def grave_violations(page: Any, axe: str) -> list[Any]:
    """What axe finds that is serious or critical."""
    page.evaluate(axe)
    return [
        (one["id"], one["help"], [node["html"][:160] for node in one["nodes"]][:3])
        for one in page.evaluate("axe.run()")["violations"]
        if one["impact"] in ("serious", "critical")
    ]


def image_page(address: str, opened: OpenedStore) -> str:
    run = next(run for run in opened.records.runs if run.header.arm == "A")
    return f"{address}/image?run={run.header.run_id}&image={run.images['image_id'][0]}&step_size=0.01&epsilon=0.02"


def test_sliders_window_zoom_and_blink_answer_to_the_keyboard(chromium: Any, address: str, opened: OpenedStore) -> None:
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    watched = Watched(page)
    page.goto(image_page(address, opened))
    assert proved(page) == "This record, bit for bit"
    page.locator("#shots").wait_for()
    assert page.locator("#step-value").inner_text() == "4 of 4"
    page.keyboard.press(",")
    assert page.locator("#step-value").inner_text() == "3 of 4"
    page.wait_for_url("**step=3")
    page.keyboard.press("]")
    page.wait_for_url("**epsilon=0.1**")
    assert proved(page) == "This record, bit for bit"
    page.locator("#attacked").focus()
    page.keyboard.press("ArrowRight")
    assert "Pixel (33, 32), in levels of 65535" in page.locator("#readout").inner_text()
    before = page.evaluate("document.getElementById('clean').toDataURL()")
    page.keyboard.press("i")
    assert page.locator("#invert").get_attribute("aria-pressed") == "true"
    assert page.evaluate("document.getElementById('clean').toDataURL()") != before
    page.keyboard.press("+")
    assert page.locator("#zoom").input_value() == "2"
    page.keyboard.press("b")
    assert page.locator("#attacked-caption").inner_text().startswith("Blinking")
    page.keyboard.press("0")
    assert page.locator("#attacked-caption").inner_text().startswith("Attacked, iterate 3")
    assert page.locator("#zoom").input_value() == "1"
    page.select_option("#preset", "percentiles")
    assert float(page.locator("#window").input_value()) < 1
    box = page.locator("#clean").bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 10, box["y"] + 90)
    page.mouse.up()
    level = float(page.locator("#level").input_value())
    page.select_option("#preset", "full")
    assert float(page.locator("#level").input_value()) == 0.5 != level
    other = page.locator("#run option", has_text="arm C").get_attribute("value")
    page.select_option("#run", other)
    page.wait_for_url(f"**run={other}**")
    assert proved(page) == "This record, bit for bit"
    watched.was_quiet_and_alone(address)
    page.close()


def test_another_arm_stands_beside_with_its_own_proof(chromium: Any, address: str, opened: OpenedStore) -> None:
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    watched = Watched(page)
    page.goto(image_page(address, opened))
    assert proved(page) == "This record, bit for bit"
    assert not page.locator("#with-shots").is_visible()
    page.locator("#with").select_option(label="arm C, main, step epsilon/4")
    page.wait_for_url("**with=**")
    page.locator("#with-proof.exact").wait_for(timeout=120_000)
    page.locator("#with-shots").wait_for()
    assert page.locator("#with-attacked-caption").inner_text().startswith("Arm C, ε 0.005, iterate 4")
    assert all(grey_levels(page, canvas) > 2 for canvas in ("with-attacked", "with-difference"))
    page.reload()  # the address is the state
    page.locator("#with-shots").wait_for(timeout=120_000)
    page.keyboard.press(",")
    page.wait_for_function("document.getElementById('with-attacked-caption').textContent.includes('iterate 3')")
    page.select_option("#with", "")
    page.locator("#with-shots").wait_for(state="hidden")
    watched.was_quiet_and_alone(address)
    page.close()


def test_another_store_s_record_of_the_image_stands_beside(chromium: Any, opened: OpenedStore, copied: Path) -> None:
    with served(opened, other=OpenedStore(copied)) as address:
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        watched = Watched(page)
        page.goto(image_page(address, opened))
        assert proved(page) == "This record, bit for bit"
        page.locator("#with").select_option(label=f"{opened.title}: arm A, main, step 0.01")
        page.locator("#with-proof.exact").wait_for(timeout=120_000)
        page.locator("#with-shots").wait_for()
        assert page.locator("#with-attacked-caption").inner_text().startswith("Other store, arm A, ε 0.02, iterate 4")
        same = "(id) => document.getElementById(id).toDataURL()"
        assert page.evaluate(same, "with-difference") == page.evaluate(same, "difference")
        page.reload()  # the address is the state
        page.locator("#with-shots").wait_for(timeout=120_000)
        watched.was_quiet_and_alone(address)
        page.close()


def test_a_mark_of_a_figure_leads_to_its_images(chromium: Any, address: str) -> None:
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    watched = Watched(page)
    page.goto(f"{address}/")
    page.locator("#fig-3a").scroll_into_view_if_needed()
    mark = page.locator("#fig-3a .mark-symbol path").first
    mark.wait_for(timeout=60_000)
    mark.click()
    page.wait_for_url("**/images?**success=true**")
    page.locator("#rows a").first.wait_for()
    assert page.locator("select[name=success]").input_value() == "true"
    watched.was_quiet_and_alone(address)
    page.close()


def test_rows_are_walked_through_and_opened_by_keyboard(chromium: Any, address: str) -> None:
    page = chromium.new_page(viewport={"width": 1280, "height": 700})
    page.goto(f"{address}/images")
    page.locator("#rows a").first.wait_for()
    page.locator("#list").focus()
    for _ in range(29):
        page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.closest('tr').dataset.place") == "28"
    wanted = page.evaluate("document.activeElement.textContent")
    assert page.locator(f"#rows a:text-is('{wanted}')").first.is_visible()
    page.keyboard.press("Home")
    assert page.evaluate("document.activeElement.closest('tr').dataset.place") == "0"
    page.keyboard.press("Enter")
    page.wait_for_url("**/image?**")
    page.close()


def test_what_is_not_proved_is_named_and_not_drawn(chromium: Any, copied: Path) -> None:
    for path in (copied / "classifiers").glob("*/model.safetensors"):
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    opened = OpenedStore(copied)
    with served(opened) as address:
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        page.goto(image_page(address, opened))
        assert proved(page) == "Not this record"
        assert not page.locator("#shots").is_visible()
        assert page.locator("#over-steps svg").is_visible()  # the record's own numbers are
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_pages_fit_and_axe_finds_nothing_serious(
    chromium: Any, address: str, opened: OpenedStore, axe: str, width: int, scheme: str
) -> None:
    # The page's own policy keeps axe's script out; everything else is as it is.
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
    for path, ready in ((f"{address}/", "#surface-chart svg"), (f"{address}/images", "#rows a"),
                        (image_page(address, opened), ".proof.exact")):  # fmt: skip
        page = context.new_page()
        page.goto(path)
        page.locator(ready).first.wait_for(timeout=60_000)
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert grave_violations(page, axe) == [], path
        page.close()
    context.close()
