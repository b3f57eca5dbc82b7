"""The one definition of success, by hand and by property."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from advassay import success
from advassay.array_types import Logits


def path(*decisions: list[int], classes: int = 2) -> np.ndarray:
    """Logits (step, image, class) whose argmax is the given decision at each step."""
    return np.eye(classes, dtype=np.float32)[np.array(decisions)]


def test_native_misclassifications_count_neither_above_nor_below_the_line() -> None:
    logits = path([0, 0, 1], [1, 0, 1])  # image 2 is wrong from the start
    labels = np.array([0, 0, 0])
    assert success.attack_success_rate(logits, labels).tolist() == [0.0, 0.5]
    assert success.robust_accuracy(logits, labels).tolist() == pytest.approx([2 / 3, 1 / 3])


def test_success_can_be_lost_again_at_the_last_iterate_but_not_in_the_any_reading() -> None:
    logits, labels = path([0], [1], [0]), np.array([0])
    assert success.attack_success_rate(logits, labels, "last").tolist() == [0, 1, 0]
    assert success.attack_success_rate(logits, labels, "any").tolist() == [0, 1, 1]
    assert success.robust_accuracy(logits, labels, "any").tolist() == [1, 0, 0]


def test_a_targeted_attack_succeeds_only_at_its_target() -> None:
    logits = path([0, 0, 2], [1, 2, 2], classes=3)
    labels, targets = np.array([0, 0, 2]), np.array([2, 2, 2])
    assert success.attack_success_rate(logits, labels, targets=targets).tolist() == [0.0, 0.5]


def test_no_attackable_image_gives_nan_rather_than_a_number() -> None:
    assert np.isnan(success.attack_success_rate(path([1], [1]), np.array([0]))).all()


def test_a_nan_logit_is_no_decision() -> None:
    logits = path([0, 0], [1, 1])
    logits[1, 0] = np.nan
    assert success.attack_success_rate(logits, np.array([0, 0])).tolist() == [0.0, 1.0]


def test_axes_are_checked_while_tests_run() -> None:
    with pytest.raises(Exception, match=r"(?i)label"):
        success.attack_success_rate(path([0, 0], [1, 1]), np.array([0, 0, 0]))


SWEEPS = hnp.arrays(
    np.float32, st.tuples(*[st.integers(1, 4)] * 3, st.integers(2, 4)), elements=st.floats(-9, 9, width=32)
)


@given(SWEEPS, st.randoms(use_true_random=False))
def test_readings_and_denominators_agree_with_counting_one_by_one(logits: Logits, random) -> None:
    labels = np.array([random.randrange(logits.shape[-1]) for _ in range(logits.shape[-2])])
    for reading in ("last", "any"):
        rate = success.attack_success_rate(logits, labels, reading)
        for e in range(logits.shape[0]):
            correct = [i for i in range(len(labels)) if np.argmax(logits[e, 0, i]) == labels[i]]
            for k in range(logits.shape[1]):
                steps = range(1, k + 1) if reading == "any" else ([k] if k else [])
                down = sum(any(np.argmax(logits[e, s, i]) != labels[i] for s in steps) for i in correct)
                assert np.isnan(rate[e, k]) if not correct else rate[e, k] == pytest.approx(down / len(correct))


@given(SWEEPS)
def test_margin_is_negative_exactly_where_another_class_is_higher(logits: Logits) -> None:
    labels = np.zeros(logits.shape[-2], int)
    others = logits[..., 1:].max(axis=-1)
    np.testing.assert_array_equal(success.margin(logits, labels) < 0, others > logits[..., 0])


def test_confidence_is_computed_in_float64() -> None:
    logits = np.array([[20.0, 0.0]], np.float32)
    assert success.confidence(logits)[0] < 1.0  # float32 would round to 1
    assert success.confidence(logits)[0] == pytest.approx(1 / (1 + np.exp(-20.0)), abs=1e-15)


NAN = float("nan")


def test_an_image_undecided_at_an_iterate_leaves_both_denominators_there() -> None:
    """Image 0 is NaN at iterate 1 and correct again at 2; image 1 falls; image 2 stands."""
    logits, labels = path([0, 0, 0], [0, 1, 0], [0, 1, 0]), np.array([0, 0, 0])
    logits[1, 0] = NAN
    assert success.undecided(logits).tolist() == [[False] * 3, [True, False, False], [False] * 3]
    assert success.undecided(logits, "any")[2].tolist() == [True, False, False]
    assert success.attack_success_rate(logits, labels).tolist() == pytest.approx([0, 1 / 2, 1 / 3])
    assert success.robust_accuracy(logits, labels).tolist() == pytest.approx([1, 1 / 2, 2 / 3])
    assert success.attack_success_rate(logits, labels, "any").tolist() == pytest.approx([0, 1 / 2, 1 / 2])
    assert success.robust_accuracy(logits, labels, "any").tolist() == pytest.approx([1, 1 / 2, 1 / 2])


def test_what_has_fallen_or_was_wrong_once_counts_under_any_whatever_follows() -> None:
    logits, labels = path([0], [1], [1]), np.array([0])
    logits[2] = NAN
    assert success.attack_success_rate(logits, labels, "any").tolist() == [0, 1, 1]
    assert success.robust_accuracy(logits, labels, "any").tolist() == [1, 0, 0]
    assert np.isnan(success.attack_success_rate(logits, labels)[2])
    assert np.isnan(success.robust_accuracy(logits, labels)[2])


def test_an_image_whose_clean_logits_are_nan_is_not_attackable_and_counts_for_accuracy_where_it_is_decided() -> None:
    logits, labels = path([0, 0], [1, 0]), np.array([0, 0])
    logits[0, 0] = NAN
    assert success.attack_success_rate(logits, labels).tolist() == [0, 0]
    assert success.counted(logits, labels).tolist() == [[False, True], [False, True]]
    assert success.robust_accuracy(logits, labels).tolist() == [1, 0.5]


@given(SWEEPS, st.data())
def test_denominators_with_nan_agree_with_counting_one_by_one(logits: Logits, data) -> None:
    holes = data.draw(hnp.arrays(bool, logits.shape[:-1]))
    logits = np.where(holes[..., None], np.float32(NAN), logits)
    labels = np.zeros(logits.shape[-2], int)
    rates = {
        r: (success.attack_success_rate(logits, labels, r), success.robust_accuracy(logits, labels, r))
        for r in ("last", "any")
    }
    for e, k in np.ndindex(logits.shape[:2]):
        for reading, (rate, accuracy) in rates.items():
            down, stands = [], []
            for i in range(len(labels)):
                steps = range(k + 1) if reading == "any" else [k]
                seen = [None if np.isnan(logits[e, s, i]).any() else int(np.argmax(logits[e, s, i])) for s in steps]
                wrong = any(c is not None and c != 0 for c in seen)
                if wrong or None not in seen:
                    stands.append(not wrong)
                    if not np.isnan(logits[e, 0, i]).any() and np.argmax(logits[e, 0, i]) == 0:
                        down.append(wrong)
            np.testing.assert_allclose(rate[e, k], np.mean(down) if down else NAN)
            np.testing.assert_allclose(accuracy[e, k], np.mean(stands) if stands else NAN)
