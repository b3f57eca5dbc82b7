"""A recipe as text: facts as comments, its sources and cohorts as YAML that a study takes as it is."""

from __future__ import annotations

import textwrap
from typing import Any

import yaml

from advassay.sources.recipes.catalogue import recipe, recipe_data
from advassay.sources.recipes.recipe_spec import Recipe


def study_blocks(name: str) -> str:
    """The recipe `name` with its `sources:` and `cohorts:` blocks. Raises SourceError for an unknown name."""
    found, data = recipe(name), recipe_data(name)
    blocks = {"sources": data["sources"], "cohorts": data["cohorts"]}
    return f"{facts(found)}\n{as_yaml(blocks)}"


def facts(found: Recipe) -> str:
    """What is known of the set, as comment lines."""
    lines = [f"{found.title} ({found.name})", f"images: {found.images}", f"pixels: {found.pixels}"]
    lines += [f"patients: {found.patients}", f"download: {found.size}", f"licence: {found.licence}"]
    lines += [f"cite: {found.citation}", f"ask for it: {found.ask}"]
    lines += [f"stands in for {cohort}: {why}" for cohort, why in found.stands_for.items()]
    lines += [f"note: {note}" for note in found.notes] + [f"source of facts: {fact}" for fact in found.facts]
    if found.layout:
        lines.append(f"columns: {', '.join(found.layout.columns())}")
    return "".join(_comment(line) for line in lines)


def _comment(line: str) -> str:
    return textwrap.fill(line, 118, initial_indent="# ", subsequent_indent="#   ", break_on_hyphens=False) + "\n"


class _Written(yaml.SafeDumper):
    """Short lists and rules stay on one line, as people write them; no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def as_yaml(data: dict[str, Any]) -> str:
    """Block style with short inner mappings on one line, in the order given."""
    return yaml.dump(data, Dumper=_Written, sort_keys=False, allow_unicode=True, width=118, default_flow_style=None)
