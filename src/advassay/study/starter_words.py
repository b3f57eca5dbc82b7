"""What a starter study goes by: which class is the finding, which views and modalities are kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from advassay.sources.class_words import is_negative
from advassay.specs import Scalar

_FRONTAL = re.compile(r"(?i)^\W*(pa|ap|postero-?anterior|antero-?posterior|frontal)\b")
_VIEWS = {"view", "view_position", "viewposition", "projection", "patient_view"}
_XRAY = re.compile(r"(?i)^\W*(x[\s-]?ray|cr|dx|radiograph\w*|xr)\W*$")
_MODALITIES = {"modality", "image_modality", "type"}


def positive_class(classes: Iterable[Scalar]) -> Scalar | None:
    """The one class that is a finding beside classes that are none; None where names do not say which.

    >>> positive_class(["NORMAL", "PNEUMONIA"]), positive_class(["COVID", "Normal", "Viral"]), positive_class([0, 1])
    ('PNEUMONIA', None, None)
    """
    names = list(classes)
    findings = [name for name in names if not is_negative(name)]
    return findings[0] if len(findings) == 1 and len(names) > 1 else None


def suggested_rules(values: Mapping[str, Mapping[Scalar, int]], image_type: str | None) -> dict[str, list[Scalar]]:
    """Column → values to keep: of views the frontal ones, of modalities X-ray, of parts of folders the images.

    Only where the column also holds others.
    """
    rules = {}
    for name, counts in values.items():
        plain = re.sub(r"\W+", "_", name.strip()).lower()
        kept: list[Scalar] = []
        if plain in _VIEWS and image_type == "X-ray":
            kept = [value for value in counts if _FRONTAL.search(str(value)) and not is_lateral(value)]
        elif plain in _MODALITIES and image_type == "X-ray":
            kept = [value for value in counts if _XRAY.search(str(value))]
        elif plain == "part":
            kept = [value for value in counts if str(value).casefold() in ("images", "image", "imgs", "img")]
        if kept and len(kept) < len(counts):
            rules[name] = kept
    return rules


def is_lateral(value: Scalar) -> bool:
    """Whether a view's name also says lateral: "PA and lateral" is a pair of films."""
    return bool(re.search(r"(?i)lat|\bLL\b", str(value)))
