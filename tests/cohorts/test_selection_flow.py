"""The flow of counts and the chart made of it: nothing is lost between two stages, and every loss has a reason."""

from __future__ import annotations

from itertools import pairwise

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from advassay.cohorts.selection_counts import SelectionCounts
from advassay.flow_chart import FIRST, LAST, flow_of, flow_rows, tidy
from advassay.report.figures.flow_charts import flow_charts, layout

REASONS = st.lists(st.sampled_from([None, None, "too small", "no age"]), max_size=40)


@settings(deadline=None)
@given(REASONS, REASONS)
def test_every_stage_keeps_what_entered_less_what_its_reasons_count(first, second):
    flow = SelectionCounts(len(first))
    frame = pl.DataFrame({"image_id": [f"{i:03}" for i in range(len(first))]})
    frame = flow.keep("where.age", frame, pl.Series(first, dtype=pl.String))
    again = [second[i % len(second)] if second else None for i in range(frame.height)]
    frame = flow.keep("classes", frame, pl.Series(again, dtype=pl.String))
    rows = flow_rows("A", flow.candidates, flow.steps, {"validation": {"x": frame.height}})
    assert rows[0].kept == len(first)
    for before, after in pairwise(rows):
        assert after.entering == before.kept == after.kept + after.left_out
        assert sum(after.reasons.values()) == (after.left_out if after.stage != LAST else 0)
    assert sum(item.count for item in flow.reasons()) == len(first) - frame.height


def test_steps_of_one_stage_are_one_row_with_their_reasons_added():
    steps = [
        {"step": "where.view", "kept": 7, "left_out": 3, "reasons": {"a": 2, "b": 1}},
        {"step": "where.age", "kept": 5, "left_out": 2, "reasons": {"b": 2}},
        {"step": "region", "kept": 4, "left_out": 1, "reasons": {"c": 1}, "classes": {"x": 4}},
    ]
    rows = flow_rows("A", 10, steps, {"training": {"x": 3}, "validation": {"x": 1}})
    assert [row.stage for row in rows] == [FIRST, "eligible", "region", LAST]
    assert (rows[1].left_out, rows[1].reasons) == (5, {"b": 3, "a": 2})
    assert rows[-1].roles == {"training": 3, "validation": 1}
    assert {"cohort": "A", "place": 1, "stage": "eligible", "part": "reason", "what": "b", "images": 3} in tidy(rows)


def test_a_prepared_cohort_has_its_chart_from_candidates_to_split(write_source, prepared, people):
    table = people(patients=20)
    table[0]["finding"] = None
    chart = flow_of(prepared(write_source(table), equal_classes=True))
    assert [row.stage for row in chart] == [
        FIRST, "in a class", "readable images", "distinct images", "balanced", LAST]  # fmt: skip
    assert chart[1].reasons == {"in no class": 1}
    assert chart[-1].classes == {"ill": 19, "well": 19}
    assert chart[-1].kept == sum(chart[-1].roles.values()) == 38


def test_boxes_of_the_figure_overlap_nowhere_and_hold_every_number():
    steps = [
        {
            "step": "source rows",
            "kept": 90,
            "left_out": 10,
            "reasons": {f"reason {i} of some length": 1 for i in range(10)},
        },
        {"step": "classes", "kept": 60, "left_out": 30, "reasons": {"in no class": 30}, "classes": {"x": 20, "y": 40}},
    ]
    frame = pl.DataFrame(tidy(flow_rows("A", 100, steps, {"validation": {"x": 20, "y": 40}})))
    for width in (460, 320):
        main, side = layout(frame, width)
        for column in (main, side):
            assert all(a.y + a.height <= b.y for a, b in pairwise(column))
        assert all(box.x + box.width <= width for box in [*main, *side])
        text = " ".join(line.strip() for box in [*main, *side] for line in box.lines)
        for number in ("100", "left out: 10", "other reasons: 4", "usable files: 90", "in no class: 30", "y: 40"):
            assert number in text
    assert len(flow_charts(frame, width=960).to_dict()["concat"]) == 1
