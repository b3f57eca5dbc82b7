"""Names of classes that say that nothing was found."""

from __future__ import annotations

import re

from advassay.specs import Scalar

_NEGATIVE = re.compile(
    r"(?i)(^|[^a-z])(normal(s|2)?|norm|nor|benign|negative|neg|control(s)?|healthy|health|uninfected|"
    r"no[ _-]?(finding|tumou?r|cancer|disease|dr|lesion|pneumonia|fracture|covid)s?|non?[ _-][a-z]+|not?[ _-]?tumou?r|"
    r"nontumou?r|noncancer\w*|absent|background|none|n)([^a-z]|$)"
)
"""Names of classes that are not a finding."""


def is_negative(name: Scalar) -> bool:
    """Whether a class's name says that nothing was found.

    >>> [is_negative(name) for name in ("NORMAL", "No Finding", "lung_n", "benign", "pneumonia", "abnormal", 0)]
    [True, True, True, True, False, False, False]
    """
    return isinstance(name, str) and bool(_NEGATIVE.search(name))
