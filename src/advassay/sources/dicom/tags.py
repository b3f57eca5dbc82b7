"""What people wrote into tags → the few values a study uses. Every text that travels comes from a list in this file.

Hospitals write ages, views and body parts as they please, names among them; so nothing free passes: a value is
recognised, or it is "other" or unknown (None).
"""

from __future__ import annotations

import re
from datetime import date

OLDEST = 120.0
"""Years; beyond it an age is a slip of the pen (999Y) or a placeholder."""
DAYS_PER_YEAR = 365.2425
YEARS = range(1980, 2100)
"""Years of a study that are believed: computed radiography came in the 1980s; 1901 is what de-identifiers write."""
_PLACEHOLDER_BIRTHS = {date(1900, 1, 1), date(1901, 1, 1), date(1911, 11, 11), date(1970, 1, 1)}

_AGE = re.compile(r"0*(\d{1,4}) *([DWMY]?)(?:EARS?|RS?|O)?", re.IGNORECASE | re.ASCII)
_YEARS_EACH = {"D": 1 / DAYS_PER_YEAR, "W": 7 / DAYS_PER_YEAR, "M": 1 / 12, "Y": 1.0, "": 1.0}


def age_in_years(text: str | None) -> float | None:
    """(0010,1010) Patient's Age → years in (0, 120], or None where it is missing, illegible, zero or out of range.

    Legal is nnnD, nnnW, nnnM, nnnY (PS3.5 §6.2, VR AS). Also read: "45", "45Y", "045y", " 45 Y", "45 years". Zero is
    what systems write when they do not know (000Y), so it is unknown.

    >>> [age_in_years(text) for text in ("045Y", "45", "006M", "000Y", "999Y", "", "M045")]
    [45.0, 45.0, 0.5, None, None, None, None]
    """
    match = _AGE.fullmatch(re.sub(r"\s+", " ", (text or "").strip(" \0\t\r\n")))
    if match is None:
        return None
    return _in_range(int(match[1]) * _YEARS_EACH[match[2].upper()])


def age_at(birth: str | None, study: str | None) -> float | None:
    """Age at the study from (0010,0030) Patient's Birth Date: completed years, under one year as a fraction.

    >>> age_at("19400305", "20040826"), age_at("20040826", "19400305"), age_at("19000101", "20040826")
    (64.0, None, None)
    """
    born, seen = _date(birth), _date(study)
    if born is None or seen is None or born in _PLACEHOLDER_BIRTHS or seen.year not in YEARS:
        return None
    completed = seen.year - born.year - ((seen.month, seen.day) < (born.month, born.day))
    return _in_range(float(completed) if completed else (seen - born).days / DAYS_PER_YEAR)


def _in_range(years: float) -> float | None:
    return round(years, 4) if 0 < years <= OLDEST and round(years, 4) > 0 else None


def year_of(text: str | None) -> int | None:
    """Year of (0008,0020) Study Date, or None. The day stays behind: with a place it points at a person.

    >>> year_of("20040826"), year_of("2004.08.26"), year_of("19010101")
    (2004, 2004, None)
    """
    seen = _date(text)
    return seen.year if seen is not None and seen.year in YEARS else None


def _date(text: str | None) -> date | None:
    """VR DA: YYYYMMDD; also YYYY.MM.DD (ACR-NEMA, PS3.5 §6.2) and YYYY-MM-DD."""
    match = re.fullmatch(r"(\d{4})([.-]?)(\d\d)\2(\d\d)", (text or "").strip(" \0"), re.ASCII)
    if match is None:
        return None
    try:
        return date(int(match[1]), int(match[3]), int(match[4]))
    except ValueError:
        return None


_SEXES = {"F": ("F", "FEMALE", "W", "Ж", "ЖЕН", "MUJER"), "M": ("M", "MALE", "М", "МУЖ"), "O": ("O", "OTHER")}
_SEX = {word: sex for sex, words in _SEXES.items() for word in words}


def sex_of(text: str | None) -> str | None:
    """(0010,0040) Patient's Sex → F | M | O, or None.

    >>> [sex_of(text) for text in ("f ", "Male", "O", "", "U")]
    ['F', 'M', 'O', None, None]
    """
    return _SEX.get(_plain(text))


_VIEWS = {
    "PA": ("PA", "POSTEROANTERIOR", "POSTERO ANTERIOR", "POSTERIOR ANTERIOR"),
    "AP": ("AP", "ANTEROPOSTERIOR", "ANTERO POSTERIOR", "ANTERIOR POSTERIOR"),
    "lateral": ("LATERAL", "LAT", "LL", "RL", "LATERO", "LLAT", "RLAT", "L", "R", "LEFT", "RIGHT"),
    "oblique": ("OBLIQUE", "OBL", "LLO", "RLO", "LAO", "RAO", "LPO", "RPO"),
    "decubitus": ("DECUBITUS", "LLD", "RLD"),
}
VIEWS = (*_VIEWS, "other")
"""What `view` can be."""
_FREE_WORDS = {"CHEST", "THORAX", "ERECT", "SUPINE", "SITTING", "STANDING", "UPRIGHT", "VIEW", "PORTABLE", "PROJECTION"}


