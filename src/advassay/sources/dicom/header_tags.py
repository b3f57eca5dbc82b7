"""The elements of a header by keyword: text in its character set, words, numbers and codes.

Keywords and tags as in PS3.6. Only what is asked for is checked: pydicom's checks of each value cost more than reading.
"""

from __future__ import annotations

import struct
import unicodedata
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

# ---- bytes → text, by (0008,0005), and where that is absent or wrong -------------------------------------------------

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


# ---- elements --------------------------------------------------------------------------------------------------------

TAGS = {
    "SpecificCharacterSet": 0x00080005,
    "ImageType": 0x00080008,
    "SOPClassUID": 0x00080016,
    "SOPInstanceUID": 0x00080018,
    "StudyDate": 0x00080020,
    "SeriesDate": 0x00080021,
    "AcquisitionDate": 0x00080022,
    "ContentDate": 0x00080023,
    "AcquisitionDateTime": 0x0008002A,
    "AccessionNumber": 0x00080050,
    "Modality": 0x00080060,
    "ConversionType": 0x00080064,
    "PresentationIntentType": 0x00080068,
    "StudyDescription": 0x00081030,
    "SeriesDescription": 0x0008103E,
    "DerivationDescription": 0x00082111,
    "AnatomicRegionSequence": 0x00082218,
    "PatientID": 0x00100020,
    "PatientBirthDate": 0x00100030,
    "PatientSex": 0x00100040,
    "PatientAge": 0x00101010,
    "BodyPartExamined": 0x00180015,
    "ProtocolName": 0x00181030,
    "ImagerPixelSpacing": 0x00181164,
    "AcquisitionDeviceProcessingDescription": 0x00181400,
    "TomoLayerHeight": 0x00181460,
    "TomoAngle": 0x00181470,
    "TomoType": 0x00181490,
    "TomoClass": 0x00181491,
    "ViewPosition": 0x00185101,
    "FieldOfViewRotation": 0x00187032,
    "FieldOfViewHorizontalFlip": 0x00187034,
    "ContentQualification": 0x00189004,
    "StudyInstanceUID": 0x0020000D,
    "SeriesInstanceUID": 0x0020000E,
    "PatientOrientation": 0x00200020,
    "Laterality": 0x00200060,
    "ImageLaterality": 0x00200062,
    "SamplesPerPixel": 0x00280002,
    "PhotometricInterpretation": 0x00280004,
    "NumberOfFrames": 0x00280008,
    "Rows": 0x00280010,
    "Columns": 0x00280011,
    "PixelSpacing": 0x00280030,
    "PixelAspectRatio": 0x00280034,
    "BitsAllocated": 0x00280100,
    "BitsStored": 0x00280101,
    "QualityControlImage": 0x00280300,
    "BurnedInAnnotation": 0x00280301,
    "WindowWidth": 0x00281051,
    "VOILUTFunction": 0x00281056,
    "VOILUTSequence": 0x00283010,
    "PerformedProcedureStepDescription": 0x00400254,
    "ViewCodeSequence": 0x00540220,
}
"""Keyword → tag, of all that is read."""


class Code(NamedTuple):
    """(0008,0100) Code Value, (0008,0102) Coding Scheme Designator, (0008,0104) Code Meaning."""

    value: str | None
    scheme: str | None
    meaning: str | None


class Tags:
    """The elements of a data set. `found`: a pydicom Dataset read with `specific_tags`; keywords are those of TAGS."""

    def __init__(self, found: Any) -> None:
        self._found = found
        self._elements = {int(tag): found.get_item(tag) for tag in found.keys()}  # noqa: SIM118 (iterates elements)
        self.encodings = encodings_of(self._ascii("SpecificCharacterSet"))

    def has(self, tag: int) -> bool:
        """Whether the element is there with a value."""
        value = self._elements[tag].value if tag in self._elements else None
        return bool(value.strip(b" \0") if isinstance(value, bytes) else value)

    def decoded(self, keyword: str) -> DecodedText | None:
        """The element's text and whether it is broken; None where it is absent or empty."""
        tag = TAGS[keyword]
        value = self._elements[tag].value if tag in self._elements else None
        if not value:
            return None
        if isinstance(value, bytes):
            decoded = decode_text(value, self.encodings)
        else:
            value = self._found[tag].value
            decoded = DecodedText(
                ("\\".join(map(str, value)) if isinstance(value, list | tuple) else str(value)).strip(" \0")
            )
        return decoded if decoded.text else None

    def text(self, keyword: str) -> str | None:
        """The element's text, trimmed, by (0008,0005) Specific Character Set; None where it is absent or empty."""
        decoded = self.decoded(keyword)
        return decoded.text if decoded else None

    def word(self, keyword: str, read: Callable[[str | None], str | None]) -> str | None:
        """What `read` makes of the element's text. Where it recognises nothing in the declared character set (archives
        write none, or a wrong one), the first of a few others in which it does."""
        decoded = self.decoded(keyword)
        plain = read(decoded.text if decoded and not decoded.broken else None)
        value = self._elements[TAGS[keyword]].value if TAGS[keyword] in self._elements else None
        if plain not in (None, "other") or not isinstance(value, bytes) or value.isascii():
            return plain
        for encoding in GUESSES:
            found = read(in_encoding(value.decode("latin-1"), encoding))
            if found not in (None, "other"):
                return found
        return plain

    def number(self, keyword: str) -> int | None:
        """The element's whole number (VR US or IS), or None."""
        tag = TAGS[keyword]
        raw = self._elements.get(tag)
        if raw is None or raw.value in (None, b"", ""):
            return None
        if isinstance(raw.value, bytes) and len(raw.value) == 2 and keyword != "NumberOfFrames":
            return int(struct.unpack("<H" if raw.is_little_endian else ">H", raw.value)[0])
        return int(self._found[tag].value)

    def numbers(self, keyword: str) -> list[float]:
        """Numbers of a text element with several values ("0.2\0.2"); [] where one is no number."""
        try:
            return [float(part) for part in (self.text(keyword) or "").strip("[]").split("\\") if part.strip()]
        except ValueError:
            return []

    def code(self, keyword: str) -> Code | None:
        """The first item of a code sequence, or None."""
        if not self.has(TAGS[keyword]):
            return None
        try:
            item = self._found[TAGS[keyword]].value[0]
            value = item.get("CodeValue") or item.get("LongCodeValue")
            scheme, meaning = item.get("CodingSchemeDesignator"), item.get("CodeMeaning")
        except (AttributeError, IndexError, KeyError, TypeError):
            return None
        return Code(*(str(part).strip() if part else None for part in (value, scheme, meaning)))

    def _ascii(self, keyword: str) -> str | None:
        raw = self._elements.get(TAGS[keyword])
        if raw is None or not raw.value:
            return None
        if isinstance(raw.value, bytes):
            return raw.value.decode("ascii", "ignore")
        return raw.value if isinstance(raw.value, str) else "\\".join(map(str, raw.value))
