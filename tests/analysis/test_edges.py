"""Whatever was recorded, however little, everything computes and says what it could not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from advassay.analysis import (
    epsilon50,
    minimal_epsilon,
    performance,
    robust_accuracy_curve,
    success_curve,
    table1,
    worst_case_success_rate,
)
from advassay.analysis.conclusions import conclusions
from advassay.errors import SpecError, StoreError
from advassay.records import RunWriter, open_records
from advassay.spec.attack_spec import Arm
from advassay.store_layout import Store
from advassay.success import attack_success_rate
from tests.simulate import Cohort, make_store, population, trajectories, write_run

ONE = Cohort("one", "X-ray", patients=6, images_per_patient=2)
ARM = Arm(epsilons=(0.02, 0.1), step_sizes=(0.01,), steps=4)


@pytest.mark.parametrize(
    ("cohort", "arm"),
    [
        (replace(ONE, patients=1, images_per_patient=1), ARM),
        (replace(ONE, accuracy=0.0), ARM),
        (replace(ONE, epsilon50=1e-6), ARM),
        (replace(ONE, epsilon50=1e6), ARM),
        (replace(ONE, slope=1e-6, rise=1.0, tau=1e9, patients=20), ARM),
        (ONE, ARM.model_copy(update={"epsilons": (0.02,)})),
        (ONE, ARM.model_copy(update={"steps": 1})),
        (ONE, ARM.model_copy(update={"steps": 0})),
        (replace(ONE, sizes=(20, 40), seeds=(0,)), ARM),
        (replace(ONE, classes=("a", "b", "c", "d"), patients=1), ARM),
    ],
    ids=[
        "one image", "none attackable", "ceiling", "floor", "flat", "one ε", "one step", "no step", "series",
        "classes apart",
    ],
)  # fmt: skip
def test_small_and_extreme_records_are_analysed_without_a_warning(tmp_path: Path, cohort: Cohort, arm: Arm) -> None:
    records = open_records(make_store(tmp_path / "s", (cohort,), {"A": arm}, gallery=False))
    found = conclusions(records)
    assert [c.number for c in found] == [1, 2, 3, 4, 5]
    assert {c.verdict for c in found} == {"undecided"}
    assert all(c.reason and c.needed for c in found)
    assert all(c.headline.startswith(("Not decided: ", "Whether ")) for c in found if c.number != 2)
    assert "cannot be compared" in found[1].headline
    assert {c.number for c in found if c.estimate is None} >= {2, 5}
    for one in found:
        nothing = 1.0 if one.number in (2, 4, 5) else 0.0
        assert one.low is None or one.low <= nothing
        assert one.high is None or one.high >= nothing
    for over in ("epsilon", "step", "clean_confidence", "train_size"):
        success_curve(records, over)  # type: ignore[arg-type]
    robust_accuracy_curve(records)
    for frame in (epsilon50(records), minimal_epsilon(records), performance(records), table1(records)):
        assert "cohort" in frame.columns


@pytest.mark.parametrize("epsilon50", [1e-6, 1e6], ids=["ceiling", "floor"])
def test_many_images_at_the_ceiling_or_the_floor_decide_nothing_about_amplitude_or_a_rise(
    tmp_path: Path, epsilon50: float
) -> None:
    cohort = replace(ONE, epsilon50=epsilon50, patients=300)
    records = open_records(make_store(tmp_path / "s", (cohort,), {"A": ARM}, gallery=False))
    first, _, third, fourth, _ = conclusions(records)
    assert (first.verdict, first.estimate) == ("undecided", None)
    assert ("Smaller" if epsilon50 < 1 else "Larger") in first.needed
    assert third.verdict == "undecided"
    assert third.low is not None
    assert third.low <= 0
    assert fourth.verdict == "undecided"


def test_a_half_finished_run_is_analysed_as_far_as_it_got(tmp_path: Path) -> None:
    store, images = Store(tmp_path), population(ONE)
    head = write_run(store, ONE, images, "A", ARM)
    for shard in (store.run(head.run_id) / "shards").iterdir():
        rows = open_records(tmp_path).runs[0].rows()
        shard.unlink()
    kept = (rows.epsilon == 0.02) | (rows.image_id == images.image_ids[0])
    RunWriter(store.run(head.run_id), head).append(rows.take(kept))
    frame = success_curve(open_records(tmp_path)).frame
    assert frame["n"].to_list()[0] > frame["n"].to_list()[1]
    assert frame["n"].to_list()[1] <= 1
    assert len(conclusions(open_records(tmp_path))) == 5


def test_an_empty_store_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    with pytest.raises(StoreError, match="no run is recorded yet"):
        success_curve(open_records(tmp_path))


def test_an_image_that_one_restart_fells_counts_in_the_worst_case_and_nowhere_else(tmp_path: Path) -> None:
    store, images = Store(tmp_path), population(ONE)
    head = write_run(store, ONE, images, "A", ARM, extra=-1.0)
    again = trajectories(ONE, images, ARM, extra=1.5)
    RunWriter(store.run(head.run_id), head).append(replace(again, restart=np.ones(len(again), np.int32)))
    records = open_records(tmp_path)
    curve, worst = success_curve(records).frame, worst_case_success_rate(records)
    assert worst["declared"].to_list() == curve["rate"].to_list()
    assert worst["n"].to_list() == curve["n"].to_list()
    assert worst["restarts"].to_list() == [2, 2]
    stronger = trajectories(ONE, images, ARM, extra=1.5)
    kept = stronger.take(stronger.epsilon == 0.1)
    down = attack_success_rate(kept.logits.swapaxes(0, 1), kept.label)[-1]
    assert worst["rate"][1] >= max(down, curve["rate"][1])
    assert (worst["rate"] > worst["declared"]).any()


def test_the_worst_case_of_a_cohort_with_no_attackable_image_is_unknown(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", (replace(ONE, accuracy=0.0),), {"A": ARM}, gallery=False)
    assert worst_case_success_rate(open_records(store))["declared"].to_list() == [None, None]


@pytest.mark.parametrize("level", [0, 1, 1.5, -1, float("nan")])
def test_a_level_that_is_none_is_refused(tmp_path: Path, level: float) -> None:
    records = open_records(make_store(tmp_path / "s", (ONE,), {"A": ARM}, gallery=False))
    for ask in (success_curve, robust_accuracy_curve, epsilon50, conclusions):
        with pytest.raises(SpecError, match="level: between 0 and 1"):
            ask(records, level=level)


def test_a_step_between_two_and_an_amplitude_that_is_no_number_are_refused(tmp_path: Path) -> None:
    records = open_records(make_store(tmp_path / "s", (ONE,), {"A": ARM}, gallery=False))
    with pytest.raises(SpecError, match=r"step: 0 to 4 .*got 2\.5"):
        success_curve(records, step=2.5)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match=r"epsilon: one of .* got nan"):
        success_curve(records, over="step", epsilon=float("nan"))
