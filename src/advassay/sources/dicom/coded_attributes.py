"""Code values of views and regions (PS3.16), and which way a radiograph lies, as the words rules use."""

from __future__ import annotations

from typing import Any

import numpy as np

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


def orientation_of(ds: Any) -> tuple[str, str] | None:
    """Letters of rows and columns of a frontal image; None where they are not stated or not of a frontal image."""
    stated = ds.get("PatientOrientation")
    parts = [str(part).strip().upper()[:1] for part in stated] if stated and not isinstance(stated, str) else []
    letters = tuple(parts)
    return letters if letters in ORIENTATIONS else None  # type: ignore[return-value]


def turned(image: np.ndarray, letters: tuple[str, str] | None) -> np.ndarray:
    """`image` turned and mirrored until its rows lead to the patient's left and its columns to the feet.

    >>> turned(np.array([[1, 2], [3, 4]]), ("R", "F")).tolist(), turned(np.array([[1, 2], [3, 4]]), ("F", "L")).tolist()
    ([[2, 1], [4, 3]], [[1, 3], [2, 4]])
    """
    if letters is None or letters == ("L", "F"):
        return image
    along, down = letters
    if along in "HF":
        image, along, down = image.T, down, along
    if along == "R":
        image = image[:, ::-1]
    if down == "H":
        image = image[::-1]
    return image.copy()
