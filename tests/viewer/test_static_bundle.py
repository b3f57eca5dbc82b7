"""A bundle opens from its files, without a server and without a request to anything else, and holds only what is
proved."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pikepdf import Pdf
from test_viewer_browser import WIDTHS, Watched, axe, grave_violations, grey_levels, proved
from typer.testing import CliRunner

from advassay.cli.program import app
from advassay.errors import SpecError
from advassay.viewer import OpenedStore, Recomputer
from advassay.viewer.case_selection import MISCLASSIFIED, STILL_CORRECT, cases_of, typical_cases
from advassay.viewer.static_bundle import STATIC, classic_script, write_bundle

__all__ = ["axe"]


@pytest.fixture(scope="module")
def bundle(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the verb writes it, without a choice."""
    folder = tmp_path_factory.mktemp("bundle") / "b"
    done = CliRunner().invoke(app, ["view", str(finished), "--bundle", str(folder)])
    assert done.exit_code == 0, done.output
    assert done.stdout.strip().endswith("index.html")
    return folder


def content(folder: Path, number: int = 1) -> dict[str, Any]:
    """What a case's script holds."""
    text = (folder / f"case-{number:04d}.js").read_text(encoding="ascii")
    start = f'advassayBundle.take("case-{number:04d}.js", '
    assert text.startswith(start)
    found: dict[str, Any] = json.loads(text[len(start) : -3])
    return found


def test_the_choice_is_a_typical_image_of_each_outcome_and_always_the_same(opened: OpenedStore) -> None:
    cases = typical_cases(opened)
    assert cases == typical_cases(OpenedStore(opened.store.root))
    assert {case.outcome for case in cases} <= {MISCLASSIFIED, STILL_CORRECT}
    run = opened.run(cases[0].run_id)
    assert run.header.arm == "A"
    fallen = next(case for case in cases if case.outcome == MISCLASSIFIED)
    assert cases_of(opened, [fallen.image_id]) == [fallen]
    with pytest.raises(SpecError, match="got 'nobody'"):
        cases_of(opened, ["nobody"])


def test_pixels_of_a_bundle_are_the_proved_ones_to_the_last_level(bundle: Path, opened: OpenedStore) -> None:
    case, held = typical_cases(opened)[0], content(bundle)
    assert [row["epsilon"] for row in held["rows"]] == opened.epsilons(case.run_id, case.step_size)
    for row, proof, stored in zip(held["rows"], held["proofs"], held["pixels"], strict=True):
        assert proof["status"] == "exact"
        assert "when this bundle was written" in proof["reason"]
        steps = np.frombuffer(zlib.decompress(base64.b64decode(stored["data"])), "<u2").reshape(stored["shape"])
        levels = np.cumsum(steps, axis=0, dtype=np.uint16)
        made = Recomputer(opened).wait(case.run_id, case.image_id, case.step_size, row["epsilon"]).iterates
        assert made is not None
        np.testing.assert_array_equal(levels, np.rint(made.astype(np.float64) * 65535))


def test_a_bundle_names_nothing_outside_itself(bundle: Path, finished: Path) -> None:
    for path in bundle.iterdir():
        if path.suffix in (".html", ".js", ".css"):
            text = path.read_text(encoding="utf-8")
            assert "http://" not in text.replace("http://www.w3.org/", "")
            assert "https://" not in text
            assert "/api/pixels" not in text
            assert str(finished) not in text
    patients = {name for run in OpenedStore(finished).records.runs for name in run.images["patient_id"]}
    whole = "".join(path.read_text(encoding="ascii") for path in bundle.glob("case*.js"))
    assert not [name for name in patients if f'"{name}"' in whole]


def test_the_figure_of_the_cases_is_there_as_svg_pdf_and_png(bundle: Path, opened: OpenedStore) -> None:
    case = typical_cases(opened)[0]
    assert case.image_id in (bundle / "figure.svg").read_text(encoding="utf-8")
    with Pdf.open(bundle / "figure.pdf") as document:
        assert case.image_id in str(document.docinfo["/Subject"])
    assert (bundle / "figure.png").stat().st_size > 1000


