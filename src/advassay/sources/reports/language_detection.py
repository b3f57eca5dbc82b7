"""Which language a report is in: by its code as tables write it, and by the words it holds."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from advassay.sources.reports.report_classifier import ReportReader
from advassay.sources.reports.vocabulary import languages, load_vocabulary

_NAMES = {
    "en": "eng english ingles inglesa английский англ",
    "es": "spa esp spanish espanol espanola castellano castilian cas испанский исп",
    "ru": "rus russian русский рус ruso rusa",
}
"""ISO 639-2 and -3 codes and names, without accents, of the languages that are shipped."""


def _bare(name: str) -> str:
    """Small letters without accents."""
    decomposed = unicodedata.normalize("NFD", name.strip().casefold())
    return "".join(sign for sign in decomposed if not unicodedata.combining(sign))


_CODES = {_bare(name): code for code, names in _NAMES.items() for name in (code, *names.split())}

_WITH_REGION = re.compile(r"(\w+?)(?:[-_][a-z0-9]{2,4}|\s*\([\w ]+\))*")
"""A name or code of a language, with a script or region: "en-US", "zh-Hans-CN", "Spanish (Spain)"."""

DAMAGED = "[\u00c2\u00c3\u00d0\u00d1][\u0080-\u00bf]|\ufffd|[\u00c0-\u00ff]{4}"
"""A regular expression for letters that only text read in the wrong encoding holds: UTF-8 read as Latin-1 ("Ã³"),
replacement characters, and Cyrillic of one byte a letter read as Latin-1 ("Ïíåâ")."""


def language_code(name: str) -> str:
    """The code of a shipped language under any usual name: "EN", "en-US", "eng", "English" → "en"; else `name`.

    >>> [language_code(name) for name in ("EN", "en_US", "Español", "rus", "nl", "en-own.yaml")]
    ['en', 'en', 'es', 'ru', 'nl', 'en-own.yaml']
    """
    named = _WITH_REGION.fullmatch(_bare(name))
    return (named and _CODES.get(named[1])) or name.strip()


class LanguageGuess:
    """Says which vocabulary knows most words of a text: that of the language stated for it, or a shipped one."""

    def __init__(self, stated: str) -> None:
        self._stated = stated
        self._readers = {code: _reader(code) for code in {stated, *languages()}}

    def of(self, fields: Iterable[str | None]) -> str | None:
        """The language of a text, as stated where several know as many of its words; None where none knows a word."""
        texts = [text for text in fields if text]
        known = {code: sum(map(reader.known_words, texts)) for code, reader in self._readers.items()}
        best = max(known.values())
        if not best:
            return None
        return self._stated if known[self._stated] == best else max(known, key=lambda code: known[code])


@lru_cache(maxsize=8)
def _reader(language: str) -> ReportReader:
    return ReportReader(load_vocabulary(language))
