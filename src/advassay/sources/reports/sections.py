"""Which part of a report stands under which heading: history, indication, comparison and technique are set aside."""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple

from advassay.sources.reports.vocabulary import Headings


class Kind(Enum):
    """What stands under a heading."""

    aside = "aside"
    findings = "findings"
    conclusion = "conclusion"
    organs = "organs"


class Part(NamedTuple):
    """text[start:end] between two headings. What begins before `aside_until` does not speak of this examination
    (None: the first sentence alone does not)."""

    start: int
    end: int
    aside_until: int | None


class _Heading(NamedTuple):
    start: int
    end: int
    kind: Kind


_CAPITALS = re.compile(r"^[^\S\n]*[^\W\d_](?:[^\W\d_]|[ /]){2,40}:", re.MULTILINE)
_SAME = {"a": "aá", "e": "eé", "i": "ií", "o": "oó", "u": "uúü", "n": "nñ", "е": "её"}
_PLAIN = str.maketrans({sign: base for base, signs in _SAME.items() for sign in signs})


class Sections:
    """Finds the headings of one language."""

    def __init__(self, headings: Headings) -> None:
        self._kinds = {_folded(entry): kind for kind in Kind for entry in getattr(headings, kind.value)}
        names = "|".join(_pattern(entry) for entry in sorted(self._kinds, key=len, reverse=True))
        self._pattern = re.compile(
            rf"(?<!\w)({names or '(?!)'})(?:[^\S\n]*\([^()\n]{{0,40}}\))?"
            r"[^\S\n]*(?::|[-.\u2013\u2014]?[^\S\n]*(?=\n)|[^\S\n][-\u2013\u2014](?=[^\S\n]))",
            re.IGNORECASE,
        )

    def parts(self, text: str) -> list[Part]:
        """`text` without its headings, in parts."""
        headings = self._headings(text)
        if not headings:
            return [Part(0, len(text), 0)]
        parts = [Part(0, headings[0].start, 0)]
        following: Kind | None = None  # what stands under the next heading that is not set aside
        below = []
        end = len(text)
        for number, heading in reversed(list(enumerate(headings, 1))):
            aside = heading.kind is Kind.aside
            last = number == len(headings)
            until = _aside_until(text, heading.end, end, last, following) if aside else heading.end
            below.append(Part(heading.end, end, until))
            end = heading.start
            following = following if aside else heading.kind
        return parts + below[::-1]

    def _headings(self, text: str) -> list[_Heading]:
        if ":" not in text and "\n" not in text:
            return []
        found = []
        for match in self._pattern.finditer(text):
            if _begins(text, match):
                kind = self._kinds[_folded(match[1])]
                # the name of an organ is part of the sentence
                found.append(_Heading(match.start(1), match.start(1) if kind is Kind.organs else match.end(), kind))
        if not found:
            return []
        starts = {heading.start for heading in found}
        # a heading of another kind, in capitals on a line of its own, ends what was set aside
        others = (match for match in _CAPITALS.finditer(text) if match[0].isupper())
        free = (match.start() for match in others if not starts.intersection(range(match.start(), match.end())))
        return sorted([*found, *(_Heading(start, start, Kind.findings) for start in free)], key=lambda one: one.start)


def _begins(text: str, match: re.Match[str]) -> bool:
    """Whether a name stands where a heading does: at a sentence's start or with a capital; a line's without ":"."""
    before = text[max(match.start() - 80, 0) : match.start()].rstrip(" \t")
    if not match[0].endswith(":"):
        return not before or before.endswith("\n")
    return not before or before[-1] in ".;!?,)\n" or match[1][0].isupper()


_PARAGRAPH = re.compile(r"\n[^\S\n]*\n")
_LINE = re.compile(r"\n\s*(?=[^\W\d_])")


def _aside_until(text: str, start: int, end: int, last: bool, following: Kind | None) -> int | None:
    """Where ends what stands under a heading such as "History:"; text[start:end] goes as far as the next heading.

    last: no heading follows; all but the first sentence is taken for the findings then. following: what stands under
    the next heading that is not set aside; where it is the conclusion, what begins on a line of its own is taken for
    the findings. Never more than a paragraph.
    """
    if last:
        return None
    said = start + len(text[start:end]) - len(text[start:end].lstrip())
    paragraph = _PARAGRAPH.search(text, said, end)
    until = paragraph.start() if paragraph else end
    if following is Kind.conclusion:
        lines = (match.end() for match in _LINE.finditer(text, said, until))
        return next((place for place in lines if text[place].isupper()), until)
    return until


def _folded(name: str) -> str:
    """A heading as it compares: small letters without accents, one space between words."""
    return " ".join(name.casefold().translate(_PLAIN).split())


def _pattern(entry: str) -> str:
    """A heading of the vocabulary as a regular expression that accepts missing accents."""
    words = (
        "".join(f"[{_SAME[sign]}]" if sign in _SAME else re.escape(sign) for sign in word)
        for word in _folded(entry).split()
    )
    return r"[^\S\n]+".join(words)
