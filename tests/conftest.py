"""Shared by all tests: array axes are checked where they are declared, real data are found or named as missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

from advassay.process_tuning import make_products_strict

# As the command line does, before the first matrix product: rows are then alike at every place of a batch.
make_products_strict()

# A busy machine is slow; that is no fault of the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

collect_ignore = [
    "external_package"
]  # only subprocesses may find its entry points: it would add a question to every test

# Axis names in the signatures of these modules (advassay.array_types) are checked on every call while tests run.
install_import_hook(["advassay.success", "advassay.cohorts.prepared_cohort"], "beartype.beartype")


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of real images (ADVASSAY_DATA, else ../shared/data beside the checkout); skips where absent."""
    folder = Path(os.environ.get("ADVASSAY_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs real images: set ADVASSAY_DATA (looked in {folder})")
    return folder


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser; skips without playwright or Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs Chromium (apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()
