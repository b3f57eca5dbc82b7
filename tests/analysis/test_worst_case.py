"""The worst of all recorded attacks, against a count by hand from the rows."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from simulate import Cohort, make_store

from advassay.analysis import robust_accuracy_curve
from advassay.analysis.worst_case import worst_case_robust_accuracy
from advassay.records import Records, open_records


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Records:
    cohorts = [Cohort("X-A", "X-ray", patients=20, lost_again=0.2)]
    return open_records(make_store(tmp_path_factory.mktemp("worst") / "store", cohorts))


def by_hand(records: Records) -> tuple[set[str], dict[str, dict[str, float]]]:
    """(images first classified correctly, arm → image → smallest ε of any misclassified iterate)."""
    right: set[str] = set()
    smallest: dict[str, dict[str, float]] = defaultdict(dict)
    for run in records.runs:
        rows = run.rows()
        for image, epsilon, label, path in zip(rows.image_id, rows.epsilon, rows.label, rows.logits, strict=True):
            if path[0].argmax() == label:
                right.add(image)
            if epsilon > 0 and (path[1:].argmax(1) != label).any():
                known = smallest[run.header.arm].get(image, np.inf)
                smallest[run.header.arm][image] = min(known, epsilon)
    return right, smallest


def test_an_image_is_robust_only_where_no_attack_at_this_or_a_smaller_amplitude_misclassified_it(
    records: Records,
) -> None:
    right, smallest = by_hand(records)
    assert len(smallest) > 1
    frame = worst_case_robust_accuracy(records)
    assert frame.height > 5
    for row in frame.iter_rows(named=True):
        left = {
            image for image in right if all(found.get(image, np.inf) > row["epsilon"] for found in smallest.values())
        }
        assert row["robust"] == len(left), row["epsilon"]
        assert row["rate"] == len(left) / row["n"]
        assert row["low"] <= row["rate"] <= row["high"]


def test_it_never_lies_above_any_single_attack_and_falls_with_the_amplitude(records: Records) -> None:
    frame = worst_case_robust_accuracy(records)
    assert frame["rate"].is_sorted(descending=True)
    worst = dict(frame.select("epsilon", "rate").iter_rows())
    for arm in records.arms:
        for row in robust_accuracy_curve(records, arm=arm).frame.iter_rows(named=True):
            assert worst[row["epsilon"]] <= row["rate"]


def test_who_found_what_adds_up(records: Records) -> None:
    right, smallest = by_hand(records)
    row = worst_case_robust_accuracy(records).row(-1, named=True)
    found = dict((part.rsplit(" ", 1)[0], int(part.rsplit(" ", 1)[1])) for part in row["found_by"].split(", "))
    assert found == {arm: sum(image in right for image in of) for arm, of in smallest.items()}
    assert row["arms"] == len(smallest)
