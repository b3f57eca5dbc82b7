"""A study from Python: plan, run, open, plot, report; the same as the verbs do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import advassay as aa
from advassay.errors import SpecError

TINY = """
name: tiny
image_size_px: 40
sources: {chest: {kind: phantoms, phantom: chest, images: 80, size_px: 40, signal: 3}}
cohorts:
  X: {source: chest, image_type: X-ray, classes: {m: {sex: M}, f: {sex: F}}}
training: {architecture: test_resnet, updates: 4, batch_size: 16, evaluations: 1}
attack: {steps: 3, images: 10, controls: false, arms: {A: {epsilons: [0.02, 0.1]}}}
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def result(study: Path) -> aa.StudyResult:
    return aa.run(study, store=study.parent / "store", device="cpu")


def test_a_plan_says_what_is_to_do_and_is_empty_afterwards(study: Path, result: aa.StudyResult) -> None:
    before = aa.plan(study, store=study.parent / "other", device="cpu", measure=False)
    after = aa.plan(study, store=result.store, device="cpu", measure=False)
    assert not (study.parent / "other").exists()
    assert (before.to_polars()["have"].sum(), after.to_polars()["stage"][0]) == (0, "prepare")
    assert all(row.missing == 0 for row in after.rows if not row.at_most)
    assert repr(before).startswith("Plan(tiny: ")


def test_a_result_has_its_numbers_figures_and_page(result: aa.StudyResult) -> None:
    rows = result.to_polars()
    assert rows["epsilon"].to_list() == [0.02, 0.1]
    assert result.findings.tables["success_by_arm"].filter(success="last")["rate"].to_list() == rows["rate"].to_list()
    assert result.plot().to_dict()
    assert result.plot(400, figure="fig-training").to_dict()
    assert [one.number for one in result.conclusions] == [1, 2, 3, 4, 5]
    assert repr(result).startswith(f"StudyResult({result.store}: 1 runs of X; ")
    assert len(repr(result.conclusions[0])) < 200
    assert result.report(result.store / "page.html").is_file()
    with pytest.raises(SpecError, match="fig-3a"):
        result.plot(figure="fig-99")
    with pytest.raises(SpecError, match=r"page\.docx"):
        result.report("page.docx")


def test_a_study_of_its_own_is_not_changed_on_the_way(study: Path) -> None:
    from advassay.study import load_study

    with pytest.raises(SpecError, match="got a Study"):
        aa.run(load_study(study), scale=0.5)


def test_curves_and_trajectories_are_frames_and_charts(result: aa.StudyResult) -> None:
    import torch

    curve = aa.success_curve(result.records, over="step", epsilon=0.1)
    assert curve.to_polars().equals(curve.frame)
    assert curve.plot().to_dict()
    assert "attack_success_rate over step" in repr(curve)
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
    images = torch.rand(12, 1, 8, 8)
    classifier, labels = aa.Classifier(module, channels=1), module(images).argmax(1)
    attack = aa.PGD(0.1, step_size=0.05, steps=4)
    one = aa.attack(classifier, images, labels, attack)
    assert one.to_polars()["rate"].to_list() == one.attack_success_rate().tolist()
    assert one.to_polars().columns == ["step", "n", "events", "rate"]
    sweep = aa.sweep(classifier, images, labels, attack, epsilons=[0.01, 0.1], step_sizes=[0.01, 0.05])
    frame = sweep.to_polars("any")
    assert frame["rate"].to_numpy().reshape(2, 2, 5).tolist() == sweep.attack_success_rate("any").tolist()
    assert frame.columns == ["step_size", "epsilon", "step", "n", "events", "rate"]
    assert one.plot().to_dict()
    assert sweep.plot().to_dict()


@pytest.mark.parametrize("first", ["", "import advassay.report;", "from advassay.report import write_report;"])
def test_report_is_a_function_whatever_was_imported_before(result: aa.StudyResult, first: str, tmp_path: Path) -> None:
    code = (
        f"{first}import advassay as aa; print(aa.report({str(result.store)!r}, {str(tmp_path / 'r.json')!r}, 'json'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).is_file()
