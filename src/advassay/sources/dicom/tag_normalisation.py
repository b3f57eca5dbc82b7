"""What people wrote into tags, and PS3.16's codes → the few values a study uses.

Every text that travels comes from a list in this file. Hospitals write ages, views and body parts as they please, names
among them; so nothing free passes: a value is recognised, or it is "other" or unknown (None).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date

from advassay.sources.dicom.tag_vocabulary import (
    FREE_WORDS,
    PARTS,
    SEXES,
    SIDE_WORDS,
    VAGUE_PARTS,
    VIEW_PHRASES,
    fold,
    fold_words,
    stands_for_nothing,
)

OLDEST = 120.0
"""Years; beyond it an age is a slip of the pen (999Y) or a placeholder."""
DAYS_PER_YEAR = 365.2425
YEARS = range(1980, 2100)
"""Years of a study that are believed: computed radiography came in the 1980s; 1901 is what de-identifiers write."""
_PLACEHOLDER_BIRTHS = {date(1900, 1, 1), date(1901, 1, 1), date(1911, 11, 11), date(1970, 1, 1)}

_AGE = re.compile(r"0*([0-9]{1,4}) *([^\W\d_]*)\.?")
_UNITS = {
    1 / DAYS_PER_YEAR: "D,DAY,DAYS,DIA,DIAS,TAG,TAGE,ДН,ДНЕЙ",
    7 / DAYS_PER_YEAR: "W,WK,WEEK,WEEKS,WOCHE,WOCHEN,НЕД",
    1 / 12: "M,MO,MOS,MONTH,MONTHS,MES,MESES,MOIS,MONAT,MONATE,МЕС",
    1.0: "Y,YR,YRS,YEAR,YEARS,YO,A,AN,ANS,ANO,ANOS,ANNI,J,JAHR,JAHRE,JAAR,Г,ГОД,ГОДА,ЛЕТ,LAT,LATA,岁,歳,세",
}
_YEARS_EACH = {"": 1.0} | {fold(word): years for years, words in _UNITS.items() for word in words.split(",")}


def age_in_years(text: str | None) -> float | None:
    """(0010,1010) Patient's Age → years in (0, 120], or None where it is missing, illegible, zero or out of range.

    Legal is nnnD, nnnW, nnnM, nnnY (PS3.5 §6.2, VR AS). Also read: "45", "45Y", "045y", " 45 Y", "45 years", "45 años",
    "45 лет". Zero is what systems write when they do not know (000Y), so it is unknown.

    >>> [age_in_years(text) for text in ("045Y", "45", "006M", "000Y", "999Y", "", "M045")]
    [45.0, 45.0, 0.5, None, None, None, None]
    """
    match = _AGE.fullmatch(re.sub(r"\s+", " ", (text or "").strip(" \0\t\r\n")))
    unit = fold(match[2]) if match else ""
    if match is None or unit not in _YEARS_EACH:
        return None
    return _in_range(int(match[1]) * _YEARS_EACH[unit])


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


def age_at_any(birth: str | None, dates: Iterable[str | None]) -> float | None:
    """Age by the first of several dates (study, series, acquisition, content) that gives one.

    >>> age_at_any("19700305", ["", "00000000", "20200101"])
    49.0
    """
    ages = (age_at(birth, seen) for seen in dates)
    return next((age for age in ages if age is not None), None)


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


def sex_of(text: str | None) -> str | None:
    """(0010,0040) Patient's Sex → F | M | O, or None. M is a man in every language, as the standard says.

    >>> [sex_of(text) for text in ("f ", "Male", "Ж", "Mujer", "Hombre", "O", "", "U")]
    ['F', 'M', 'F', 'F', 'M', 'O', None, None]
    """
    return SEXES.get(fold(text))


VIEWS = ("PA", "AP", "lateral", "oblique", "decubitus", "other")
"""What `view` can be."""
FRONTAL = frozenset(("PA", "AP"))
SIDEWAYS = frozenset(("lateral", "oblique", "decubitus"))


def view_of(text: str | None) -> str | None:
    """(0018,5101) View Position, or the meaning of a view's code → PA | AP | lateral | oblique | decubitus | other.

    None where nothing is stated, or only that it is frontal. A text that holds words of two views is "other".

    >>> [view_of(text) for text in ("PA", "ap supine", "Left lateral", "postero-anterior", "AXIAL", "", "UNKNOWN")]
    ['PA', 'AP', 'lateral', 'PA', 'other', None, None]
    """
    words = fold_words(text)
    left = [word for word in words.split() if word not in FREE_WORDS and not word.isdigit()]
    if not left or stands_for_nothing(text):
        return None
    found = _views_in(words)
    if not found and set(left) <= SIDE_WORDS:
        return "lateral"
    return _one_view(found - {"lateral"} if "decubitus" in found else found) or "other"


def view_in(text: str | None) -> str | None:
    """The view that a series' or protocol's description names; None where it names none, or both PA and AP.

    A description of a frontal view and another one belongs to several images: "other", so that a lateral one is never
    taken for a frontal one.

    >>> [view_in(text) for text in ("W034 Chest LATERAL", "Thorax pa", "CHEST PA/LAT", "Chest", "HAND L", "AP/PA")]
    ['lateral', 'PA', 'other', None, None, None]
    """
    found = _views_in(_apart(fold_words(text)))
    if not found or found == FRONTAL:
        return None
    return _one_view(found - {"lateral"} if found & {"decubitus", "oblique"} else found) or "other"


def _one_view(found: set[str]) -> str | None:
    return next(iter(found)) if len(found) == 1 else None


def _views_in(folded: str) -> set[str]:
    """Views of the phrases in a folded text; a phrase inside a longer one ("POSTERO ANTERIOR") does not count again."""
    words, found, place = folded.split(), set(), 0
    while place < len(words):
        for length in (3, 2, 1):
            view = VIEW_PHRASES.get(" ".join(words[place : place + length]))
            if view is not None and place + length <= len(words):
                found.add(view)
                place += length - 1
                break
        place += 1
    return found


_GLUED = re.compile(
    r"\b(CHEST|THORAX|TORAX|CXR|LUNG)(?=(?:PA|AP|LAT|LATERAL)\b)|\b(PA|AP|LAT|LATERAL)(?=(?:CHEST|THORAX|CXR)\b)"
)


def _apart(folded: str) -> str:
    """CHESTPA as CHEST PA."""
    return _GLUED.sub(lambda match: f"{match[0]} ", folded)


BODY_PARTS = (*dict.fromkeys(PARTS.values()), "other")
"""What `body_part` can be."""


def body_part_of(text: str | None) -> str | None:
    """(0018,0015) Body Part Examined, or the meaning of an anatomic region's code → one part, "other", or None.

    Terms are those of PS3.16 CID 4 in groups. Two parts in one text ("CHEST ABDOMEN") are "other".

    >>> [body_part_of(text) for text in ("CHEST", "Port. chest", "HIP", "TÓRAX", "CHESTABDOMEN", "SMITH^JOHN", "NONE")]
    ['chest', 'chest', 'pelvis', 'chest', 'other', 'other', None]
    """
    if stands_for_nothing(text):
        return None
    found = {PARTS[word] for word in fold_words(text).split() if word in PARTS}
    return found.pop() if len(found) == 1 else "other"


def body_part_in(text: str | None) -> str | None:
    """The body part that a description names: one, "other" where it names several, None where it names none.

    >>> [body_part_in(text) for text in ("XR CHEST PA", "Thorax de face", "RX PIE", "HAND 2", "CHEST ABDOMEN")]
    ['chest', 'chest', None, 'arm', 'other']
    """
    words = [word for word in _apart(fold_words(text)).split() if word not in VAGUE_PARTS]
    found = {PARTS[word] for word in words if word in PARTS}
    if "chest" in found:
        found.discard("heart")  # "chest (heart and lungs)"
    if not found:
        return None
    return found.pop() if len(found) == 1 else "other"


MODALITIES = frozenset(
    (
        *("CR", "DX", "RG", "RF", "XA", "MG", "PX", "IO", "CT", "MR", "NM", "PT", "US", "OT", "SC", "SR", "ECG", "HD"),
        *("ES", "GM", "SM", "XC", "OP", "OPT", "IVUS", "BI", "BMD", "KO", "PR", "SEG", "RTIMAGE", "RTSTRUCT", "RTDOSE"),
        *("RTPLAN", "DOC", "AU", "EPS", "LS", "ST", "TG", "REG", "FID", "VL"),
    )
)
"""(0008,0060) Modality, defined terms of PS3.3 §C.7.3.1.1.1 that archives hold."""


RESPELLED = {"DR": "DX", "XR": "DX", "RX": "DX"}
"""What makers write for radiographs although no defined term → the term."""


def modality_of(text: str | None, sop_class: str | None = None) -> str | None:
    """A defined term, "other", or None; where the tag is empty, what the SOP Class says of CR and DX.

    >>> modality_of("cr"), modality_of("", "1.2.840.10008.5.1.4.1.1.1"), modality_of("John"), modality_of(None)
    ('CR', 'CR', 'other', None)
    >>> modality_of("DR")
    'DX'
    """
    term = _plain(text)
    term = RESPELLED.get(term, term)
    if not term or stands_for_nothing(term):
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
    return term if term in ("L", "R", "B", "U") else {"LEFT": "L", "RIGHT": "R", "BOTH": "B"}.get(term)


def _plain(text: str | None) -> str:
    """Upper case, every run of other signs than letters and digits one space."""
    return re.sub(r"[\W_]+", " ", text or "").strip().upper()


# ---- codes of views and regions (PS3.16), and which way a radiograph lies --------------------------------------------

_SCHEMES = frozenset({"SCT", "SRT", "SNM3", "99SDM"})

# CID 4010 DX View; 4014 View for Mammography is not listed, since its views are of the breast
_VIEWS = {
    "PA": "272479007 R-10214 R-40888",
    "AP": "399348003 R-10206",
    "lateral": "399067008 R-102CD 399173006 R-10236 399198007 R-10232 399352003 R-10228 399260004 R-10224",
    "oblique": "399312000 R-10208 399160007 R-10204 399132005 R-10252 260427002 R-40783 399099002 R-10230 399135007 "
    "R-10220 399184004 R-10238 399006002 R-10212 260426006 R-40782 399368009 R-10226 399004004 R-10246 "
    "399225005 R-10250 399288005 R-10248 399182000 R-102C1 399059000 R-10216 399356000 R-40985 399236003 "
    "R-10234 399038007 R-10210 399325008 R-10254",
    "": "399033003 R-10202",  # frontal: from the front or from the back is not said
}
_VIEW = {code: view for view, codes in _VIEWS.items() for code in codes.split()}

# CID 4 Anatomic Region, 4009 DX Anatomy Imaged, 4031 Common Anatomic Regions; regions of no group are "other"
_PARTS = {
    "chest": "51185008 T-D3000 816094009 43799004 T-D3200 39607008 T-28000 86598002 T-280A0",
    "abdomen": "818981001 113345001 T-D4000 50519007 T-D4110 48544008 T-D4120 86367003 T-D4130 68505006 T-D4140",
    "breast": "76752008 T-04000 77831004 T-04002 19100000 T-04003 76365002 T-04004 33564002 T-04005",
    "spine": "421060004 T-D04FF 122494005 T-11501 122495006 T-11502 122496007 T-11503 54735007 T-11AD0 64688005 "
    "T-11BF0 1217254007 1217256009 1217257000 1217253001 52612000 T-D2300 1017210004 1017211000",
    "head": "69536005 T-D1100 89546000 T-11100 89545001 T-D1200 91397008 T-11196 2095001 T-22000 45206002 T-21000 "
    "363654007 T-D14AE 12738006 T-A0100 74386004 T-11149 59066005 T-11133 42575006 T-D1460 117590005 T-AB001 13881006 "
    "T-11166 79361005 T-15200",
    "teeth": "91609006 T-11180 70925003 T-11170 661005 T-D1213 123851003 T-D0662 53620006 T-15290",
    "neck": "45048000 T-D1600 4596009 T-24100 69748006 T-B6000 44567001 T-25000 312535008 T-20101 54066008 T-55000 "
    "77621008 T-D1620",
    "pelvis": "816092008 12921003 T-D6000 29836001 T-D2500 24136001 T-15710 39723000 T-15680 22356005 T-12340",
    "arm": "53120007 T-D8000 40983000 T-D8200 14975008 T-D8500 85562004 T-D8700 7569003 T-D8800 76505004 T-D8810 "
    "74670003 T-15460 16953009 T-15430 16982005 T-D2220 85050009 T-12410 51299004 T-12310 79601000 T-12280 85856004 "
    "T-15420 7844006 T-15610 371195002 T-D0821",
    "leg": "61685007 T-D9000 68367000 T-D9100 72696002 T-D9200 30021000 T-D9400 56459004 T-D9700 29707007 T-D9800 "
    "70258002 T-15750 27949001 T-15770 71341001 T-12710 64234005 T-12730 12611008 T-12740 87342007 T-12750 80144004 "
    "T-12770 58742003 T-12980 72001000 T-12700",
    "extremity": "66019005 T-D0300",
    "whole body": "38266002 T-D0010",
    "heart": "80891009 T-32000",
    "ribs": "113197003 T-11300 56873002 T-11210",
}
_PART = {code: part for part, codes in _PARTS.items() for code in codes.split()}


def view_of_code(value: str | None, scheme: str | None) -> str | None:
    """The view of a code: a word of tags.VIEWS, "" for a frontal view that does not say more, "other" for a SNOMED code
    of another view, None where the code is absent or of another scheme.

    >>> view_of_code("R-10236", "SRT"), view_of_code("272479007", "SCT"), view_of_code("1", "99ACME")
    ('lateral', 'PA', None)
    """
    return _VIEW.get(value or "", "other") if value and scheme in _SCHEMES else None


def part_of_code(value: str | None, scheme: str | None) -> str | None:
    """The body part of a code: a word of tags.BODY_PARTS, "other" for a SNOMED code of another region, or None.

    >>> part_of_code("T-D3000", "SRT"), part_of_code("56459004", "SCT"), part_of_code(None, "SCT")
    ('chest', 'leg', None)
    """
    return _PART.get(value or "", "other") if value and scheme in _SCHEMES else None


ORIENTATIONS = {
    ("L", "F"): "standard",
    ("R", "F"): "mirrored",
    ("L", "H"): "upside down",
    ("R", "H"): "rotated by 180°",
    **{(along, across): "lying" for along in "HF" for across in "LR"},
}
"""First letters of rows and columns → what rules see, of a frontal image."""
_SIDEWAYS = {(along, across): "standard" for along in "AP" for across in "F"}


def orientation_words(first: str | None, second: str | None) -> str | None:
    """What the two values of Patient Orientation say: a value of ORIENTATIONS, "other", or None where they are not
    stated. Only the first letter of each counts: the rest says how far it leans.

    >>> [orientation_words(*pair) for pair in (("R", "F"), ("LA", "F"), ("A", "F"), ("", ""))]
    ['mirrored', 'standard', 'standard', None]
    """
    letters = (first or "").strip().upper()[:1], (second or "").strip().upper()[:1]
    if not all(letters):
        return None
    return ORIENTATIONS.get(letters) or _SIDEWAYS.get(letters) or "other"
