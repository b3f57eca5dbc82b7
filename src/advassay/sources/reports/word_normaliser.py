"""One word → what it compares as: folded, stemmed.

Vocabulary and text pass the same `Normaliser`. Stemming is repeated until nothing changes, so a text that somebody
stemmed before (PadChest) and a vocabulary written in full words meet at the same stem.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

DASHES = "-\u2010-\u2015\u2212"
"""Signs that people type for a dash or a minus, as a range of a regular expression."""
MINUS = "(-)"
"""A minus in brackets, the answer no, as a word; also one that ends a part of a sentence: "nodules -"."""
PLUS = "(+)"
"""A plus in brackets, the answer yes, as a word."""


def is_number(word: str) -> bool:
    """Whether a word is a number, a decimal one included.

    >>> is_number("12"), is_number("0.5"), is_number("t4")
    (True, True, False)
    """
    return word.isdigit() or word.replace(".", "", 1).replace(",", "", 1).isdigit()


class Normaliser:
    """Folds and stems the words of one language; remembers every word it has seen (at most `_MOST` of them).

    stemmer: name of a Snowball algorithm, or None for none. fold_accents: "elongación" = "elongacion". replace:
    characters that stand for others (ё → е, a Latin o in a Cyrillic word → о). ignore: words that carry no meaning
    for the comparison (articles, auxiliary verbs); they are dropped. contractions: endings of words and what such a
    word is read as ("n't" → "not"). stemmed_text: texts may hold stems instead of words.

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
        contractions: Mapping[str, str] | None = None,
        stemmed_text: bool = False,
    ) -> None:
        import snowballstemmer

        self._stem_once = snowballstemmer.stemmer(stemmer).stemWord if stemmer else str
        self._fold_accents = fold_accents
        self._replace = str.maketrans(dict(replace or {}))
        self._contractions = dict(contractions or {})
        self._stemmed_text = stemmed_text
        self._seen: dict[str, tuple[str, str]] = {}
        self._ignored = frozenset(self.fold(word) for word in ignore)

    def fold(self, word: str) -> str:
        """Lower case, one Unicode form, without soft hyphens, ligatures, possessive 's and (if so set) accents."""
        word = unicodedata.normalize("NFKD", word.replace("\u00ad", "").casefold().translate(self._replace))
        if not self._fold_accents:
            word = unicodedata.normalize("NFC", word)  # what is still combining then is a stress mark
        word = "".join(sign for sign in word if not unicodedata.combining(sign)).translate(self._replace)
        if word.isalnum():
            return word
        word = word.replace("\u2019", "'").replace("\u02bc", "'")
        for ending, meant in self._contractions.items():
            if word.endswith(ending):
                return meant
        sign = word.strip("()")
        if len(sign) == 1 and not sign.isalnum() and sign != "_":
            return PLUS if sign == "+" else MINUS
        return word.removesuffix("'s")

    def stem(self, word: str) -> str:
        """The stem that `word` and its other forms share; empty for a word that is ignored."""
        return self.known(word)[1]

    def known(self, word: str) -> tuple[str, str]:
        """(folded word, stem)."""
        known = self._seen.get(word)
        if known is None:
            folded = self.fold(word)
            known = (folded, "" if folded in self._ignored else [folded, *self._stems(folded)][-1])
            if len(self._seen) < self._MOST:
                self._seen[word] = known
        return known

    def forms(self, word: str) -> tuple[str, ...]:
        """How this form of a word, and no other, stands in a text: folded, and as a stem where texts hold stems.

        Empty for a word that is ignored.
        """
        folded = self.fold(word)
        if folded in self._ignored:
            return ()
        return (folded, *self._stems(folded)) if self._stemmed_text else (folded,)

    def _stems(self, word: str) -> list[str]:
        """What stemming makes of a folded word, round by round, until nothing changes."""
        rounds: list[str] = []
        if not word.isalpha():  # dates, sizes, codes have no other forms
            return rounds
        for _ in range(8):  # Snowball settles in two or three rounds; the bound only guards against a cycle
            shorter = self._stem_once(word)
            if shorter == word or not shorter:
                break
            rounds.append(shorter)
            word = shorter
        return rounds
