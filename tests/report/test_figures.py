from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from written_report import Report

from advassay.records import Example
from advassay.report import gather
from advassay.report.figures import theme
from advassay.report.figures.chart_axes import epsilon_axis
from advassay.report.figures.curve_panels import spread, with_labels
from advassay.report.figures.epsilon50_forest import fig_epsilon50
from advassay.report.figures.figure import WIDE
from advassay.report.figures.image_figures import spaced, successful_pairs
from advassay.report.figures.image_panels import difference, display, enlarged, magnification
from advassay.report.figures.success_by_arm import saturated, success_by_arm
from advassay.report.figures.success_by_epsilon import accuracy_by_epsilon, success_by_epsilon
from advassay.report.output import figure_files
from advassay.report.tables.evidence_tables import controls_by_arm

SHARES = st.lists(st.floats(0, 1), min_size=1, max_size=8)


@given(SHARES, st.floats(0.01, 0.12))
def test_labels_are_apart_in_order_and_inside(heights: list[float], gap: float) -> None:
    placed = spread(heights, gap)
    order = np.argsort(heights, kind="stable")
    rising = np.array(placed)[order]
    assert (np.diff(rising) >= gap - 1e-6).all()
    assert rising[0] >= -1e-6
    assert rising[-1] <= 1 + 1e-6


@given(st.floats(0.0005, 0.5))
def test_a_magnified_difference_is_never_cut_off(epsilon: float) -> None:
    factor = magnification(epsilon)
    assert 0.45 < factor * epsilon <= 0.5 + 1e-9


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_difference_is_mid_grey_where_nothing_changed(kind: type) -> None:
    top = np.iinfo(kind).max
    original = np.full((2, 2), top // 2, kind)
    moved = original.copy()
    moved[0, 0] += round(0.02 * top)
    shown = difference(original, moved, 25.0)
    assert shown[1, 1] == 128
    assert 250 <= shown[0, 0] <= 255


def test_sixteen_bits_are_shown_over_their_full_range() -> None:
    assert display(np.array([[0, 65535, 32768]], np.uint16)).tolist() == [[0, 255, 128]]


def test_enlarging_invents_no_pixel() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    large = enlarged(image, 16)
    assert large.shape == (12, 16)
    assert np.array_equal(large[::4, ::4], image)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=12, unique=True), st.data())
def test_chosen_amplitudes_hold_the_wanted_one_and_both_ends(values: list[int], data: st.DataObject) -> None:
    grid = sorted(values)
    wanted = data.draw(st.sampled_from(grid))
    chosen = spaced(grid, wanted, 4)
    assert len(chosen) == min(4, len(grid))
    assert {grid[0], grid[-1], wanted} <= set(chosen)


def test_pairs_show_each_cohort_before_one_is_repeated() -> None:
    pairs = [_example("X-TB", f"{i:02d}") for i in range(12)] + [_example("H-BR", "a")]
    shown = successful_pairs(pairs, {"X-TB": "0.01", "H-BR": "0.01"}, 0.02)
    assert len(shown) == 8
    assert [e.cohort for e in shown].count("H-BR") == 1


def _example(cohort: str, image_id: str) -> Example:
    return Example(
        cohort=cohort, run_id="r", image_id=image_id, label=0, class_names=("a", "b"), epsilon=0.02, step_size="0.01",
        steps=8, predicted=1, clean_probabilities=(0.9, 0.1), adversarial_probabilities=(0.2, 0.8), bits=8,
    )  # fmt: skip


def test_image_types_differ_by_hue_and_cohorts_by_mark() -> None:
    drawn = theme.styles({"a": "X-ray", "b": "X-ray", "c": "histology", "d": "fundus"})
    assert drawn["a"].colour == drawn["b"].colour
    assert len({drawn[name].colour for name in "acd"}) == 3
    assert drawn["a"].mark != drawn["b"].mark
    assert drawn["a"].dash != drawn["b"].dash


def test_curve_colours_can_be_read_as_text_on_white() -> None:
    def luminance(colour: str) -> float:
        channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    for colour in (*theme.KNOWN_HUES.values(), *theme.SPARE_HUES, theme.MUTED):
        assert 1.05 / (luminance(colour) + 0.05) >= 4.5, colour


def test_a_curve_is_drawn_where_its_numbers_are() -> None:
    """Points of figure 3a in SVG lie at heights that fall as the rate rises, in proportion."""
    frame = pl.DataFrame(
        {"cohort": ["X"] * 3, "image_type": ["X-ray"] * 3, "epsilon": [0.1, 0.2, 0.3], "rate": [0.0, 0.5, 1.0],
         "low": [0.0, 0.4, 0.9], "high": [0.1, 0.6, 1.0], "n": [9] * 3, "events": [0, 5, 9]}
    )  # fmt: skip
    spec = figure_files.specification(success_by_epsilon(frame, theme.styles({"X": "X-ray"}), width=400))
    import vl_convert

    scene = vl_convert.vegalite_to_scenegraph(spec, vl_version=figure_files.VEGA_LITE)
    points = [item["y"] for item in _items(scene, "symbol")]
    height = 240
    assert points == pytest.approx([height, height / 2, 0])


