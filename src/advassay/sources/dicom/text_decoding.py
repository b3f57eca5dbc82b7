"""Bytes of a text element → text, by (0008,0005) Specific Character Set, and where that is absent or wrong."""

from __future__ import annotations

import unicodedata
import warnings
from typing import NamedTuple

_MULTI_BYTE = frozenset(("gb18030", "gbk", "gb2312", "shift_jis", "euc_kr", "iso2022_jp", "iso2022_jp_2"))
_AROUND = " \0\t\r\n"
GUESSES = ("utf-8", "cp1251", "koi8_r", "iso8859_5", "iso8859_7", "cp1253", "latin-1")
"""Encodings in which words of closed lists are looked for where the declared one gives none."""


class DecodedText(NamedTuple):
    """text: trimmed, in Unicode's composed form. broken: its bytes are no text of the declared character set; then each
    byte is one Latin-1 letter, so that different ids stay different."""

    text: str
    broken: bool = False


def encodings_of(character_sets: str | None) -> list[str]:
    """Python's names of the encodings that (0008,0005) declares; [] where it declares none or none that is known."""
    from pydicom.charset import python_encoding

    terms = [term.strip() for term in (character_sets or "").split("\\")]
    return [python_encoding[term] for term in terms if term in python_encoding and term]


def decode_text(value: bytes, encodings: list[str]) -> DecodedText:
    """The text of `value`. Bytes beyond ASCII that are valid UTF-8 are UTF-8 whatever single-byte set is declared: no
    text of such a set is so by chance."""
    if value.isascii() and b"\x1b" not in value:
        return DecodedText(value.decode("ascii").strip(_AROUND))
    declared = _declared(value, encodings)
    if declared is not None and (b"\x1b" in value or any(name in _MULTI_BYTE for name in encodings)):
        return DecodedText(_trimmed(declared))
    try:
        return DecodedText(_trimmed(value.decode("utf-8")))
    except UnicodeDecodeError:
        pass
    if declared is not None:
        return DecodedText(_trimmed(declared))
    return DecodedText(_trimmed(value.decode("latin-1")), broken=True)


def in_encoding(text: str, encoding: str) -> str | None:
    """A broken text (each byte a Latin-1 letter) read in another encoding, or None where it is none of that."""
    try:
        return _trimmed(text.encode("latin-1").decode(encoding))
    except (UnicodeError, LookupError):
        return None


def _declared(value: bytes, encodings: list[str]) -> str | None:
    """`value` in its declared encodings, or None where it is not text of them."""
    if not encodings:
        return None
    try:
        if b"\x1b" not in value:
            return value.decode(encodings[0] if encodings[0] != "iso8859" or len(encodings) == 1 else encodings[-1])
        from pydicom.charset import decode_bytes

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return decode_bytes(value, encodings, {0x0A, 0x0C, 0x0D, 0x09, 0x5C})
    except (UnicodeError, LookupError, UserWarning, ValueError):
        return None


def _trimmed(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip(_AROUND)