def test_scripts_of_a_bundle_are_joined_without_a_name_twice(tmp_path: Path) -> None:
    node = shutil.which("node")
    for entry in ("image.js", "bundle.js"):
        text = classic_script(entry)
        assert "import {" not in text
        assert "\nexport " not in text
        (tmp_path / entry).write_text(text, encoding="utf-8")
        if node is not None:
            subprocess.run([node, "--check", str(tmp_path / entry)], check=True)
    wide = [line for path in STATIC.glob("*.js") for line in path.read_text().splitlines() if line.startswith("import")]
    assert all(line.startswith("import { ") and line.endswith('.js";') for line in wide)


def test_what_is_not_proved_is_listed_without_pixels_and_of_nothing_no_bundle_is_made(
    copied: Path, tmp_path: Path
) -> None:
    for path in (copied / "classifiers").glob("*/model.safetensors"):
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    done = CliRunner().invoke(app, ["view", str(copied), "--bundle", str(tmp_path / "b")])
    assert done.exit_code == 6
    assert "weights are not those" in done.output
    assert not (tmp_path / "b" / "index.html").exists()
    assert content(tmp_path / "b")["pixels"] == [None, None]


def test_a_folder_with_files_and_cohorts_without_a_gallery_are_refused(copied: Path, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "kept.txt").write_text("kept")
    opened = OpenedStore(copied)
    with pytest.raises(SpecError, match="expected a new or empty folder"):
        write_bundle(opened, typical_cases(opened), tmp_path / "b")
    image = typical_cases(opened)[0].image_id
    text = (copied / "study.yaml").read_text()
    (copied / "study.yaml").write_text(text.replace("\nfigures:\n", "\nfigures:\n  gallery: false\n"))
    closed = OpenedStore(copied)
    assert typical_cases(closed) == []
    with pytest.raises(SpecError, match="keeps no gallery"):
        cases_of(closed, [image])
    with pytest.raises(SpecError, match="no image that may be shown"):
        write_bundle(closed, [], tmp_path / "c")
    assert len(typical_cases(OpenedStore(copied, show_all_images=True))) > 0


def _until(page: Any, expression: str) -> None:
    """Wait until it is true. `wait_for_function` would need eval, which the page's policy forbids."""
    for _ in range(150):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(100)
    raise AssertionError(expression)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_bundle_opens_from_its_files(chromium: Any, bundle: Path, axe: str, width: int, scheme: str) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    page = context.new_page()
    watched = Watched(page)
    page.goto((bundle / "index.html").as_uri())
    page.locator("#cases img").first.wait_for()
    assert page.evaluate("document.querySelector('#cases img').naturalWidth") > 8
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("#cases a").first.click()
    assert proved(page) == "This record, bit for bit"
    page.locator("#shots").wait_for()
    assert all(grey_levels(page, canvas) > 2 for canvas in ("clean", "attacked", "difference"))
    assert page.locator("#over-steps path").count() == 4
    assert not page.locator("#save").is_visible()
    attacked = page.evaluate("document.getElementById('attacked').toDataURL()")
    page.keyboard.press(",")
    _until(page, "document.getElementById('attacked-caption').textContent.includes('iterate 3')")
    assert page.evaluate("document.getElementById('attacked').toDataURL()") != attacked
    page.locator("#epsilon").press("End")
    _until(page, "document.getElementById('epsilon-value').textContent.startsWith('0.1 ')")
    assert proved(page) == "This record, bit for bit"
    _until(page, "new URLSearchParams(location.search).get('epsilon') === '0.1'")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    watched.was_quiet_and_alone(bundle.as_uri())
    context.close()
    checked = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
    for name in ("index.html", page.url.rsplit("/", 1)[1]):
        page = checked.new_page()
        page.goto(f"{bundle.as_uri()}/{name}")
        page.locator("#cases img, .proof.exact").first.wait_for()
        assert grave_violations(page, axe) == []
    checked.close()
