"""The report as Markdown: the page's words and tables for a repository or a manuscript; figures as linked files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from advassay.analysis import Conclusion
from advassay.report import limits, methods, notes, page_tables
from advassay.report.figures.figure import Figure
from advassay.report.findings import Findings
from advassay.report.grids import Grid
from advassay.report.page import summary
from advassay.report.references import REFERENCES
from advassay.report.wording import number

NUMBERS = ("epsilon50", "iteration_plateau", "perturbation_size", "units", "performance")
"""Tables 3, 3b, 3c, 3d and 4 of the page."""


def markdown(findings: Findings, figures: Sequence[Figure], folder: str) -> str:
    """The whole report as GitHub-flavoured Markdown; `folder`: where figures/ lies, from the file's place."""
    return "\n".join(_lines(findings, figures, folder)) + "\n"


def _lines(findings: Findings, figures: Sequence[Figure], folder: str) -> Iterator[str]:
    tables = page_tables.tables(findings)
    yield from (f"# {escaped(findings.title)}", "", summary(findings), "")
    yield from _bullets("Read this first", limits.notices(findings))
    yield from ("## Five conclusions, tested", "")
    for conclusion in findings.conclusions:
        yield from _verdict(conclusion)
    yield from _tables(
        "Cohorts", [tables[key] for key in ("cohorts", "selection", "deidentification", "left_out") if key in tables]
    )
    yield from _bullets("Notes that preparation left", notes.of_preparation(findings.records))
    yield from ("## Results", "")
    for figure in figures:
        yield from _figure(figure, folder)
    yield from _tables("Numbers", [tables[key] for key in NUMBERS if key in tables])
    worked = [tables[key] for key in ("controls", "flags", "reruns", "cost") if key in tables]
    yield from _tables("Evidence that the attack worked", worked)
    yield from _bullets("Notes that runs left", notes.of_runs(findings.records, findings.runs))
    yield from ("## Methods", "")
    for paragraph in methods.methods(findings):
        yield from (f"### {paragraph.heading}", "", *(f"{escaped(text)}\n" for text in paragraph.sentences))
    yield from _bullets("Limits", limits.limits(findings))
    yield from _tables("Evaluation checklist", [tables["checklist"]])
    yield from _tables("Identities", [tables["identities"]])
    yield from _bullets("References", list(REFERENCES))


def _verdict(conclusion: Conclusion) -> Iterator[str]:
    p = "" if conclusion.p is None else f"; p = {number(conclusion.p, 2)}"
    margin = "" if conclusion.margin is None else f", margin {conclusion.margin:g}"
    yield f"### {conclusion.number}. {conclusion.statement} – **{conclusion.told}**"
    yield ""
    yield escaped(conclusion.headline)
    yield ""
    effect = f"{conclusion.effect}; n = {conclusion.n} {conclusion.unit}, {conclusion.images} images{p}"
    for name, text in (
        ("To decide", conclusion.needed), ("Published", conclusion.published), ("Quantity", conclusion.estimand),
        ("Effect", effect), ("Why", conclusion.reason),
        ("Test", f"{conclusion.test}; level {conclusion.level}{margin}"),
        ("Further", " ".join(conclusion.remarks)), ("Alternative explanations", " ".join(conclusion.alternatives)),
    ):  # fmt: skip
        if text:
            yield f"- {name}: {escaped(text)}"
    yield ""


def _figure(figure: Figure, folder: str) -> Iterator[str]:
    alt = figure.description.replace("[", "(").replace("]", ")")
    yield from (f"![{alt}]({folder}figures/{figure.key}.png)", "")
    yield from (f"**Figure {figure.number}. {figure.title}.** {escaped(figure.caption)}", "")


def _tables(heading: str, grids: Sequence[Grid]) -> Iterator[str]:
    if grids:
        yield from (f"## {heading}", "")
    for grid in grids:
        yield from (f"{escaped(grid.title[:1].upper() + grid.title[1:])}:", "", *table(grid), "")


def table(grid: Grid) -> Iterator[str]:
    """A grid as a Markdown table; a cell that the page prints once for a group is repeated on each of its rows."""
    yield "| " + " | ".join(escaped(text) for text, _ in grid.headers) + " |"
    yield "|" + "|".join("---:" if numeric else "---" for _, numeric in grid.headers) + "|"
    for row in grid.whole_rows():
        yield "| " + " | ".join(escaped(cell.text) for cell in row) + " |"


def _bullets(heading: str, texts: Sequence[str]) -> Iterator[str]:
    if texts:
        yield from (f"## {heading}", "", *(f"- {escaped(text)}" for text in texts), "")


def escaped(text: str) -> str:
    """Text in which no sign of ours is taken for Markdown or HTML.

    >>> escaped("a | b <norm> & *c*")
    'a \\\\| b &lt;norm&gt; &amp; \\\\*c\\\\*'
    """
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for sign in ("\\", "|", "*", "_", "`"):
        plain = plain.replace(sign, f"\\{sign}")
    return plain
