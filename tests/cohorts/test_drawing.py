"""Draws before decoding: as good as decoding everything, and much less of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advassay.cohorts import open_cohort, prepare
from advassay.cohorts.balance import subsample
from advassay.cohorts.decoded_images import STEP, DecodeCache, sample_by_header
from advassay.cohorts.regions.review_lists import ReviewLists
from advassay.cohorts.selection import select, select_by_metadata
from advassay.cohorts.selection_counts import SelectionCounts
from advassay.errors import CohortError
from advassay.progress import Silent
from advassay.sources.base import LEFT_OUT, OpenSource, Pixels, Result
from advassay.sources.read_failures import Unreadable
from advassay.spec.cohort_spec import CohortSpec
from advassay.spec.source_spec import TableSource
from tests.cohorts.conftest import CLASSES, KEY, picture

COLUMNS = {"uid": pl.String, "patient": pl.String, "finding": pl.String, "sex": pl.String, "picture": pl.Int64}
"""Of a made-up archive; a picture of -1 does not decode."""


class Archive(OpenSource):
    """A source whose images have ids before they are decoded; it notes which rows were."""

    draw_column = "uid"

    def __init__(self, rows: Sequence[tuple[Any, ...]]) -> None:
        told = pl.DataFrame(rows, schema=COLUMNS, orient="row").with_row_index("row")
        own = {"path": pl.lit(None, pl.String), "original_patient": pl.col("patient"), "image_type": pl.lit("X-ray")}
        super().__init__("archive", told.with_columns(**own), pl.DataFrame(schema=LEFT_OUT), "patient", None)
        self.decoded: list[int] = []

    def map(self, rows: Sequence[int], work: Callable[[Pixels], Result]) -> Iterator[tuple[int, Result]]:
        self.decoded += rows
        for row in rows:
            number = self.rows["picture"][row]
            yield row, work(Unreadable("damaged") if number < 0 else picture(number))


def spec(**fields: Any) -> CohortSpec:
    return CohortSpec(**({"source": "archive", "classes": CLASSES} | fields))


def chosen(opened: Archive, asked: CohortSpec, *, first: bool) -> set[str]:
    """image_ids of the cohort, drawn before decoding or after everything was decoded, by the same ids."""
    flow = SelectionCounts(opened.rows.height)
    rows = select(opened.rows, asked, flow)
    decoding = DecodeCache(opened, asked, KEY, ReviewLists(), Silent())
    rows = sample_by_header(rows, asked, 0, decoding, flow) if first else rows.with_columns(draw_id="uid")
    decoding.read(rows)
    return set(subsample(decoding.images(rows, flow), asked, 0, flow)["image_id"])


PEOPLE = st.lists(
    st.tuples(st.integers(0, 25), st.booleans(), st.booleans(), st.integers(0, 3)), min_size=8, max_size=60
)


CUTS = ({"balance": ["sex"]}, {"equal_classes": True}, {"per_class": 4}, {"balance": ["sex"], "equal_classes": True})


@settings(max_examples=40, deadline=None)
@given(PEOPLE, st.sampled_from(CUTS))
def test_drawing_first_chooses_what_decoding_everything_would(people, cut):
    rows = [
        (f"1.2.{uid}", f"P{uid}", ("ill", "well")[ill], "FM"[sex], -1 if uid % 4 == bad else uid)
        for uid, ill, sex, bad in people  # rows of one uid are copies of one image, in one class or in two
    ]
    asked = spec(**cut)
    try:
        expected, found = chosen(Archive(rows), asked, first=False), chosen(Archive(rows), asked, first=True)
    except CohortError:  # balance: some class lacks a sex
        return
    assert found == expected


def test_nobody_with_a_value_to_balance_by_is_an_error_that_says_so(prepared):
    rows = [(uid, patient, finding, None, number) for uid, patient, finding, _, number in archive(4)]
    with pytest.raises(CohortError, match=r"none is left of 8 candidates \(sex: no value to balance by: 8\)"):
        prepared(Archive(rows), balance=["sex"], equal_classes=True)


def archive(per_class: int = 60, bad: Callable[[int], bool] = lambda number: False) -> list[tuple[Any, ...]]:
    return [
        (f"1.2.{number}", f"P{number}", ("ill", "well")[number % 2], "F", -1 if bad(number) else number)
        for number in range(2 * per_class)
    ]


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def run(opened: Archive, folder: str = "cohort", **fields: Any):
        monkeypatch.setattr("advassay.cohorts.cohort_preparation.open_source", lambda *_, **__: opened)
        source = TableSource(kind="table", path="none.csv")
        where = {"folder": tmp_path / folder, "data": tmp_path, "private": tmp_path / "private.parquet"}
        return prepare("demo", spec(**fields), source, size_px=16, seed=0, key=KEY, **where)

    return run


def test_only_drawn_images_are_decoded_and_the_bad_ones_among_them_replaced(prepared, tmp_path):
    opened = Archive(archive(bad=lambda number: number % 5 == 0))
    document = prepared(opened, per_class=20)
    steps = {step["step"]: step for step in document.flow}
    looked_at = set(opened.decoded)
    assert steps[STEP]["reasons"] == {"per_class: not drawn": 120 - len(looked_at)}
    assert steps["decoding"]["left_out"] == len([row for row in looked_at if row % 5 == 0]) == len(looked_at) - 40
    assert 40 < len(looked_at) < 70
    counts = [sum(of_role[name] for of_role in document.counts.values()) for name in CLASSES]
    assert counts == [20, 20]
    assert sum(step["left_out"] for step in document.flow) + 40 == document.candidates == 120
    assert "draw_id" not in open_cohort(tmp_path / "cohort").manifest.columns


def test_rows_in_another_order_and_rows_without_an_id_give_the_same_cohort(prepared):
    rows = [(None if number % 7 == 0 else uid, *rest) for number, (uid, *rest) in enumerate(archive())]
    one = prepared(Archive(rows), "one", per_class=15, images_per_patient="one")
    other = prepared(Archive(rows[::-1]), "other", per_class=15, images_per_patient="one")
    assert one.identity == other.identity


def test_a_patient_whose_drawn_image_is_bad_is_shown_by_another(prepared, tmp_path):
    rows = [(f"1.2.{n}", f"P{n % 20}", ("ill", "well")[n % 2], "F", -1 if n < 20 else n) for n in range(60)]
    prepared(opened := Archive(rows), images_per_patient="one")
    manifest = open_cohort(tmp_path / "cohort").manifest
    assert manifest.height == manifest["patient_id"].n_unique() == 20
    assert len(opened.decoded) < 60 + 20  # each again as it is written


def test_a_cohort_that_draws_nothing_decodes_everything(prepared):
    document = prepared(opened := Archive(archive(20)))
    assert len(set(opened.decoded)) == 40
    assert STEP not in [step["step"] for step in document.flow]


def test_selection_by_metadata_draws_the_images_that_prepare_draws(prepared):
    opened = Archive(archive())
    selected = select_by_metadata("demo", spec(per_class=20), opened, 0)
    prepared(opened, per_class=20)
    assert set(selected.frame["row"]) == set(opened.decoded)
