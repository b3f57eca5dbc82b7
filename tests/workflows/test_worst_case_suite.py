"""The worst-case suite of the preset full: recorded, joined image by image, told on the page, resumed after a kill."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tiny_models import TinyCnn

import advassay as aa
from advassay import optional_libraries
from advassay.records import open_records
from advassay.success import is_adversarial
from advassay.workflows import EvaluationResult, presets
from advassay.workflows.presets import PRESETS, left_out

SEARCHES = {"square": 120, "fab": 6, "hopskipjump": 2}
SAMPLE = 6


@pytest.fixture(scope="module")
def small_suite() -> presets.Preset:
    """The preset full with its searches cut short, without the arms that are tested elsewhere."""
    full = PRESETS["full"]
    arms = {name: dict(full.arms[name]) for name in ("margin", "apgd-dlr", "apgd-targeted")}
    arms |= {name: full.arms[name] | {"steps": steps, "images": SAMPLE} for name, steps in SEARCHES.items()}
    return full.model_copy(
        update={
            "arms": arms, "epsilons": (2 / 255, 8 / 255), "images": 12, "planted_images": 2, "control_images": 2,
            "doubling_images": 2, "precision": "exact", "steps": 4,
        }
    )  # fmt: skip


def evaluated(
    network: TinyCnn, images: tuple[np.ndarray, np.ndarray], store: Path, preset: presets.Preset,
    monkeypatch: pytest.MonkeyPatch,
) -> EvaluationResult:  # fmt: skip
    monkeypatch.setitem(PRESETS, "full", preset)
    return aa.evaluate(network, *images, store=store, preset="full", device="cpu", class_names=["wide", "tall"])


@pytest.fixture(scope="module")
def result(
    network: TinyCnn, images: tuple[np.ndarray, np.ndarray], small_suite: presets.Preset,
    tmp_path_factory: pytest.TempPathFactory,
) -> EvaluationResult:  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        return evaluated(network, images, tmp_path_factory.mktemp("suite") / "mine", small_suite, patch)


def test_searches_are_runs_of_the_store_with_both_ends_and_their_queries(result: EvaluationResult) -> None:
    runs = {run.header.arm: run for run in open_records(result.store).runs}
    assert set(runs) == {"margin", *SEARCHES}
    for name, steps in SEARCHES.items():
        header = runs[name].header
        assert (header.steps, header.attack["steps"], header.controls) == (1, steps, None)
        assert runs[name].column("logits").shape[1] == 2
        assert len(runs[name].images) == SAMPLE
        attacked = runs[name].column("forward_passes") > 0
        assert attacked.sum() >= SAMPLE
        assert header.cost.forward_passes > 0
        inside = runs[name].column("linf")[:, 1] <= runs[name].index.epsilon + 1e-7
        assert inside.all()


def test_the_worst_case_is_the_union_and_says_who_found_what(result: EvaluationResult) -> None:
    runs = {run.header.arm: run for run in open_records(result.store).runs}
    table = result.worst_case_by_attack()
    for epsilon in table["epsilon"].unique():
        found: dict[str, set[str]] = {}
        right: set[str] = set()
        for name, run in runs.items():
            ids, label = run.images["image_id"].to_numpy()[run.index.image], run.column("label")
            logits = run.column("logits")
            wrong = is_adversarial(logits[:, 1:].swapaxes(0, 1), label).any(axis=0) & (run.index.epsilon <= epsilon)
            correct = ~is_adversarial(logits[:, 0], label)
            right |= set(ids[correct])
            found[name] = set(ids[wrong & correct])
        union = set().union(*found.values())
        estimate = result.worst_case(epsilon)
        assert estimate.n == 12
        assert estimate.value == pytest.approx(len(right - union) / 12)
        assert estimate.value <= result.robust_accuracy(epsilon).value + 1e-12
        for row in table.filter(pl.col("epsilon") == epsilon).to_dicts():
            others = set().union(*(of for name, of in found.items() if name != row["arm"]))
            assert (row["found"], row["alone"]) == (len(found[row["arm"]]), len(found[row["arm"]] - others))
            by_gradients = set().union(*(of for name, of in found.items() if name not in ("square", "hopskipjump")))
            assert row["beyond_gradients"] == len(found[row["arm"]] - by_gradients)
            assert (row["queries"] is None) == (row["arm"] == "margin")
            assert row["n"] <= (SAMPLE if row["arm"] in SEARCHES else 12)
    assert set(result.to_polars()["arm"]) == set(runs)


def test_what_the_suite_rests_on_is_said(result: EvaluationResult, tmp_path: Path) -> None:
    sentence = next(each for each in result.answer.sentences if "worst of" in each)
    assert "Misclassified without gradients and by no attack that follows them: square" in sentence
    assert "No certified bound was computed: one would have to prove the" in sentence
    told = " ".join(result.notes)
    for name in ("apgd-dlr", "apgd-targeted"):
        assert f"{name} was not run: it needs 3 or more classes, and the model has 2." in told
    page = result.report(tmp_path / "page.md").read_text()
    assert "Robust accuracy under the worst of all attacks" in page
    assert "Which attack found what" in page
    document = json.loads(result.report(tmp_path / "page.json").read_text())
    assert "worst_case_by_attack" in json.dumps(document)


def test_a_search_that_is_killed_goes_on_and_ends_as_if_it_had_not_been(
    network: TinyCnn, images: tuple[np.ndarray, np.ndarray], small_suite: presets.Preset, result: EvaluationResult,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from advassay.attacks.suite.search_stream import SearchStream

    whole = SearchStream._block
    blocks = 0

    def dies(self, *args):  # after the first block of two images
        nonlocal blocks
        blocks += 1
        if blocks == 3:
            raise KeyboardInterrupt
        return whole(self, *args)

    monkeypatch.setattr(SearchStream, "_block", dies)
    monkeypatch.setattr(SearchStream, "_block_is_full", lambda self, images, began: images >= 2)
    store = tmp_path / "mine"
    with pytest.raises(KeyboardInterrupt):
        evaluated(network, images, store, small_suite, monkeypatch)
    monkeypatch.setattr(SearchStream, "_block", whole)
    again = evaluated(network, images, store, small_suite, monkeypatch)
    ours = {run.header.arm: run for run in open_records(again.store).runs}
    for name, run in {run.header.arm: run for run in open_records(result.store).runs}.items():
        for column in ("logits", "linf", "forward_passes", "backward_passes"):
            np.testing.assert_array_equal(run.column(column), ours[name].column(column), name)


def test_a_missing_library_leaves_its_attacks_out_aloud_and_square_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not {"square", "fab", "hopskipjump"} & set(left_out(PRESETS["full"], 5))
    monkeypatch.setattr(optional_libraries, "is_installed", lambda module: False)
    out = left_out(PRESETS["full"], 5)
    assert set(out) == {"fab", "hopskipjump"}
    assert all("pip install 'advassay[suite]'" in reason for reason in out.values())
