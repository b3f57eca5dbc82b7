"""A whole study over a public data set, to start from: its recipe's source and cohorts, and the shipped arms."""

from __future__ import annotations

import shlex
from typing import Any

from advassay.study.shipped import DECIDING_ARM, SHIPPED_ARMS

_GRID = [0.02, 0.04, 0.06, 0.08, 0.10, 0.12, 0.14, 0.16, 0.18, 0.20]
_SIZE_PX = 128


def dataset_study(name: str, *, file: str = "study.yaml") -> str:
    """YAML of a study over the recipe `name`. Raises SourceError for an unknown name.

    `file`: how the text calls itself in its commands.
    """
    from advassay.sources.recipes.catalogue import recipe, recipe_data
    from advassay.sources.recipes.pasting import as_yaml, facts

    found, data = recipe(name), recipe_data(name)
    study: dict[str, Any] = {
        "name": found.name,
        "title": found.title,
        "seed": 0,
        "image_size_px": _SIZE_PX,
        "sources": data["sources"],
        "cohorts": data["cohorts"],
        "training": {"architecture": "inception_v3", "epochs": 6, "batch_size": 32, "learning_rate": 0.001},
        "attack": {"steps": 20, "images": 100, "arms": SHIPPED_ARMS | {"A": SHIPPED_ARMS["A"] | {"epsilons": _GRID}}},
        "analysis": {"arm": DECIDING_ARM},
    }
    return f"{facts(found)}#\n{_commands(found.name, shlex.quote(file))}{as_yaml(study)}"


def _commands(name: str, file: str) -> str:
    return (
        f"# FOLDER holds the set as `path` below names it; `advassay datasets check {name} FOLDER/...` looks at it.\n"
        f"#   advassay plan {file} --data FOLDER\n"
        f"#   advassay run {file} --data FOLDER --store runs/{name}\n"
    )
