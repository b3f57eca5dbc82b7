"""Sections of a report, the order of what stands in them, and the sentences between figures and tables.

Figures (`figures/figure.py`), tables (`tables/table.py`) and passages say in which section they stand and where in it.
The page, Markdown, the numbering and the exports go through these three registries and list nothing themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from advassay.registry import Registry

if TYPE_CHECKING:
    from advassay.report.data.findings import Findings

Section = Literal[
    "verdicts",
    "cohorts",
    "results",
    "evidence",
    "methods",
    "limits",
    "checklist",
    "regulation",
    "reproduce",
    "references",
]
SECTIONS: dict[Section, tuple[str, str]] = {
    "verdicts": ("Conclusions, tested", "Verdicts"),
    "cohorts": ("Cohorts", "Cohorts"),
    "results": ("Results", "Results"),
    "evidence": ("Evidence that the attack worked", "Evidence"),
    "methods": ("Methods", "Methods"),
    "limits": ("Limits", "Limits"),
    "checklist": ("Evaluation checklist", "Checklist"),
    "regulation": ("Threat model, remaining risk and regulations", "Regulations"),
    "reproduce": ("Reproduce", "Reproduce"),
    "references": ("References", "References"),
}
"""Anchor of a section → its heading, and its name in the contents; in the order of the page."""


class Placed(Protocol):
    """Something that stands in a section, at a place in it."""

    @property
    def section(self) -> Section: ...

    @property
    def order(self) -> float: ...


P = TypeVar("P", bound=Placed)


def in_page_order(entries: Iterable[P]) -> list[P]:
    """Entries by section and place; those of one place in the order given."""
    place = {section: i for i, section in enumerate(SECTIONS)}
    return sorted(entries, key=lambda entry: (place[entry.section], entry.order))


@dataclass(frozen=True)
class Passage:
    """Sentences that stand in a section, between its figures and tables.

    name       in the registry, and anchor of the heading
    sentences  findings → one paragraph or bullet each; without any the passage is left out
    heading    over them, in the contents' third level; empty for none
    fold       a summary under which they are folded, their number behind it; empty for open ones
    open_up_to number of sentences up to which the fold is open
    """

    name: str
    section: Section
    order: float
    sentences: Callable[[Findings], list[str]]
    heading: str = ""
    fold: str = ""
    open_up_to: int = 0


PASSAGES = Registry("passage", Passage, package="advassay.report.text", group="advassay.passages")
"""All passages; the name is the anchor, too."""
