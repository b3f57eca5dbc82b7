"""The cohorts that the shipped studies declare."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import yaml

from advassay.cohorts import open_cohort, prepare
from advassay.cohorts.selection import select
from advassay.cohorts.selection_counts import SelectionCounts
from advassay.sources import open_source
from advassay.spec.study_spec import Study
from tests.cohorts.conftest import KEY

STUDIES = Path(__file__).parents[2] / "studies"

TABLE_1 = {
    "X-NR2": (200_000, 0.98),
    "X-NR3": (550_080, 0.83),
    "X-AO": (27_000, 0.78),
    "X-TB": (28_000, 0.82),
    "H-OV": (96_000, 0.92),
    "H-TH": (96_000, 0.94),
    "H-OV-TH": (192_000, 0.91),
    "H-BR": (125_000, 0.97),
}
"""Kovalev & Voynov 2019, Table 1: images and classification score."""


def study(name: str) -> Study:
    return Study.model_validate(yaml.safe_load((STUDIES / name).read_text(encoding="utf-8")))


def test_all_eight_reference_cohorts_are_declared_with_the_published_numbers():
    published = {name: cohort.published for name, cohort in study("phantoms.yaml").cohorts.items()}
    assert {name: (p.images, p.score) for name, p in published.items() if p} == TABLE_1


@pytest.mark.parametrize("name", ["demo.yaml", "phantoms.yaml"])
def test_every_class_of_a_phantom_cohort_has_a_hundred_images_or_more_before_balancing(name):
    declared = study(name)
    for cohort in declared.cohorts.values():
        rows = open_source(cohort.source, declared.sources[cohort.source], None).rows
        chosen = select(rows, cohort, SelectionCounts(rows.height))
        assert chosen["class_name"].value_counts()["count"].min() >= 100
        assert set(chosen["class_name"]) == set(cohort.classes)


@pytest.mark.parametrize(("name", "images"), [("X-TB", 620), ("X-SEX", 637)])
def test_real_cohorts_hold_what_the_head_of_the_study_says(name, images, data, tmp_path):
    declared = study("public-sample.yaml")
    spec, folder = declared.cohorts[name], tmp_path / name
    size = declared.size_of(name)
    source, private = declared.sources[spec.source], tmp_path / "private.parquet"
    prepare(name, spec, source, size_px=size, seed=0, folder=folder, data=data, key=KEY, private=private)
    manifest = open_cohort(folder).manifest
    assert manifest.height == images
    assert manifest.group_by("patient_id").agg(pl.col("role").n_unique())["role"].max() == 1
    if name == "X-SEX":  # views differ between the classes in this sample: they must not tell the sexes apart
        assert manifest["view"].unique().to_list() == ["PA"]
