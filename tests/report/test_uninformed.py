"""A network that knows nothing must be named before any number of it is read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import simulate
from scipy.stats import mannwhitneyu
from written_report import SMALL, SMALL_ARMS

from advassay.analysis.classifier_performance import chance_reach
from advassay.report import gather, write_report
from advassay.report.text.limitations import degenerate_classifiers, notices


def _store(path: Path, cohort: simulate.Cohort) -> Path:
    return simulate.make_store(path / "store", (cohort,), {"A": SMALL_ARMS["A"]}, gallery=False)


def _first(page: str) -> str:
    return page.split("<main>")[0]


def test_a_network_that_answers_one_class_is_read_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = simulate.population

    def constant(cohort: simulate.Cohort, seed: int = 0) -> simulate.Population:
        images = drawn(cohort, seed)
        logits = np.abs(images.clean_logits).max(1, keepdims=True) * np.array([1.0, 0.0], np.float32)
        return replace(images, clean_logits=logits.astype(np.float32))

    monkeypatch.setattr(simulate, "population", constant)
    first = _first(write_report(_store(tmp_path, SMALL[0])).read_text(encoding="utf-8"))
    assert "X-TB (all 48 predicted as tuberculosis)" in first
    assert "not even 0 %" in first
    assert "better than chance" not in first


def test_an_auroc_within_reach_of_chance_is_read_first(tmp_path: Path) -> None:
    found = gather(_store(tmp_path, replace(SMALL[0], accuracy=0.5)))
    [told] = [text for text in notices(found) if "better than chance" in text]
    auroc = found.tables["cohorts"]["auroc"][0]  # that of Table 1
    assert f"X-TB (AUROC {auroc:.2f} over 48 images of 24 patients, chance reaches 0.7" in told


def test_a_network_that_knows_its_classes_is_not_named(tmp_path: Path) -> None:
    assert not [text for text in notices(gather(_store(tmp_path, SMALL[0]))) if text.startswith("The network")]


def test_a_missing_class_or_area_makes_no_claim() -> None:
    clean = {"cohort": ["X"], "epsilon": [0.0]}
    transitions = pl.DataFrame(clean | {"label": ["a"], "predicted": ["a"], "n": [9]})
    performance = pl.DataFrame(clean | {"n": [9], "patients": [9], "auroc": pl.Series([None], dtype=pl.Float64)})
    assert degenerate_classifiers(transitions, performance) == []


@pytest.mark.parametrize(("p", "q"), [(20, 30), (8, 60)])
def test_the_reach_of_chance_is_that_of_the_rank_test(p: int, q: int) -> None:
    """SciPy's asymptotic Mann–Whitney test gives 5 % where an AUROC lies just at the reach."""
    scores, farthest = np.arange(p + q, dtype=float), 0.0
    for shift in range(p + q):
        rolled = np.roll(scores, shift)
        statistic, value = mannwhitneyu(rolled[:p], rolled[p:], use_continuity=False, method="asymptotic")
        distance = abs(statistic / (p * q) - 0.5)
        assert (distance <= chance_reach([p, q])) == (value >= 0.05)
        farthest = max(farthest, distance)
    assert farthest > chance_reach([p, q])
