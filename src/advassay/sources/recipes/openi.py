"""The reports of Open-i's Indiana University collection: one XML file a report, naming its images.

Elements: `MeSH/major` (what the coder found, `normal` alone for a normal chest), `parentImage/@id` (image names without
ending), `uId/@id` (the report; one patient a report).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import polars as pl

_MOST_BYTES = 1 << 20
COLUMNS = {"image": pl.String, "report_id": pl.String, "mesh": pl.String}


def read_openi(folder: Path, paths: Sequence[str]) -> pl.DataFrame:
    """One row an image: image, report_id, mesh (headings with "; " between). A file that is no report gives no row."""
    rows = [row for path in paths for row in _rows(folder / path)]
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


def _rows(path: Path) -> list[tuple[str, str | None, str | None]]:
    try:
        data = path.read_bytes()
        # A document type could define entities that swell; the collection has none.
        if len(data) > _MOST_BYTES or b"<!DOCTYPE" in data or b"<!ENTITY" in data:
            return []
        report = ElementTree.fromstring(data)
    except (OSError, ElementTree.ParseError):
        return []
    named = report.find("uId")
    mesh = "; ".join(text for heading in report.iterfind("MeSH/major") if (text := (heading.text or "").strip()))
    report_id = None if named is None else named.get("id")
    return [(image.get("id") or "", report_id, mesh or None) for image in report.iterfind("parentImage")]
