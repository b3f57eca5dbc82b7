"""`epsilons: auto`: found on tuning images alone, once, one grid for all cohorts, before the plan is frozen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from tiny_study import TINY, Counting, cpu

from advassay.checked_files import write_document
from advassay.cohorts import PreparedCohort, open_cohort
from advassay.errors import AdvassayWarning, CohortError, SpecError
from advassay.records import open_records
from advassay.spec.attack_spec import Arm
from advassay.spec.study_spec import Study
from advassay.store_documents import CHECKSUM, CohortRange
from advassay.study import parse_study, stored_study
from advassay.study.plan.study_plan import plan
from advassay.study.range_search import ROUNDS, RUNGS, Search, bracket, grid, ladder, read_ranges
from advassay.study.run import range_finding
from advassay.study.run.range_finding import smallest_rungs
from advassay.study.run.runner import run

AUTO = ("attack.arms.C.epsilons=auto", "analysis.arm=C")


def _study(*overrides: str) -> Study:
    return parse_study(TINY, overrides=[*AUTO, *overrides])


@pytest.fixture(scope="module")
def ranged(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the tiny study's cohorts and networks, run with amplitudes found for arm C."""
    store = tmp_path_factory.mktemp("ranged") / "store"
    shutil.copytree(finished, store, ignore=shutil.ignore_patterns("records", "gallery", "analysis.json"))
    run(_study(), cpu(store))
    return store


def test_the_grid_is_one_for_all_cohorts_and_frozen_with_the_plan(ranged: Path) -> None:
    found = read_ranges(cpu(ranged).store).arms["C"]
    assert len(found.epsilons) == 8
    assert np.allclose(np.diff(np.log(found.epsilons)), np.log(found.epsilons[-1] / found.epsilons[0]) / 7, atol=0.01)
    attacked = [h for h in open_records(ranged).headers if h.arm == "C"]
    assert {h.cohort for h in attacked} == {"X-TB", "H-BR"}
    assert all(tuple(p.epsilon for p in h.points) == found.epsilons for h in attacked)
    frozen = open_records(ranged).analysis
    assert frozen is not None
    assert frozen.prespecified
    assert frozen.arm.epsilons == found.epsilons
    assert stored_study(cpu(ranged).store).attack.arm("C").epsilons == found.epsilons


