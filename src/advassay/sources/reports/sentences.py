"""Text → sentences of words, each word with its place in the text as written.

A sentence ends at . ; ! ? ("3.5" and "neg. for" do not end one), at an empty line, at a bullet or the number of a
list's item, and at a line break before a capital or a list's item. A line break inside running text (after "of",
before a small letter, in a text that is wrapped at a fixed width) is a space.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from advassay.sources.reports.word_normaliser import DASHES, Normaliser

_BULLETS = "\u00b7*\u2022\u2023\u2043\u2219\u25a0-\u25ff\u2713\u2714\u27a2\uf0a7\uf0b7"
_TOKEN = re.compile(
    # the number of a list's item: "2)", "(2)", "2.", "#2", "ii)", "b)"
    r"(?P<item>(?<!\S)(?:\(?\d{1,2}\)|\d{1,2}\.(?!\d)|#\d{1,2}|[ivx]{1,4}\)|\(?[a-hA-H\u0430-\u0436\u0410-\u0416]\))(?=\s))"
    # a word, with soft hyphens, stress marks and what follows an apostrophe; the answers "(-)", "(+)", " -,", "n/a"
    rf"|(?P<word>[nN]/[aA](?!\w)|(?<![\w.,])\d+[.,]\d+(?!\w)|0\s+[.,]\s+\d+|[\w\u0300-\u036f\u00ad]+(?:['\u2019\u02bc][^\W\d_]+)?|\((?:[{DASHES}]|\+)\)"
    rf"|(?<=\s)[{DASHES}+](?=[,;.]|\Z))"
    rf"|(?P<pause>,|(?<=\s)[{DASHES}]{{1,2}}(?=\s))"
    r"|(?P<asked>(?<![^\s(])\?(?=\s*\w))"  # a question mark that stands before what it asks: "? nodule"
    r"|(?P<leader>\.{3,}|\u2026|[-=]+>|\u2192|\|\|)"  # "emphysema.....absent", or what ends a sentence
    rf"|(?P<end>\.(?!\d)|[;!?{_BULLETS}]|\n[^\S\n]*\n)"
    r"|(?P<line>\n)|(?P<colon>[:=])"
)
_LINE_START = re.compile(rf"\s*(?P<item>[{DASHES}+>{_BULLETS}]|\(?(?:\d{{1,2}}|[^\W\d_])[.)]\s)?\s*(?P<word>\w*)")
_ANSWER = re.compile(r"[^\S\n]*([^\W\d_]+(?:[^\S\n]+[^\W\d_]+){0,3})[^\S\n]*(?=[.,;\n]|$)")
_WRAPPED = 60
"""Lines at least so long may be wrapped at a fixed width."""


@dataclass(slots=True)
class Sentence:
    """The words of one sentence: equal-length lists.

    raw: words as normalised but not stemmed; stems; starts, ends: character offsets in the text (end exclusive);
    segments: how many commas and dashes stand before the word; leads: ignored words directly before it; colons: a
    colon, "=" or dash stands directly before it.
    question: offset of the question mark that asks it.
    """

    raw: list[str] = field(default_factory=list)
    stems: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)
    leads: list[tuple[str, ...]] = field(default_factory=list)
    colons: list[bool] = field(default_factory=list)
    question: int | None = None

    def joined(self, other: Sentence) -> Sentence:
        """This sentence and the next one as one, with a pause between."""
        later = self.segments[-1] + 1
        return Sentence(
            self.raw + other.raw,
            self.stems + other.stems,
            self.starts + other.starts,
            self.ends + other.ends,
            self.segments + [later + number for number in other.segments],
            self.leads + other.leads,
            self.colons + other.colons,
            self.question if self.question is not None else other.question,
        )


class Splitter:
    """Cuts the text of one language into sentences.

    abbreviations: words whose full stop ends no sentence before a small letter. answers: words that, with no
    others behind a question mark or dot leaders, make an answer field of them. continues: words that end no line of
    their own.
    """

    def __init__(
        self,
        normaliser: Normaliser,
        *,
        abbreviations: tuple[str, ...] = (),
        answers: tuple[str, ...] = (),
        continues: tuple[str, ...] = (),
    ) -> None:
        self._normaliser = normaliser
        self._abbreviations = frozenset(normaliser.fold(word) for word in abbreviations)
        self._answers = frozenset(normaliser.fold(word) for word in answers)
        self._continues = frozenset(normaliser.fold(word) for word in continues)

    def sentences(self, text: str, start: int = 0, end: int | None = None) -> Iterator[Sentence]:
        """The sentences of text[start:end] that have at least one word. `text` has passed `markup.plain`."""
        end = len(text) if end is None else end
        draft = _Draft()
        for match in _TOKEN.finditer(text, start, end):
            kind = match.lastgroup
            if kind == "word":
                draft.add(*self._normaliser.known(match[0]), match.start(), match.end())
            elif (match[0] == "?" or kind == "leader") and self._is_answered(text, match.end(), end):
                draft.mark(":")
            elif kind == "item" and _in_brackets(text[max(match.start() - 40, start) : match.start()]):
                continue  # "(grade iv)"
            elif kind in ("end", "item", "leader"):
                if not (match[0] == "." and self._is_abbreviated(draft, text[match.end() : min(match.end() + 9, end)])):
                    yield from draft.finish(match.start() if match[0] == "?" else None)
            elif kind == "line":
                if self._ends_line(draft, text, match.start(), end):
                    yield from draft.finish()
            elif kind == "asked":
                yield from draft.finish()
                draft.sentence.question = match.start()
            else:
                draft.mark(match[0])
        yield from draft.finish()

    def _is_abbreviated(self, draft: _Draft, after: str) -> bool:
        if after[:1] == ",":  # "in 2016 (approx.), resolved"
            return True
        if after[:1].isalpha() and len(draft.sentence.raw) == 1:  # "No.Pneumonia": a stop in place of a space
            return draft.last in self._answers
        return draft.last in self._abbreviations and after.lstrip(" ")[:1].islower()

    def _is_answered(self, text: str, place: int, end: int) -> bool:
        answer = _ANSWER.match(text, place, end)
        return answer is not None and all(self._normaliser.fold(word) in self._answers for word in answer[1].split())

    def _ends_line(self, draft: _Draft, text: str, place: int, end: int) -> bool:
        """Whether the line break at `place` ends a sentence."""
        following = _LINE_START.match(text, place + 1, end)
        if following is None or not following["word"]:
            return bool(following and following["item"])
        if following["item"]:
            return True
        if draft.paused or draft.last in self._continues:
            return False
        word = following["word"]
        if word[0].isupper() or word[0].isdigit():
            return not _is_wrap(text, place, word)
        # a text without capitals: its lines are sentences, but for those that may have been full
        return _look(text).small and len(_line(text, place)) < _WRAPPED and word not in self._continues


def _in_brackets(before: str) -> bool:
    """Whether a bracket is open at the end of `before`."""
    return before.rfind("(") > before.rfind(")")


class _Look(NamedTuple):
    """How a text is set: its longest line, how many lines are nearly as long, whether it is in one case only."""

    widest: int
    full: int
    capitals: bool
    small: bool


@lru_cache(maxsize=1)
def _look(text: str) -> _Look:
    lines = [len(line.rstrip()) for line in text.split("\n")]
    widest = max(lines)
    return _Look(widest, sum(length >= widest - 12 for length in lines), text.isupper(), text == text.lower())


def _is_wrap(text: str, place: int, word: str) -> bool:
    """Whether a line that is followed by a capital may have ended because it was full."""
    look = _look(text)
    if not (look.capitals or (word.isupper() and len(word) < 6)):
        return False
    return look.widest >= _WRAPPED and look.full >= 3 and len(_line(text, place)) >= look.widest - 12


def _line(text: str, place: int) -> str:
    """The line that ends at `place`."""
    return text[text.rfind("\n", 0, place) + 1 : place].rstrip()


class _Draft:
    """The sentence under way."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.sentence = Sentence()
        self.last = ""
        self.paused = False
        self._pauses = 0
        self._leads: tuple[str, ...] = ()
        self._colon = False

    def add(self, folded: str, stem: str, start: int, end: int) -> None:
        self.last, self.paused = folded, False
        if not stem:
            self._leads = (*self._leads, folded)
            return
        sentence = self.sentence
        sentence.raw.append(folded)
        sentence.stems.append(stem)
        sentence.starts.append(start)
        sentence.ends.append(end)
        sentence.segments.append(self._pauses)
        sentence.leads.append(self._leads)
        sentence.colons.append(self._colon)
        self._leads, self._colon = (), False

    def mark(self, sign: str) -> None:
        """A comma, dash or colon between words."""
        self.paused = sign == ","
        self._colon = self._colon or not self.paused
        self._pauses += sign not in ":="

    def finish(self, question: int | None = None) -> Iterator[Sentence]:
        """The sentence, if it has words; another one begins."""
        if self.sentence.stems:
            if question is not None:
                self.sentence.question = question
            yield self.sentence
            self._begin()
        elif self.sentence.question is None:
            self._begin()