def view_of(text: str | None) -> str | None:
    """(0018,5101) View Position, or the meaning of a view's code → PA | AP | lateral | oblique | decubitus | other.

    None where nothing is stated. A text that holds words of two views is "other".

    >>> [view_of(text) for text in ("PA", "ap supine", "Left lateral", "postero-anterior", "AXIAL", "")]
    ['PA', 'AP', 'lateral', 'PA', 'other', None]
    """
    words = _plain(text)
    if not words:
        return None
    left = " ".join(word for word in words.split() if word not in _FREE_WORDS)
    for view, names in _VIEWS.items():
        if left in names:
            return view
    found = {view for view, names in _VIEWS.items() for word in left.split() if word in names}
    return found.pop() if len(found) == 1 else "other"


_PARTS = {
    "chest": ("CHEST", "THORAX", "LUNG", "LUNGS", "CXR"),
    "abdomen": ("ABDOMEN", "ABDOMINAL", "KUB"),
    "breast": ("BREAST", "MAMMA"),
    "spine": ("SPINE", "CSPINE", "TSPINE", "LSPINE", "SSPINE", "LUMBAR", "CERVICAL", "SACRUM", "COCCYX", "THORACIC"),
    "head": ("HEAD", "SKULL", "BRAIN", "FACE", "SINUS", "SINUSES", "ORBIT", "NOSE", "EAR"),
    "teeth": ("TOOTH", "TEETH", "JAW", "MANDIBLE", "MAXILLA", "DENTAL", "ORAL"),
    "neck": ("NECK", "LARYNX", "THYROID"),
    "pelvis": ("PELVIS", "HIP", "SIJOINT"),
    "arm": (
        "ARM",
        "HAND",
        "WRIST",
        "ELBOW",
        "SHOULDER",
        "HUMERUS",
        "FOREARM",
        "FINGER",
        "CLAVICLE",
        "SCAPULA",
        "THUMB",
    ),
    "leg": ("LEG", "KNEE", "ANKLE", "FOOT", "FEMUR", "TIBIA", "FIBULA", "TOE", "CALCANEUS", "PATELLA"),
    "extremity": ("EXTREMITY", "EXTREMITIES"),
    "whole body": ("WHOLEBODY", "WHOLE", "BODY"),
    "heart": ("HEART", "CORONARY"),
    "ribs": ("RIB", "RIBS", "STERNUM"),
}
BODY_PARTS = (*_PARTS, "other")
"""What `body_part` can be."""
_PART = {word: part for part, words in _PARTS.items() for word in words}


def body_part_of(text: str | None) -> str | None:
    """(0018,0015) Body Part Examined, or the meaning of an anatomic region's code → one part, "other", or None.

    Terms are those of PS3.16 CID 4 in groups. Two parts in one text ("CHEST ABDOMEN") are "other".

    >>> [body_part_of(text) for text in ("CHEST", "Port. chest", "HIP", "CHESTABDOMEN", "SMITH^JOHN", "")]
    ['chest', 'chest', 'pelvis', 'other', 'other', None]
    """
    words = _plain(text).split()
    if not words:
        return None
    found = {_PART[word] for word in words if word in _PART}
    return found.pop() if len(found) == 1 else "other"


MODALITIES = frozenset(
    (
        *("CR", "DX", "RG", "RF", "XA", "MG", "PX", "IO", "CT", "MR", "NM", "PT", "US", "OT", "SC", "SR", "ECG", "HD"),
        *("ES", "GM", "SM", "XC", "OP", "OPT", "IVUS", "BI", "BMD", "KO", "PR", "SEG", "RTIMAGE", "RTSTRUCT", "RTDOSE"),
        *("RTPLAN", "DOC", "AU", "EPS", "LS", "ST", "TG", "REG", "FID", "VL"),
    )
)
"""(0008,0060) Modality, defined terms of PS3.3 §C.7.3.1.1.1 that archives hold."""


def modality_of(text: str | None, sop_class: str | None = None) -> str | None:
    """A defined term, "other", or None; where the tag is empty, what the SOP Class says of CR and DX.

    >>> modality_of("cr"), modality_of("", "1.2.840.10008.5.1.4.1.1.1"), modality_of("John"), modality_of(None)
    ('CR', 'CR', 'other', None)
    """
    term = _plain(text)
    if not term:
        return _MODALITY_OF_CLASS.get(sop_class or "")
    return term if term in MODALITIES else "other"


_MODALITY_OF_CLASS = {
    "1.2.840.10008.5.1.4.1.1.1": "CR",  # Computed Radiography Image Storage
    "1.2.840.10008.5.1.4.1.1.1.1": "DX",  # Digital X-Ray Image Storage - For Presentation
    "1.2.840.10008.5.1.4.1.1.1.1.1": "DX",  # … - For Processing
}


def laterality_of(text: str | None) -> str | None:
    """(0020,0060) Laterality or (0020,0062) Image Laterality → L | R | B | U, or None."""
    term = _plain(text)
    return term if term in ("L", "R", "B", "U") else None


def _plain(text: str | None) -> str:
    """Upper case, every run of other signs than letters and digits one space."""
    return re.sub(r"[\W_]+", " ", text or "").strip().upper()
