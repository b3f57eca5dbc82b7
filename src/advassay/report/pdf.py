"""The page as PDF, printed by Chromium: the same HTML, with its rules for paper."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from advassay.errors import ReportError
from advassay.layout import writing

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LONGEST = 300
"""Seconds that printing may take."""


def browser() -> str:
    """Path of an installed Chromium. Raises ReportError where there is none."""
    for name in BROWSERS:
        path = shutil.which(name)
        if path:
            return path
    raise ReportError(
        f"format pdf: one of {', '.join(BROWSERS)} is needed, found none on PATH.",
        "Install it (apt-get install chromium), or open the HTML report in any browser and print it to a file.",
    )


def print_page(page: Path, output: Path) -> None:
    """Print the HTML file `page` to `output` (A4, figures as vectors). Raises ReportError where the browser fails."""
    chromium = browser()
    with tempfile.TemporaryDirectory() as profile, writing(output) as beside:
        command = [
            chromium, "--headless", "--disable-gpu", "--no-pdf-header-footer", f"--user-data-dir={profile}",
            *(["--no-sandbox"] if os.geteuid() == 0 else []),  # Chromium refuses a sandbox to root
            f"--print-to-pdf={beside}", page.resolve().as_uri(),
        ]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False)
        except subprocess.TimeoutExpired:
            raise ReportError(f"format pdf: {chromium} took more than {LONGEST} s.", "Print the HTML report.") from None
        if done.returncode or not beside.is_file():
            said = done.stderr.strip().splitlines()[-1:] or ["no message"]
            raise ReportError(f"format pdf: {chromium} wrote nothing ({said[0]}).", "Print the HTML report.")
