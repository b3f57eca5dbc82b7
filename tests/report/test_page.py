from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pytest
from written_report import Report

from advassay.report import gather


@dataclass
class Tag:
    name: str
    attributes: dict[str, str]


class Page(HTMLParser):
    """Tags of a page, and the data cells of each table, row by row."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[Tag] = []
        self.tables: list[tuple[str, list[list[dict[str, str]]]]] = []
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = Tag(tag, {key: value or "" for key, value in attrs})
        self.tags.append(found)
        if tag == "table":
            self.tables.append((found.attributes.get("data-table", ""), []))
        elif tag == "tr" and self.tables:
            self.tables[-1][1].append([])
        elif tag == "td":
            self.tables[-1][1][-1].append(found.attributes)

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def named(self, name: str) -> list[Tag]:
        return [tag for tag in self.tags if tag.name == name]


@pytest.fixture(scope="module")
def page(report: Report) -> Page:
    return Page(report.html)


def test_every_number_on_the_page_stands_in_the_csv_of_its_table(page: Page, report: Report) -> None:
    compared = 0
    for name, rows in page.tables:
        if not name:  # the first screen's, made of several tables (test_first_screen.py)
            continue
        text = (report.folder / "tables" / f"{name}.csv").read_text(encoding="utf-8")
        in_csv = [row for row in csv.DictReader(io.StringIO(text))]
        for row in (row for row in rows if row):
            cells = {cell["data-column"]: cell["data-value"] for cell in row}
            assert any(all(_same(record[key], value) for key, value in cells.items()) for record in in_csv), (
                name,
                cells,
            )
            compared += len(cells)
    assert compared > 500


def _same(written: str, shown: str) -> bool:
    if written == shown or written.lower() == shown.lower():
        return True
    try:
        return float(written) == float(shown)
    except ValueError:
        return False


def test_estimates_of_the_conclusions_are_those_of_the_csv(page: Page, report: Report) -> None:
    shown = [
        tag.attributes["data-value"] for tag in page.named("strong") if tag.attributes.get("data-column") == "estimate"
    ]
    written = [str(value) if value is not None else "" for value in report.table("conclusions")["estimate"].to_list()]
    assert len(shown) == 5
    assert shown == written


def test_the_page_asks_no_network_for_anything(page: Page) -> None:
    asked = [
        tag.attributes[key]
        for tag in page.tags
        for key in ("src", "srcset", "href", "data", "action", "poster")
        if key in tag.attributes
    ]
    assert asked
    files = [value for value in asked if not value.startswith(("data:", "#"))]
    assert {value.split("/")[:2] == [".", "figures"] for value in files} == {True}  # beside the page, and only linked
    linked = {tag.attributes["href"] for tag in page.named("a")}
    assert set(files) <= linked
    policy = next(t for t in page.named("meta") if t.attributes.get("http-equiv") == "Content-Security-Policy")
    assert policy.attributes["content"].startswith("default-src 'none'")
    assert "http" not in policy.attributes["content"]


def test_linked_files_of_figures_lie_beside_the_page(page: Page, report: Report) -> None:
    files = [tag.attributes["href"] for tag in page.named("a") if tag.attributes["href"].startswith("./")]
    assert {value.rsplit(".", 1)[1] for value in files} == {"svg", "png", "pdf"}
    assert [value for value in files if not (report.folder / value).is_file()] == []


def test_every_image_says_what_it_shows(page: Page) -> None:
    images = page.named("img")
    assert len(images) > 20
    assert all(len(image.attributes["alt"]) > 15 for image in images)


def test_no_class_name_can_end_a_script_or_open_a_tag(page: Page, report: Report) -> None:
    assert len(page.named("script")) == report.html.count("</script>")
    assert not page.named("norm")


def test_anchors_lead_somewhere(page: Page) -> None:
    ids = {tag.attributes["id"] for tag in page.tags if "id" in tag.attributes}
    links = {t.attributes["href"][1:] for t in page.named("a") if t.attributes["href"].startswith("#")}
    assert links
    assert links <= ids


def test_the_answer_and_the_verdicts_come_before_everything_else(report: Report) -> None:
    assert report.html.index('id="answer"') < report.html.index('<section id="verdicts"')
    order = [
        report.html.index(f'<section id="{name}"') for name in ("verdicts", "cohorts", "results", "evidence", "methods")
    ]
    assert order == sorted(order)


def test_methods_name_update_loss_units_precision_versions_and_hashes(report: Report) -> None:
    found = gather(report.store)
    text = " ".join(Page(report.html).text)
    wanted = ["projected-sign", "cross-entropy", "5.1 grey levels", "float32 passes", "torch", "seed 0", "patient_id"]
    wanted += [header.run_id for header in found.records.headers] + [
        header.classifier for header in found.records.headers
    ]
    assert [word for word in wanted if word not in text] == []


def test_the_page_stays_small(report: Report) -> None:
    assert report.page.stat().st_size < 4_000_000


def test_no_path_of_this_machine_is_on_the_page(report: Report) -> None:
    assert str(Path.home()) + "/" not in report.html
    assert str(report.store.parent) not in report.html
    assert not re.search(
        r"\b(?:nan|None|NaN)\b", re.sub(r"<script.*?</script>|<td[^>]*>|<pre.*?</pre>", "", report.html, flags=re.S)
    )
