"""The page: findings, sentences and figures put into one self-contained HTML file, from Jinja templates."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from advassay.analysis.conclusions.conclusion_text import basis, correction, plan_sentences, statistics_lines
from advassay.analysis.conclusions.question import ADDED, REFERENCE_STUDY, question_of
from advassay.report.data.findings import Findings
from advassay.report.figures.answer_figures import CURVE, PAIR, WHOLE
from advassay.report.figures.figure import Figure
from advassay.report.figures.image_panels import page_uri
from advassay.report.output import figure_files
from advassay.report.output.headline_table import cohort_lines
from advassay.report.output.render_figures import RenderedFigure
from advassay.report.page_sections import PASSAGES, SECTIONS, Passage, Section, in_page_order
from advassay.report.tables.column_labels import exact
from advassay.report.tables.table import PrintedTable, numbers_of_conclusion, printed_tables
from advassay.report.text import captions, limitations, methods
from advassay.report.text.methods import REFERENCES
from advassay.report.text.number_format import count, listed, number


@dataclass(frozen=True)
class Block:
    """One thing that stands in a section: a figure, a table or sentences."""

    section: Section
    order: float
    figure: Figure | None = None
    drawn: RenderedFigure | None = None
    table: PrintedTable | None = None
    passage: Passage | None = None
    sentences: tuple[str, ...] = ()


def blocks(findings: Findings, figures: Iterable[Figure]) -> dict[Section, list[Block]]:
    """Section → what stands in it, in the order of the page."""
    made = [Block(one.section, one.order, figure=one) for one in figures]
    made += [Block(one.section, one.order, table=one) for one in printed_tables(findings)]
    for passage in PASSAGES.parts():
        if sentences := passage.sentences(findings):
            made.append(Block(passage.section, passage.order, passage=passage, sentences=tuple(sentences)))
    placed = in_page_order(made)
    return {section: [block for block in placed if block.section == section] for section in SECTIONS}


def render(findings: Findings, drawn: Sequence[RenderedFigure], csv: dict[str, str], files: str = "") -> str:
    """The whole page. `csv`: table name → its CSV text, offered for download from the page itself.

    `files`: the folder of figures/ as seen from the page, such as "./", which captions link; empty = there is none.
    """
    return rendered("page.html.j2", _content(findings, drawn, csv) | {"files": files})


def _content(findings: Findings, drawn: Sequence[RenderedFigure], csv: dict[str, str]) -> dict[str, Any]:
    drawings = {one.figure.key: one for one in drawn}
    numbered = [one.figure for one in drawn if one.figure.key not in (CURVE, PAIR)]
    placed = {
        section: [replace(b, drawn=drawings[b.figure.key]) if b.figure else b for b in found]
        for section, found in blocks(findings, numbered).items()
    }
    return {
        "findings": findings,
        "answer_curve": drawings.get(CURVE),
        "answer_pair": drawings.get(PAIR),
        "answer_whole": WHOLE,
        "answer_table": cohort_lines(findings, findings.first_screen.headlines) if findings.first_screen else None,
        "sections": SECTIONS,
        "blocks": placed,
        "summary": summary(findings),
        "notices": limitations.notices(findings),
        "verdicts": [(conclusion, numbers_of_conclusion(conclusion)) for conclusion in findings.conclusions],
        "verdicts_heading": verdicts_heading(findings),
        "verdicts_sentence": verdicts_sentence(findings),
        "reading_help": READING_HELP,
        "plan_sentences": plan_sentences(findings.records),
        "evidence_sentences": [*captions.describe_shared_grid(findings), limitations.training_chance(findings)],
        "followed_plan": captions.followed_plan(findings),
        "evidence_help": EVIDENCE_HELP,
        "downloads": downloads(csv),
        "methods": methods.methods(findings),
        "limits": limitations.limits(findings),
        "checklist_sentence": checklist_sentence(findings),
        "references": REFERENCES,
        "javascript": figure_files.javascript() if any(one.specs for one in drawn) else "",
    }


def summary(findings: Findings) -> str:
    """How much was done, in one sentence."""
    headers = findings.runs
    images = sum(header.images for header in findings.headers())
    networks = len({header.classifier for header in headers})
    judged = sum(header.rows * header.steps for header in headers)
    kinds = list(dict.fromkeys(findings.cohorts.values()))
    attacked = "images" if any(map(findings.unsplit, findings.cohorts)) else "validation images"
    return (
        f"{_counted(len(findings.cohorts), 'cohort')} ({', '.join(kinds)}), {_counted(networks, 'network')}, "
        f"{count(images)} {attacked}, {_counted(len(headers), 'attack run')}, {count(judged)} attacked iterates "
        "recorded."
    )


def _counted(number: int, what: str) -> str:
    return f"{count(number)} {what}{'' if number == 1 else 's'}"


WORDS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")


def verdicts_heading(findings: Findings) -> str:
    """ "Five conclusions, tested"."""
    found = len(findings.conclusions) or 5
    return f"{WORDS[found] if found < len(WORDS) else found} conclusion{'' if found == 1 else 's'}, tested"


def verdicts_sentence(findings: Findings) -> str:
    """Whose statements they are, and how often each verdict was given."""
    numbers = [one.number for one in findings.conclusions]
    families = {number: question_of(number).family for number in numbers}
    added = [number for number, family in families.items() if family == ADDED]
    beyond = [number for number, family in families.items() if family not in (REFERENCE_STUDY, ADDED)]
    verdicts = _counts([one.verdict for one in findings.conclusions], VERDICTS)
    whose = "Each statement is a conclusion of the reference study (Kovalev and Voynov 2019), tested on these records"
    if beyond:
        those = listed([str(number) for number in beyond])
        whose = f"{whose}; {those} {'goes' if len(beyond) == 1 else 'go'} beyond it"
    if added:
        those = listed([str(number) for number in added])
        whose = f"{whose}; {those} {'was' if len(added) == 1 else 'were'} added by another package"
    return f"{whose}: {verdicts}." if verdicts else f"{whose}."


def checklist_sentence(findings: Findings) -> str:
    """What the checklist is, and how often each answer was given."""
    answers = _counts(findings.tables["checklist"]["answer"].to_list(), ANSWERS)
    return (
        "What Carlini et al. 2019 ask of an evaluation of robustness, in our words, answered from these records: "
        f"{answers}."
    )


READING_HELP = (
    "Amplitude ε: how much the attack may change an image. For L∞ attacks it is the largest change of any pixel as a "
    "share of the full grey scale; ε = 0.02 is 5.1 grey levels of 255.",
    "Success rate: of the images that the network classifies correctly without an attack, the share that it "
    "misclassifies after the attack. ε50: the amplitude at which this share reaches one half.",
    "Brackets hold a confidence interval. Over several cohorts it is about cohorts of the same kind; of one cohort it "
    "is about that cohort alone.",
    "Supported: the whole interval agrees with the statement. Contradicted: the whole interval disagrees with it, or "
    "leaves no effect large enough to count. Undecided: the interval allows both; that is no evidence of absence.",
)
"""How a reader who does not know the program should read a verdict."""
EVIDENCE_HELP = (
    "A success rate without evidence that the attack worked does not show robustness. ε = 0 must change no decision. "
    "Noise of the same size shows what the direction of the attack adds. A stronger attack shows how much the declared "
    "one missed at least."
)

VERDICTS = ("supported", "contradicted", "undecided")
ANSWERS = ("yes", "partly", "no", "not applicable")


def _counts(given: Sequence[str], kinds: Sequence[str]) -> str:
    """How often each kind was given, e.g. "3 yes, 1 no"."""
    return ", ".join(f"{given.count(kind)} {kind}" for kind in kinds if kind in given)


def rendered(template: str, content: Mapping[str, Any]) -> str:
    """A page from a template of `templates/`; a name that the content lacks is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("advassay.report"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number, "count": count, "exact": exact, "page_uri": page_uri, "code": _code, "data": _data,
        "basis": basis, "correction": correction, "statistics": statistics_lines,
    }  # fmt: skip
    return environment.get_template(template).render(**content)


def downloads(csv: Mapping[str, str]) -> dict[str, str]:
    """Table → data URI of its CSV text, offered by the page itself."""
    return {name: f"data:text/csv;charset=utf-8;base64,{base64.b64encode(text.encode()).decode()}"
            for name, text in csv.items()}  # fmt: skip


def _code(text: str) -> Any:
    """The library's script, which holds neither </script nor <!-- (a test looks)."""
    from markupsafe import Markup

    return Markup(text)


def _data(text: str) -> Any:
    """JSON for a script element: no title or class name in it can end the element."""
    from markupsafe import Markup

    return Markup(text.replace("<", "\\u003c"))
