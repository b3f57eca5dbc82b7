"""Phrases of a vocabulary → what finds them in text: an automaton over words, or one regular expression.

Findings and cues are looked for anywhere, so they share a trie that reads one word a step. Norm phrases must cover a
whole sentence and have sets that repeat, so they become one regular expression over the sentence's stems.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from advassay.errors import SourceError
from advassay.sources.reports.sentences import Sentence
from advassay.sources.reports.word_normaliser import Normaliser, is_number

Tag = TypeVar("Tag")
_MOST_REPEATED = 3
_YEAR = "{year}"
_IS_YEAR = re.compile(r"(?:19|20)\d\d[^\W\d_]{0,2}")
"""A year, also with the Russian abbreviation behind it."""


def alternatives(phrase: str) -> Iterator[tuple[str, ...]]:
    """Every plain sequence of words that a phrase stands for.

    >>> list(alternatives("mild? aorta|aortic .. tortuous"))[:2]
    [('mild', 'aorta', '..', 'tortuous'), ('mild', 'aortic', '..', 'tortuous')]
    """
    for choice in itertools.product(*(_choices(part) for part in phrase.split())):
        yield tuple(word for part in choice for word in part.split())


def _choices(part: str) -> list[str]:
    if part.startswith("{") and part.endswith("}*"):
        return [" ".join([part[:-1]] * times) for times in range(_MOST_REPEATED + 1)]
    if part.endswith("?"):
        return [*part[:-1].split("|"), ""]
    return part.split("|")


@dataclass(slots=True)
class _Node(Generic[Tag]):
    next: dict[str, _Node[Tag]] = field(default_factory=dict)
    after_gap: dict[int, _Node[Tag]] = field(default_factory=dict)  # words that may be skipped → node
    tags: list[Tag] = field(default_factory=list)


class Automaton(Generic[Tag]):
    """A trie over words that finds every phrase from a given word on. Each phrase carries a tag.

    exact: a word of a phrase stands for the form in which it is written only, not for all that share its stem. sets:
    words that phrases name as {name}.
    """

    def __init__(
        self, normaliser: Normaliser, gap: int, *, exact: bool = False, sets: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self._normaliser = normaliser
        self._gap = gap
        self._by_form = exact
        self._root: _Node[Tag] = _Node()
        self._words: set[str] = set()
        self._prefixes: set[str] = set()
        self._exact: set[str] = set()
        self._members: dict[str, tuple[str, ...]] = {}
        self._sets = dict(sets or {})
        for name, words in self._sets.items():
            for form in {form for word in words for form in self._written(word)}:
                self._members[form] = (*self._members.get(form, ()), f"{{{name}}}")
        self._keys: dict[str, tuple[str, ...]] = {}

    def add(self, phrase: str, tag: Tag) -> None:
        """Add a phrase. Raises SourceError if no word of it is left after normalisation, or a set is unknown."""
        for words in alternatives(phrase):
            nodes = [self._root]
            for word in words:
                self._words.update(self._written(word))
                nodes = list({id(after): after for node in nodes for after in self._step(node, word, phrase)}.values())
            for node in nodes:
                if node is self._root:
                    raise SourceError(
                        f"vocabulary: expected a phrase of words that are not ignored, got {phrase!r}.",
                        "Take its words out of `ignore`, or the phrase out of the vocabulary.",
                    )
                node.tags.append(tag)

    def knows(self, raw: str, stem: str) -> bool:
        """Whether any phrase holds a word."""
        return not self._words.isdisjoint(self._of(raw, stem))

    def _step(self, node: _Node[Tag], word: str, phrase: str) -> list[_Node[Tag]]:
        """Where a word of a phrase leads: one node for each form in which it may stand."""
        if set(word) == {"."}:
            return [node.after_gap.setdefault((len(word) - 1) * self._gap, _Node())]
        if word.startswith("{"):
            if word[1:-1] not in self._sets and word != _YEAR:
                raise SourceError(
                    f"vocabulary: expected a set out of {sorted(self._sets)}, got {word!r} in {phrase!r}.",
                    "Define the set under context.sets.",
                )
            return [node.next.setdefault(word, _Node())]
        if word.endswith("*"):
            prefix = self._normaliser.fold(word[:-1])
            self._prefixes.add(prefix)
            self._words.add(f"{prefix}*")
            return [node.next.setdefault(f"{prefix}*", _Node())]
        return [node.next.setdefault(form, _Node()) for form in self._written(word)] or [node]

    def _written(self, word: str) -> tuple[str, ...]:
        """Keys of a word of the vocabulary; none for a word that is ignored."""
        if word.startswith("="):
            self._exact.add(self._normaliser.fold(word[1:]))
            return (f"={self._normaliser.fold(word[1:])}",)
        if self._by_form:
            return self._normaliser.forms(word)
        stem = self._normaliser.stem(word)
        return (stem,) if stem else ()

    def find(self, sentence: Sentence) -> Iterator[tuple[int, int, Tag]]:
        """Every hit as (first word, last word, tag). Hits may overlap."""
        keys = [self._of(raw, stem) for raw, stem in zip(sentence.raw, sentence.stems, strict=True)]
        begins = self._root.next
        for first, own in enumerate(keys):
            for key in own:
                if key in begins:
                    for last, tag in self._walk(begins[key], keys, first):
                        yield first, last, tag

    def _of(self, raw: str, stem: str) -> tuple[str, ...]:
        """What a word counts as: its stem or form, the sets and prefixes of the vocabulary that it falls under."""
        known = self._keys.get(raw)
        if known is None:
            own = raw if self._by_form else stem
            own_keys = (own, f"={raw}") if raw in self._exact else (own,)
            begins = (f"{prefix}*" for prefix in self._prefixes if raw.startswith(prefix))
            members = dict.fromkeys(name for key in own_keys for name in self._members.get(key, ()))
            years = (_YEAR,) if _IS_YEAR.fullmatch(raw) else ()
            known = (*own_keys, *members, *years, *begins)
            if len(self._keys) < Normaliser._MOST:
                self._keys[raw] = known
        return known

    def _walk(self, node: _Node[Tag], keys: Sequence[tuple[str, ...]], at: int) -> Iterator[tuple[int, Tag]]:
        for tag in node.tags:
            yield at, tag
        if node.next and at + 1 < len(keys):
            yield from self._enter(node, keys, at + 1)
        for most, beyond in node.after_gap.items():
            for skipped in range(min(most, len(keys) - at - 2) + 1):
                yield from self._enter(beyond, keys, at + 1 + skipped)

    def _enter(self, node: _Node[Tag], keys: Sequence[tuple[str, ...]], at: int) -> Iterator[tuple[int, Tag]]:
        if at >= len(keys):
            return
        for key in keys[at]:
            if key in node.next:
                yield from self._walk(node.next[key], keys, at)


class WholeSentence:
    """Says which of some phrases a sentence is, if it is nothing but that phrase.

    inflections: endings by which a word of a sentence may differ from the phrase's word of the same stem ("field",
    "fields" but not "fielded"); none = it may be any form.
    """

    _LONGEST = 60
    _MOST = 100_000

    def __init__(
        self,
        normaliser: Normaliser,
        phrases: Sequence[str],
        sets: Mapping[str, Sequence[str]],
        inflections: Sequence[str] = (),
    ) -> None:
        self._normaliser = normaliser
        self._endings = tuple(sorted({"", *inflections}, key=len, reverse=True)) if inflections else ()
        self._stems: set[str] = set()
        self._forms: set[str] = set()
        self._bases: set[str] = set()
        self._sets = {name: "|".join(filter(None, map(self._plain, words))) for name, words in sets.items()}
        self._phrases = tuple(phrases)
        self._patterns = [re.compile(self._pattern(phrase)) for phrase in phrases]
        self._any = re.compile("|".join(f"(?P<n{place}>{p.pattern})" for place, p in enumerate(self._patterns)))
        self._known: dict[tuple[str, ...], int | None] = {}
        self._accepted: dict[str, bool] = {}

    def knows(self, stem: str) -> bool:
        """Whether any phrase holds a word of this stem."""
        return stem in self._stems

    def match(self, sentence: Sentence) -> int | None:
        """Number of the first phrase that the sentence is; None if it is none. Very long sentences are none.

        A sentence may be several phrases with commas between; then the smallest of their numbers.
        """
        if len(sentence.stems) > self._LONGEST or not all(map(self._accepts, sentence.raw)):
            return None
        stems = tuple(sentence.stems)
        whole = self._number(stems)
        if whole is not None or sentence.segments[0] == sentence.segments[-1]:
            return whole
        ends = itertools.pairwise((*_begins(sentence.segments), len(stems)))
        parts = [self._number(stems[first:end]) for first, end in ends]
        return None if None in parts else min(part for part in parts if part is not None)

    def _number(self, stems: tuple[str, ...]) -> int | None:
        if stems not in self._known:
            if len(self._known) >= self._MOST:
                self._known.clear()
            # numbers (dates, numbers of a list) say nothing of the chest
            found = self._any.fullmatch("".join(f"{stem} " for stem in stems if not is_number(stem)))
            self._known[stems] = int(found.lastgroup[1:]) if found and found.lastgroup else None
        return self._known[stems]

    def _accepts(self, raw: str) -> bool:
        """Whether a word is a form that the phrases hold, but for its ending."""
        known = self._accepted.get(raw)
        if known is None:
            bare = not self._endings or is_number(raw) or raw in self._forms
            known = bare or not self._bases.isdisjoint(self._bases_of(raw))
            if len(self._accepted) < self._MOST:
                self._accepted[raw] = known
        return known

    def _bases_of(self, folded: str) -> Iterator[str]:
        return (folded.removesuffix(ending) for ending in self._endings if folded.endswith(ending))

    def _pattern(self, phrase: str) -> str:
        return "".join(self._part(part, phrase) for part in phrase.split())

    def _part(self, part: str, phrase: str) -> str:
        if not part.startswith("{"):
            optional = "?" if part.endswith("?") else ""
            return f"(?:{'|'.join(self._plain(word) for word in part.rstrip('?').split('|'))}){optional}"
        name, times = part[1:].split("}", 1)
        if name not in self._sets or times not in ("", "+", "?", "*"):
            raise SourceError(
                f"vocabulary: expected a set out of {sorted(self._sets)}, with +, ? or * after it, got {part!r} "
                f"in {phrase!r}.",
                "Define the set under norm.sets.",
            )
        return f"(?:{self._sets[name]}){times}"

    def _plain(self, words: str) -> str:
        """One or more words as a pattern over stems, each followed by a space."""
        return "".join(self._word(word) for word in words.split())

    def _word(self, word: str) -> str:
        if word.endswith("*"):
            return re.escape(self._normaliser.fold(word[:-1])) + r"[^ ]* "
        stem = self._normaliser.stem(word)
        self._stems.add(stem)
        if stem and self._endings:
            self._forms.update(self._normaliser.forms(word))
            self._bases.update(self._bases_of(self._normaliser.fold(word)))
        return re.escape(stem) + " " if stem else ""


def _begins(segments: Sequence[int]) -> Iterator[int]:
    """Where each part between commas begins."""
    return (place for place in range(len(segments)) if not place or segments[place] != segments[place - 1])
