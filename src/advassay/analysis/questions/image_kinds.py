"""Names that image types go by."""

from __future__ import annotations

SYNONYMS = {
    "X-ray": {
        "x ray", "x rays", "xray", "xrays", "cxr", "radiograph", "radiographs", "radiography", "chest x ray",
        "chest x rays", "chest xray", "chest radiograph", "chest radiographs", "chest radiography",
    },
    "histology": {
        "histology", "histological", "histopathology", "histopathological", "pathology", "digital pathology",
        "microscopy", "light microscopy",
    },
}  # fmt: skip
"""Image type → other names for it, in lower case with spaces for hyphens."""


def kind_of(image_type: str | None) -> str:
    """The image type that a cohort's free text names; the text itself where it is none of the known ones.

    >>> kind_of("Chest X-Ray"), kind_of("histopathology"), kind_of("fundus"), kind_of(None)
    ('X-ray', 'histology', 'fundus', '')
    """
    name = " ".join((image_type or "").lower().replace("-", " ").replace("_", " ").split())
    return next((kind for kind, names in SYNONYMS.items() if name in names), (image_type or "").strip())
