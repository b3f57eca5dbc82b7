"""Text → words that compare: folded, stemmed, with their place in the text as written.

Vocabulary and text pass the same `Normaliser`. Stemming is repeated until nothing changes, so a text that somebody
stemmed before (PadChest) and a vocabulary written in full words meet at the same stem.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

_COMBINING = "\u0300-\u036f"
# A word; a comma; a sentence's end: . ; ! ? or an empty line ("3.5" is not one, a line wrap neither); a question mark
# that stands before what it asks: "? nodule".
_TOKEN = re.compile(rf"([\w{_COMBINING}\u00ad]+)|(,)|((?<![^\s(])\?(?=\s*\w))|(\.(?!\d)|[;!?]|\n[^\S\n]*\n)")


@dataclass(slots=True)
class Sentence:
    """The words of one sentence: equal-length lists.

    raw: words as normalised but not stemmed; stems; starts, ends: character offsets in the text (end exclusive);
    segments: how many commas stand before the word. question: where the question mark stands that asks it.
    """

    raw: list[str] = field(default_factory=list)
    stems: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)
    question: int | None = None


class Normaliser:
    """Folds and stems the words of one language; remembers every word it has seen (at most `_MOST` of them).

    stemmer: name of a Snowball algorithm, or None for none. fold_accents: "elongación" = "elongacion". replace:
    characters that stand for others (ё → е, a Latin o in a Cyrillic word → о). ignore: words that carry no meaning
    for the comparison (articles, auxiliary verbs); they are dropped.

    >>> spanish = Normaliser("spanish", fold_accents=True)
    >>> spanish.stem("Elongación"), spanish.stem("elong")
    ('elong', 'elong')
    """

    _MOST = 200_000

    def __init__(
        self,
        stemmer: str | None,
        *,
        fold_accents: bool = False,
        replace: Mapping[str, str] | None = None,
        ignore: tuple[str, ...] = (),
    ) -> None:
        import snowballstemmer

        self._stem_once = snowballstemmer.stemmer(stemmer).stemWord if stemmer else str
        self._fold_accents = fold_accents
        self._replace = str.maketrans(dict(replace or {}))
        self._seen: dict[str, tuple[str, str]] = {}
        self._ignored = frozenset(self.fold(word) for word in ignore)

    def fold(self, word: str) -> str:
        """Lower case, one Unicode form, without soft hyphens and (if so set) accents."""
        form: Literal["NFD", "NFC"] = "NFD" if self._fold_accents else "NFC"
        word = unicodedata.normalize(form, word.replace("\u00ad", "").casefold().translate(self._replace))
        word = "".join(sign for sign in word if not unicodedata.combining(sign))  # under NFC: stress marks
        return word.translate(self._replace)

    def stem(self, word: str) -> str:
        """The stem that `word` and its other forms share."""
        return self._known(word)[1]

    def _known(self, word: str) -> tuple[str, str]:
        """(folded word, stem); the stem is empty for a word that is ignored."""
        known = self._seen.get(word)
        if known is None:
            folded = self.fold(word)
            known = (folded, "" if folded in self._ignored else self._fixed_point(folded))
            if len(self._seen) < self._MOST:
                self._seen[word] = known
        return known

    def _fixed_point(self, word: str) -> str:
        if not word.isalpha():  # dates, sizes, codes have no other forms
            return word
        for _ in range(8):  # Snowball settles in two or three rounds; the bound only guards against a cycle
            shorter = self._stem_once(word)
            if shorter == word or not shorter:
                break
            word = shorter
        return word

    def sentences(self, text: str) -> Iterator[Sentence]:
        """The sentences of `text` that have at least one word."""
        sentence, commas = Sentence(), 0
        for match in _TOKEN.finditer(text):
            kind = match.lastindex
            if kind == 1:
                folded, stem = self._known(match[1])
                if stem:
                    sentence.raw.append(folded)
                    sentence.stems.append(stem)
                    sentence.starts.append(match.start())
                    sentence.ends.append(match.end())
                    sentence.segments.append(commas)
            elif kind == 2:
                commas += 1
            else:
                if sentence.stems:
                    if match[0] == "?" and kind == 4:
                        sentence.question = match.start()
                    yield sentence
                    sentence, commas = Sentence(), 0
                if kind == 3:
                    sentence.question = match.start()
        if sentence.stems:
            yield sentence