def test_only_tuning_images_are_attacked(ranged: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import advassay.attacks.stream as streams

    store = shutil.copytree(ranged, tmp_path / "store")
    (store / "range_finding.json").unlink()
    seen: set[str] = set()
    real = streams.stream

    def watched(classifier: object, items: object, *rest: object, **more: object) -> object:
        listed = list(items)  # type: ignore[call-overload]
        seen.update(item.image_id for item in listed)
        return real(classifier, listed, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(streams, "stream", watched)
    run(_study(), cpu(store))
    tuning = {i for name in ("X-TB", "H-BR") for i in open_cohort(store / "cohorts" / name).ids("tuning")}
    assert seen
    assert seen <= tuning
    assert read_ranges(cpu(store).store) == read_ranges(cpu(ranged).store)


def test_what_is_found_is_reused_and_the_plan_knows_it(ranged: Path, tmp_path: Path) -> None:
    before = plan(_study(), cpu(tmp_path), timed=False)
    after = plan(_study(), cpu(ranged), timed=False)
    rows = [row for row in before.rows if row.stage == "range-finding"]
    assert [(row.cohort, row.arm, row.at_most) for row in rows] == [("X-TB", "C", True), ("H-BR", "C", True)]
    tuning = [len(open_cohort(ranged / "cohorts" / row.cohort).ids("tuning")) for row in rows]
    expected = [ROUNDS * 3 * images for images in tuning]
    assert [row.total for row in rows] == pytest.approx(expected, rel=0.2)  # who is in the tuning part shows later
    assert any("Arm C: its 8 amplitudes are found on tuning images" in note for note in before.notes)
    assert all(row.missing == 0 for row in after.rows)
    assert not any("are found" in note for note in after.notes)
    assert all(row.missing == 0 for row in plan(stored_study(cpu(ranged).store), cpu(ranged), timed=False).rows)
    store, counting = shutil.copytree(ranged, tmp_path / "store"), Counting()
    run(_study(), cpu(store, progress=counting))
    assert "gradient steps" not in counting.done
    assert open_records(store).analysis == open_records(ranged).analysis


def test_a_cohort_that_was_done_before_a_kill_is_not_attacked_again(
    ranged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = shutil.copytree(ranged, tmp_path / "store")
    (store / "range_finding.json").unlink()
    real, attacked, killed = range_finding._attacked, [], True

    def watched(search: Search, cohort: PreparedCohort, *rest: object) -> tuple[list[int], int]:
        attacked.append(cohort.preparation.cohort)
        if killed and cohort.preparation.cohort == "H-BR":
            raise KeyboardInterrupt
        return real(search, cohort, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(range_finding, "_attacked", watched)
    with pytest.raises(KeyboardInterrupt):
        run(_study(), cpu(store))
    half = read_ranges(cpu(store).store).arms["C"]
    assert (list(half.cohorts), half.epsilons) == (["X-TB"], ())
    killed = False
    run(_study(), cpu(store))
    assert attacked == ["X-TB", "H-BR", "H-BR"]
    assert read_ranges(cpu(store).store) == read_ranges(cpu(ranged).store)


def test_other_rules_find_other_amplitudes_aloud_and_the_frozen_plan_tells_it(ranged: Path, tmp_path: Path) -> None:
    store = shutil.copytree(ranged, tmp_path / "store")
    path = store / "range_finding.json"
    kept = json.loads(path.read_text())
    kept["arms"]["C"]["epsilons"] = [0.1, 0.2]
    kept["arms"]["C"]["cohorts"]["X-TB"]["request"] = "of another network"
    del kept[CHECKSUM]
    write_document(path, kept)
    with pytest.warns(AdvassayWarning, match=r"arm C: its amplitudes were found anew.*instead of 0\.1, 0\.2"):
        run(_study(), cpu(store))
    assert read_ranges(cpu(store).store) == read_ranges(cpu(ranged).store)


@pytest.mark.parametrize("change", ["tuning_fraction=0", "split=none"])
def test_a_cohort_without_tuning_images_is_refused_before_anything_is_trained(change: str, tmp_path: Path) -> None:
    study = _study(f"cohorts.H-BR.{change}")
    with pytest.raises(
        CohortError, match=r"arms\.C\.epsilons: auto needs tuning images in every cohort, H-BR has none"
    ):
        plan(study, cpu(tmp_path), timed=False)
    with pytest.raises(CohortError, match="H-BR has none"):
        run(study, cpu(tmp_path / "store"))
    assert not (tmp_path / "store" / "classifiers").exists()


def test_under_the_reading_of_any_iterate_no_image_needs_more_amplitude(ranged: Path, tmp_path: Path) -> None:
    store = shutil.copytree(ranged, tmp_path / "store", ignore=shutil.ignore_patterns("records", "analysis.json"))
    run(_study("analysis.success=any", "attack.arms.A.images=2", "attack.arms.C.images=2"), cpu(store))
    last, any_ = (read_ranges(cpu(root).store).arms["C"] for root in (ranged, store))
    assert (last.success, any_.success) == ("last", "any")
    for name in ("X-TB", "H-BR"):
        pairs = zip(last.cohorts[name].misclassified.values(), any_.cohorts[name].misclassified.values(), strict=True)
        assert all(fewer <= more for fewer, more in pairs)


def test_other_texts_than_auto_are_refused() -> None:
    with pytest.raises(SpecError, match=r"attack\.arms\.C\.epsilons.*got 'automatic'"):
        _study("attack.arms.C.epsilons=automatic")


def test_bisection_finds_the_smallest_rung_of_every_image_in_as_many_attacks_as_are_priced() -> None:
    truth = {f"i{rung}": rung for rung in range(RUNGS + 1)}
    calls = []

    def attack(at: Mapping[str, int]) -> dict[str, bool]:
        calls.append(len(at))
        return {image: rung >= truth[image] for image, rung in at.items() if image in truth}

    assert smallest_rungs([*truth, "wrong from the start"], attack) == truth
    assert len(calls) == ROUNDS


def test_the_range_spans_2_to_98_percent_of_a_known_dose_response() -> None:
    rng = np.random.default_rng(1)
    tried = np.array(_search().arm.epsilons)
    for epsilon50, slope in ((0.001, 1.5), (0.01, 3.0), (0.05, 2.0)):
        threshold = epsilon50 * np.exp(rng.logistic(size=4000) / slope)
        counts = (threshold[:, None] <= tried).sum(axis=0).tolist()
        ends = bracket(counts, 4000)
        assert ends is not None
        low, high = tried[list(ends)]
        true_low, true_high = (epsilon50 * (p / (1 - p)) ** (1 / slope) for p in (0.02, 0.98))
        assert true_low / 2.2 < low < true_low * 1.1
        assert true_high / 1.1 < high < true_high * 2.2


def test_images_that_never_fall_do_not_stretch_the_range() -> None:
    rising = [0, 0, 0, 10, 40, 70, 88, 90, 90, 90, 90, 90, 90, 90, 90]
    assert bracket(rising, 100) == (2, 6)
    assert bracket([0] * 14 + [2], 100) is None
    assert bracket([100] * 15, 100) == (0, 1)


def test_few_images_widen_the_range_by_one_doubling_at_both_ends() -> None:
    counts = [0, 0, 0, 0, 3, 10, 20, *[24] * 8]
    assert bracket(counts, 24) == (2, 8)
    assert bracket([*counts[:7], *[25] * 8], 25) == (3, 7)


def test_the_grid_covers_every_cohort_that_falls_and_ends_where_the_steps_end() -> None:
    cohorts = {"a": _range(0.001, 0.02), "b": _range(0.004, 0.3), "never": _range(None, None)}
    found = grid(_search(), cohorts)
    assert (found[0], found[-1], len(found)) == (0.001, 0.3, 8)
    assert grid(_search(step_sizes=(0.01,), steps=10), cohorts)[-1] == 0.1  # 10 steps of 0.01
    with pytest.raises(CohortError, match="auto found no amplitude"):
        grid(_search(), {"never": cohorts["never"]})


def test_the_ladder_ends_where_any_image_can_be_grey() -> None:
    study = _study("attack.arms.C.norm=l2")
    linf, l2 = ladder(_study(), _study().attack.arm("C")), ladder(study, study.attack.arm("C"))
    assert (len(linf), linf[-1]) == (RUNGS, 0.5)
    assert l2[-1] == pytest.approx(0.5 * np.sqrt(3 * 40 * 40))


def _search(**rules: object) -> Search:
    study = _study()
    return Search("C", Arm(**({"step_sizes": ("epsilon/4",), "epsilons": ladder(study, Arm())} | rules)), "last", 8, 64)


def _range(lower: float | None, upper: float | None) -> CohortRange:
    asked = {"request": "", "cohort_identity": "", "classifier": ""}
    return CohortRange(**asked, images=60, misclassified={}, lower=lower, upper=upper)
