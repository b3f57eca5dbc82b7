"""The report as Markdown: the page's words and tables for a repository or a manuscript; figures as linked files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from advassay.analysis import Conclusion
from advassay.analysis.conclusions.conclusion_text import basis, correction, plan_sentences, statistics_lines
from advassay.report.data.findings import Findings
from advassay.report.figures import captions
from advassay.report.figures.figure import Figure
from advassay.report.output import page_tables
from advassay.report.output.html_page import READING_HELP, subgroup_sentences, summary
from advassay.report.output.table_format import Grid
from advassay.report.text import limitations, methods, recorded_warnings
from advassay.report.text.followed_plan import followed_plan
from advassay.report.text.methods import REFERENCES

NUMBERS = (
    "epsilon50",
    "iteration_plateau",
    "perturbation_size",
    "units",
    "subgroup_differences",
    "subgroups",
    "performance",
)
"""Tables 3, 3b to 3f and 4 of the page."""


def markdown(findings: Findings, figures: Sequence[Figure], folder: str) -> str:
    """The whole report as GitHub-flavoured Markdown; `folder`: where figures/ lies, from the file's place."""
    return "\n".join(_lines(findings, figures, folder)) + "\n"


def _lines(findings: Findings, figures: Sequence[Figure], folder: str) -> Iterator[str]:
    tables = page_tables.tables(findings)
    yield from (f"# {escaped(findings.title)}", "", escaped(summary(findings)), "")
    yield from _bullets("Read this first", limitations.notices(findings))
    yield from ("## Five conclusions, tested", "", *(f"- {escaped(text)}" for text in READING_HELP), "")
    told = [
        *plan_sentences(findings.records), *captions.describe_shared_grid(findings),
        limitations.training_chance(findings),
    ]  # fmt: skip
    yield from (f"{escaped(text)}\n" for text in told)
    for conclusion in findings.conclusions:
        yield from _verdict(conclusion)
    yield from _tables(
        "Cohorts", [tables[key] for key in ("cohorts", "selection", "deidentification", "left_out") if key in tables]
    )
    yield from _bullets("Notes that preparation left", recorded_warnings.of_preparation(findings.records))
    yield from ("## Results", "", escaped(followed_plan(findings)), "")
    for figure in figures:
        yield from _figure(figure, folder)
    yield from _bullets("Who is easier to fool?", subgroup_sentences(findings))
    yield from _tables("Numbers", [tables[key] for key in NUMBERS if key in tables])
    worked = [tables[key] for key in ("controls", "flags", "reruns", "cost") if key in tables]
    yield from _tables("Evidence that the attack worked", worked)
    yield from _bullets("Notes that runs left", recorded_warnings.of_runs(findings.records, findings.runs))
    yield from ("## Methods", "")
    for paragraph in methods.methods(findings):
        yield from (f"### {escaped(paragraph.heading)}", "", *(f"{escaped(text)}\n" for text in paragraph.sentences))
    yield from _bullets("Limits", limitations.limits(findings))
    yield from _tables("Evaluation checklist", [tables["checklist"]])
    yield from _tables("Identities", [tables["identities"]])
    yield from _bullets("References", list(REFERENCES))


def _verdict(conclusion: Conclusion) -> Iterator[str]:
    yield f"### {conclusion.number}. {escaped(conclusion.statement)} – **{escaped(conclusion.told)}**"
    yield ""
    yield escaped(" ".join(filter(None, (conclusion.headline, basis(conclusion), correction(conclusion)))))
    yield ""
    lines = [
        ("To decide", conclusion.needed),
        ("Reference study (Kovalev and Voynov 2019)", conclusion.published),
        *statistics_lines(conclusion),
    ]
    yield from (f"- {label}: {escaped(text)}" for label, text in lines if text)
    yield ""


def _figure(figure: Figure, folder: str) -> Iterator[str]:
    alt = escaped(figure.description.replace("[", "(").replace("]", ")"))
    yield from (f"![{alt}]({folder}figures/{figure.key}.png)", "")
    yield from (f"**Figure {figure.number}. {escaped(figure.title)}.** {escaped(figure.caption)}", "")


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
    plain = " ".join(text.splitlines()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for sign in ("\\", "|", "*", "_", "`", "[", "]", "!"):
        plain = plain.replace(sign, f"\\{sign}")
    return plain
