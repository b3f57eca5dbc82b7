"""All recipes there are: one YAML file each, MedMNIST's sets from one table."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from advassay.errors import SourceError
from advassay.sources.nearest import did_you_mean
from advassay.sources.recipes.medmnist import medmnist_recipes
from advassay.sources.recipes.recipe_spec import Recipe

_FAMILY = "medmnist.yaml"


def recipe_names() -> list[str]:
    """Names of all recipes, in alphabetical order."""
    return sorted(_texts())


def recipe(name: str) -> Recipe:
    """The recipe `name`, without regard to case. Raises SourceError where there is none of that name."""
    return Recipe.model_validate(recipe_data(name))


def recipe_data(name: str) -> dict[str, Any]:
    """The recipe as written, its cohort rules in their short form. Raises SourceError for an unknown name."""
    known = _texts()
    if name.lower() not in known:
        fix = f"{did_you_mean(name, known)}See `advassay datasets`."
        raise SourceError(f"recipe: one of {', '.join(sorted(known))}; got {name!r}.", fix)
    return known[name.lower()]


@cache
def _texts() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(files(__package__).joinpath("sets").iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".yaml"):
            continue
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
        for one in medmnist_recipes(data) if file.name == _FAMILY else [data]:
            found[one["name"]] = one
    return found
