"""What starter studies are made of: the default arms, words for classes and views, a public data set's study."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from advassay.sources.folder_conventions import is_negative
from advassay.spec.rule_spec import Scalar

DEFAULT_ARMS: dict[str, dict[str, Any]] = {
    "A": {"update": "projected-sign", "loss": "cross-entropy", "step_sizes": [0.01]},
    "B": {
        "update": "projected-gradient",
        "loss": "probability",
        "step_sizes": [100],
        "epsilons": [0.02, 0.10, 0.20],
    },
    "C": {
        "update": "projected-sign",
        "loss": "margin",
        "step_sizes": ["epsilon/4"],
        "epsilons": [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02],
    },
}
"""A: the main curves. B: the formula of the reference study (Kovalev & Voynov 2019, formula 1), with a gain that moves
pixels. C: a loss that does not saturate and steps fine enough for the small ε where undefended networks fall."""

DECIDING_ARM = "C"
"""The one whose amplitudes span the range in which success rises: analysis.arm of shipped and starter studies."""


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


_GRID = [0.02, 0.04, 0.06, 0.08, 0.10, 0.12, 0.14, 0.16, 0.18, 0.20]
_SIZE_PX = 128


def dataset_study(name: str, *, file: str = "study.yaml") -> str:
    """YAML of a study over the recipe `name`. Raises SourceError for an unknown name.

    `file`: how the text calls itself in its commands.
    """
    from advassay.sources.datasets.card_export import as_yaml, facts
    from advassay.sources.datasets.dataset_card import load_card, recipe_data

    found, data = load_card(name), recipe_data(name)
    study: dict[str, Any] = {
        "name": found.name,
        "title": found.title,
        "seed": 0,
        "image_size_px": _SIZE_PX,
        "sources": data["sources"],
        "cohorts": data["cohorts"],
        "training": {"architecture": "inception_v3", "epochs": 6, "batch_size": 32, "learning_rate": 0.001},
        "attack": {"steps": 20, "images": 100, "arms": DEFAULT_ARMS | {"A": DEFAULT_ARMS["A"] | {"epsilons": _GRID}}},
        "analysis": {"arm": DECIDING_ARM},
    }
    return f"{facts(found)}#\n{_commands(found.name, shlex.quote(file))}{as_yaml(study)}"


def _commands(name: str, file: str) -> str:
    return (
        f"# FOLDER holds the set as `path` below names it; `advassay datasets check {name} FOLDER/...` looks at it.\n"
        f"#   advassay plan {file} --data FOLDER\n"
        f"#   advassay run {file} --data FOLDER --store runs/{name}\n"
    )
