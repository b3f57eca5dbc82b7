"""docs/datasets.md, from the recipes: a test writes it anew and compares, so that it cannot fall behind.

python -m advassay.sources.recipes.page docs/datasets.md
"""

from __future__ import annotations

import sys
from pathlib import Path

from advassay.sources.recipes.catalogue import recipe, recipe_names
from advassay.sources.recipes.recipe_spec import Recipe

_HEAD = """\
<!-- Written by `python -m advassay.sources.recipes.page docs/datasets.md`. Do not edit: change the recipes. -->

# Public data sets that can stand in

The reference study's images are private. These are the public sets a researcher would use in place of each of its
cohorts, and what they share with them. `advassay datasets show NAME` prints the source and cohort rules to paste into a
study; `advassay datasets check NAME FOLDER` says what a folder lacks.
"""
_COHORTS = ("X-NR2", "X-NR3", "X-AO", "X-TB", "H-OV", "H-TH", "H-OV-TH", "H-BR")


def datasets_page() -> str:
    """The whole page as Markdown."""
    recipes = [recipe(name) for name in recipe_names()]
    return "\n".join([_HEAD, _by_cohort(recipes), *map(_section, recipes)])


def _by_cohort(recipes: list[Recipe]) -> str:
    lines = ["| reference cohort | stand-ins |", "|---|---|"]
    for cohort in _COHORTS:
        names = [f"[{one.name}](#{one.name})" for one in recipes if cohort in one.stands_for]
        lines.append(f"| {cohort} | {', '.join(names)} |")
    return "\n".join(lines) + "\n"


def _section(found: Recipe) -> str:
    rows = {
        "images": found.images,
        "pixels": found.pixels,
        "patients": found.patients,
        "download": found.size,
        "licence": found.licence,
        "cite": found.citation,
        "ask for it": found.ask,
        "cohorts": "; ".join(f"{name}: {cohort.title}" for name, cohort in found.cohorts.items()),
    }
    table = "\n".join(f"| {key} | {_cell(value)} |" for key, value in rows.items())
    parts = [f"## {found.name}\n", f"{found.title}, {found.image_type}.\n", f"| | |\n|---|---|\n{table}\n"]
    bullets = [f"- Stands in for {cohort}: {why}." for cohort, why in found.stands_for.items()]
    bullets += [f"- {note}" for note in found.notes] + [f"- Source: {fact}" for fact in found.facts]
    return "\n".join([*parts, *bullets]) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(datasets_page(), encoding="utf-8")
