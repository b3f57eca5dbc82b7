"""Queries to success are the search's own count, and every arm is named by what it wants, may do and knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tiny_study import cpu

from advassay.analysis import query_survival
from advassay.errors import SpecError
from advassay.records import open_records
from advassay.report.data.findings import gather
from advassay.spec.attack_components import UPDATE_RULES
from advassay.study import parse_study
from advassay.study.plan.study_plan import plan
from advassay.study.run.runner import run

SEARCHED = """
name: searched
image_size_px: 32
sources:
  chest: {kind: phantoms, phantom: chest, images: 110, size_px: 32, signal: 4, prevalence: {tuberculosis: 0.5}}
cohorts:
  X-TB:
    source: chest
    image_type: X-ray
    classes: {tuberculosis: {tuberculosis: present}, norm: {norm: present}}
    per_class: 40
training: {architecture: test_resnet, updates: 12, batch_size: 16, evaluations: 1, learning_rate: 0.004}
attack:
  images: 12
  epsilons: [0.04, 0.15]
  controls: false
  arms:
    A: {steps: 3}
    S: {update: square, loss: margin, steps: 40}
    H: {update: hopskipjump, steps: 2, images: 6}
"""


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("foolbox", reason="HopSkipJump is Foolbox's")
    store = tmp_path_factory.mktemp("searched") / "store"
    run(parse_study(SEARCHED), cpu(store))
    return store


def test_the_curve_is_the_attacks_own_count_of_queries(searched: Path) -> None:
    records = open_records(searched)
    frame = query_survival(records)
    assert set(frame["arm"]) == {"S", "H"}  # a trajectory has iterations, not queries
    rows = next(o for o in records.runs if o.header.arm == "S").rows()
    right = rows.logits.argmax(-1) == rows.label[:, None]
    fell = right[:, 0] & ~right[:, -1]
    assert fell.sum() >= 3
    for epsilon in (0.04, 0.15):
        here = (rows.epsilon == epsilon) & right[:, 0]
        part = frame.filter(pl.col("epsilon") == epsilon, pl.col("arm") == "S")
        assert part["queries"][0] == 0
        assert part["queries"][-1] == 40
        for row in part.iter_rows(named=True):
            misled = here & fell & (rows.forward_passes <= row["queries"])
            assert (row["n"], row["events"]) == (here.sum(), misled.sum())
            assert row["surviving"] == pytest.approx(1 - misled.sum() / here.sum())
        assert set(np.unique(rows.forward_passes[here & fell])) <= set(part["queries"])
        assert (rows.forward_passes[here & ~fell] == 40).all()


def test_the_curve_of_a_search_for_the_smallest_change_counts_up_to_the_first_point_within_each_amplitude(
    searched: Path,
) -> None:
    records = open_records(searched)
    rows = next(o for o in records.runs if o.header.arm == "H").rows()
    right = rows.logits.argmax(-1) == rows.label[:, None]
    fell = right[:, 0] & ~right[:, -1]
    assert fell.any()
    assert ((rows.queries_to_success > 0) == fell).all()
    assert (rows.queries_to_success <= rows.forward_passes).all()
    by_image = {name: rows.queries_to_success[rows.image_id == name] for name in set(rows.image_id)}
    assert all(wide <= narrow for narrow, wide in by_image.values() if narrow > 0)  # a larger ball is met no later
    frame = query_survival(records).filter(pl.col("arm") == "H")
    for row in frame.iter_rows(named=True):
        here = (rows.epsilon == row["epsilon"]) & right[:, 0]
        misled = here & fell & (rows.queries_to_success <= row["queries"])
        assert (row["n"], row["events"]) == (here.sum(), misled.sum())
    assert frame["queries"].max() == rows.forward_passes.max()


def test_each_attack_is_named_in_the_words_of_nist_ai_100_2(searched: Path) -> None:
    rows = {row["arm"]: row for row in gather(searched).tables["threat_model"].iter_rows(named=True)}
    assert rows["A"]["knowledge"].startswith("white-box")
    assert rows["S"]["knowledge"].startswith("black-box, score-based")
    assert rows["H"]["knowledge"].startswith("black-box, decision-based")
    assert rows["S"]["query_access"] == "40 queries an image at most"
    assert {row["goal"] for row in rows.values()} == {
        "integrity violation: evasion, untargeted misclassification of single images"
    }


def test_what_a_rule_must_know_says_whether_it_follows_gradients() -> None:
    for rule in UPDATE_RULES.parts():
        assert (rule.knowledge == "white box") == rule.needs_gradient


@pytest.mark.parametrize("arm", ["S: {update: square, loss: dlr, steps: 40}", "S: {update: apgd-targeted, steps: 4}"])
def test_an_attack_that_needs_more_classes_is_refused_at_plan_and_run(arm: str, tmp_path: Path) -> None:
    study = parse_study(SEARCHED.replace("S: {update: square, loss: margin, steps: 40}", arm))
    for ask in (plan, run):
        with pytest.raises(SpecError, match=r"attack\.arms\.S: .* needs 3 classes or more, fewer in X-TB"):
            ask(study, cpu(tmp_path / "store"))  # type: ignore[operator]
