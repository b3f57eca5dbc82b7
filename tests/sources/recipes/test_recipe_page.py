"""docs/datasets.md is what the recipes say."""

from __future__ import annotations

from pathlib import Path

from advassay.sources.datasets import card_names, datasets_page, load_card

PAGE = Path(__file__).parents[3] / "docs" / "datasets.md"


def test_the_page_is_written_from_the_recipes() -> None:
    assert PAGE.read_text(encoding="utf-8") == datasets_page(), (
        "run python -m advassay.sources.datasets.card_export docs/datasets.md"
    )


def test_every_reference_cohort_has_a_stand_in() -> None:
    stands_for = {cohort for name in card_names() for cohort in load_card(name).stands_for}
    assert stands_for == {"X-NR2", "X-NR3", "X-AO", "X-TB", "H-OV", "H-TH", "H-OV-TH", "H-BR"}
