"""The report as Markdown: the page's words, tables and figures in its order, for a repository or a manuscript."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from advassay.analysis import Conclusion
from advassay.analysis.conclusions.conclusion_text import basis, correction, plan_sentences, statistics_lines
from advassay.report.data.findings import Findings
from advassay.report.data.several_cohorts import headline_text
from advassay.report.figures.answer_figures import CURVE, PAIR
from advassay.report.figures.figure import Figure
from advassay.report.output.html_page import (
    EVIDENCE_HELP,
    READING_HELP,
    Block,
    blocks,
    checklist_sentence,
    summary,
    verdicts_heading,
    verdicts_sentence,
)
from advassay.report.page_sections import SECTIONS, Section
from advassay.report.tables.column_labels import Grid
from advassay.report.text import captions, limitations, methods
from advassay.report.text.methods import REFERENCES


def markdown(findings: Findings, figures: Sequence[Figure], folder: str) -> str:
    """The whole report as GitHub-flavoured Markdown; `folder`: where figures/ lies, from the file's place."""
    return "\n".join(_lines(findings, figures, folder)) + "\n"


def _lines(findings: Findings, figures: Sequence[Figure], folder: str) -> Iterator[str]:
    yield from (f"# {escaped(findings.title)}", "", escaped(summary(findings)), "")
    if answer := findings.first_screen:
        yield from ("## The answer", "", *_paragraphs(answer.sentences))
        if len(answer.headlines) > 1:
            yield from _bullets([headline_text(findings, line) for line in answer.headlines])
        for figure in (one for one in figures if one.key in (CURVE, PAIR)):
            yield from (f"![{_alt(figure)}]({folder}figures/{figure.key}.png)", "", escaped(figure.caption), "")
        yield from ("Not shown:", "", *_bullets(answer.not_shown))
    if notices := limitations.notices(findings):
        yield from ("## Before you rely on this", "", *_bullets(notices))
    for section, found in blocks(findings, [one for one in figures if one.key not in (CURVE, PAIR)]).items():
        own = list(_own_lines(findings, section))
        if not own and not found:
            continue
        heading = verdicts_heading(findings) if section == "verdicts" else SECTIONS[section][0]
        yield from (f"## {heading}", "", *own)
        for block in found:
            yield from _block(block, folder)


def _own_lines(findings: Findings, section: Section) -> Iterator[str]:
    """What a section says before its figures and tables."""
    if section == "verdicts":
        yield from (escaped(verdicts_sentence(findings)), "", *_bullets(READING_HELP))
        told = [
            *plan_sentences(findings.records), *captions.describe_shared_grid(findings),
            limitations.training_chance(findings),
        ]  # fmt: skip
        yield from _paragraphs(told)
        for conclusion in findings.conclusions:
            yield from _verdict(conclusion)
    elif section == "results":
        yield from _paragraphs([captions.followed_plan(findings)])
    elif section == "evidence":
        yield from _paragraphs([EVIDENCE_HELP])
    elif section == "methods":
        for paragraph in methods.methods(findings):
            yield from (f"### {escaped(paragraph.heading)}", "", *_paragraphs(paragraph.sentences))
    elif section == "limits":
        yield from _bullets(limitations.limits(findings))
    elif section == "checklist":
        yield from _paragraphs([checklist_sentence(findings)])
    elif section == "references":
        yield from _bullets(REFERENCES)


def _block(block: Block, folder: str) -> Iterator[str]:
    if block.figure:
        yield from _figure(block.figure, folder)
    elif block.table:
        yield from _paragraphs([block.table.heading])
        if block.table.grid:
            yield from (*table(block.table.grid), "")
    elif block.passage:
        if heading := block.passage.heading or block.passage.fold:
            yield from (f"### {escaped(heading)}", "")
        yield from _bullets(block.sentences)


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


def _alt(figure: Figure) -> str:
    return escaped(figure.description.replace("[", "(").replace("]", ")"))


def _figure(figure: Figure, folder: str) -> Iterator[str]:
    yield from (f"![{_alt(figure)}]({folder}figures/{figure.key}.png)", "")
    yield from (f"**Figure {figure.number}. {escaped(figure.title)}.** {escaped(figure.caption)}", "")


def table(grid: Grid) -> Iterator[str]:
    """A grid as a Markdown table; a cell that the page prints once for a group is repeated on each of its rows."""
    yield "| " + " | ".join(escaped(text) for text, _ in grid.headers) + " |"
    yield "|" + "|".join("---:" if numeric else "---" for _, numeric in grid.headers) + "|"
    for row in grid.whole_rows():
        yield "| " + " | ".join(escaped(cell.text) for cell in row) + " |"


def _paragraphs(texts: Sequence[str]) -> Iterator[str]:
    yield from (f"{escaped(text)}\n" for text in texts)


def _bullets(texts: Sequence[str]) -> Iterator[str]:
    yield from (*(f"- {escaped(text)}" for text in texts), "")


def escaped(text: str) -> str:
    """Text in which no sign of ours is taken for Markdown or HTML.

    >>> escaped("a | b <norm> & *c*")
    'a \\\\| b &lt;norm&gt; &amp; \\\\*c\\\\*'
    """
    plain = " ".join(text.splitlines()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for sign in ("\\", "|", "*", "_", "`", "[", "]", "!"):
        plain = plain.replace(sign, f"\\{sign}")
    return plain
