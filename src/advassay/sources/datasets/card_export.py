"""A card as text: YAML that a study takes as it is, and the page docs/datasets.md."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Any

import yaml

from advassay.sources.datasets.dataset_card import DatasetCard, card_names, load_card, recipe_data


def study_blocks(name: str) -> str:
    """The recipe `name` with its `sources:` and `cohorts:` blocks. Raises SourceError for an unknown name."""
    found, data = load_card(name), recipe_data(name)
    blocks = {"sources": data["sources"], "cohorts": data["cohorts"]}
    return f"{facts(found)}\n{as_yaml(blocks)}"


def facts(found: DatasetCard) -> str:
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


_HEAD = """\
<!-- Written by `python -m advassay.sources.datasets.card_export docs/datasets.md`. Do not edit: change the recipes. -->

# Public data sets that can stand in

The reference study's images are private. These are the public sets a researcher would use in place of each of its
cohorts, and what they share with them. `advassay datasets show NAME` prints the source and cohort rules to paste into a
study; `advassay datasets check NAME FOLDER` says what a folder lacks.
"""
_COHORTS = ("X-NR2", "X-NR3", "X-AO", "X-TB", "H-OV", "H-TH", "H-OV-TH", "H-BR")


def datasets_page() -> str:
    """The whole page as Markdown."""
    recipes = [load_card(name) for name in card_names()]
    return "\n".join([_HEAD, _by_cohort(recipes), *map(_section, recipes)])


def _by_cohort(recipes: list[DatasetCard]) -> str:
    lines = ["| reference cohort | stand-ins |", "|---|---|"]
    for cohort in _COHORTS:
        names = [f"[{one.name}](#{one.name})" for one in recipes if cohort in one.stands_for]
        lines.append(f"| {cohort} | {', '.join(names)} |")
    return "\n".join(lines) + "\n"


def _section(found: DatasetCard) -> str:
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