def _items(node: object, kind: str) -> list[dict[str, float]]:
    if isinstance(node, dict):
        own = node["items"] if node.get("marktype") == kind else []
        return own + [item for value in node.values() for item in _items(value, kind)]
    return [item for value in node for item in _items(value, kind)] if isinstance(node, list) else []


def test_summed_controls_keep_every_count() -> None:
    frame = pl.DataFrame(
        {"cohort": ["a", "a", "b"], "arm": ["A"] * 3, "train_size": [1, 2, 1], "control": ["ε = 0"] * 3,
         "epsilon": [0.0] * 3, "n": [16, 16, 8], "events": [0, 1, 0], "meaning": ["m"] * 3}
    )  # fmt: skip
    summed = controls_by_arm(frame).row(0, named=True)
    assert (summed["n"], summed["events"], summed["where"]) == (40, 1, "a 1")


def test_the_inlined_library_cannot_end_its_script_element() -> None:
    code = figure_files.javascript().lower()
    assert "</script" not in code
    assert "<!--" not in code


def _curves(**rates: list[float]) -> pl.DataFrame:
    """One cohort's success over ε by arm; `rates`: arm → success at 0.001, 0.01 and 0.1."""
    rows = [
        {"cohort": "X-A", "image_type": "X-ray", "arm": arm, "step_size": "0.01", "epsilon": epsilon, "rate": rate,
         "low": max(rate - 0.1, 0.0), "high": min(rate + 0.1, 1.0), "n": 20, "events": round(20 * rate)}
        for arm, found in rates.items()
        for epsilon, rate in zip((0.001, 0.01, 0.1), found, strict=True)
    ]  # fmt: skip
    return pl.DataFrame(rows)


def _legends(spec: dict[str, object]) -> list[str]:
    """Channels with a legend that is drawn."""
    layers = spec["spec"]["layer"]  # type: ignore[index]
    found = [(name, one) for layer in layers for name, one in layer["encoding"].items() if isinstance(one, dict)]
    return [name for name, channel in found if channel.get("legend") and channel.get("field")]


def test_curves_wear_their_names_where_these_stand_at_their_ends() -> None:
    spec = success_by_arm(_curves(A=[0.0, 0.3, 0.9], B=[0.0, 0.1, 0.4]), ["X-A"], width=WIDE).to_dict()
    assert _legends(spec) == []
    assert any(layer["mark"]["type"] == "text" for layer in spec["spec"]["layer"])


def test_a_legend_names_curves_whose_ends_lie_together() -> None:
    spec = success_by_arm(_curves(A=[0.0, 0.3, 1.0], B=[0.0, 0.1, 1.0]), ["X-A"], width=WIDE).to_dict()
    assert "color" in _legends(spec)
    assert not any(layer["mark"]["type"] == "text" for layer in spec["spec"]["layer"])


def test_an_arm_that_saturates_is_drawn_in_grey_and_does_not_lead() -> None:
    frame = _curves(A=[1.0, 1.0, 1.0], B=[0.0, 0.3, 0.9])
    named = frame.with_columns(curve=pl.format("arm {}", "arm"))
    assert saturated(named, "curve") == ["arm A"]
    spec = success_by_arm(frame, ["X-A"], width=WIDE).to_dict()
    points = next(layer for layer in spec["spec"]["layer"] if layer["mark"]["type"] == "point")
    hue = points["encoding"]["color"]["scale"]
    assert dict(zip(hue["domain"], hue["range"], strict=True))["arm A"] == theme.PALE


def test_amplitudes_stand_on_a_logarithmic_axis_that_ends_with_the_data() -> None:
    axis = epsilon_axis([0.02, 0.04, 0.1, 0.2])
    assert axis.log
    assert axis.values is not None
    assert (axis.values[0], axis.values[-1]) == (0.02, 0.2)
    assert not epsilon_axis([0.02, 0.06]).log


def test_the_interval_of_a_single_image_is_no_bar() -> None:
    frame = pl.DataFrame({"cohort": ["A", "B"], "step": [1, 1], "rate": [1.0, 0.5], "n": [1, 8], "by": ["x", "x"]})
    assert with_labels(frame, "step", by="by", series="cohort", gap=0.05)["alone"].to_list() == [False, True]


def test_the_clean_images_stand_left_of_the_smallest_amplitude() -> None:
    rows = [
        {
            "cohort": "X-A",
            "image_type": "X-ray",
            "epsilon": epsilon,
            "accuracy": rate,
            "low": rate,
            "high": rate,
            "n": 9,
        }
        for epsilon, rate in ((0.0, 1.0), (0.001, 0.8), (0.01, 0.4), (0.1, 0.0))
    ]
    styles = theme.styles({"X-A": "X-ray"})
    spec = accuracy_by_epsilon(pl.DataFrame(rows), styles, width=WIDE).to_dict()
    values = [row["shown"] for row in spec["data"]["values"]]
    assert values == sorted(values)
    assert 0 < values[0] < 0.001


def test_an_epsilon50_outside_the_grid_has_no_row_in_the_forest(report: Report) -> None:
    found = gather(report.store)
    drawn = fig_epsilon50(found)
    assert drawn is not None
    assert drawn.numbers is not None
    assert set(drawn.numbers["side"]) == {"inside"}
    outside = found.tables["epsilon50"].filter(pl.col("side") != "inside", pl.col("n") > 0)
    assert all(row["text"] in drawn.caption for row in outside.iter_rows(named=True))
