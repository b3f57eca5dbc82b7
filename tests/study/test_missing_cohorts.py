"""A cohort that cannot be formed does not stop the others: run, train and attack go on, say so, end with its error."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny_study import TINY, assert_equal_records, cpu, recorded
from typer.testing import CliRunner

from advassay.cli.program import app
from advassay.errors import CohortError
from advassay.records import open_records
from advassay.study import parse_study, stored_study
from advassay.study.plan.study_plan import plan
from advassay.study.run.runner import run

LACKING = TINY.replace("classes: {tuberculosis:", "where: {tuberculosis: nowhere}\n    classes: {tuberculosis:")
"""The chest cohort's rule names a value that occurs in no image."""
NONE = LACKING.replace("classes: {tumour:", "where: {tissue: nowhere}\n    classes: {tumour:")
AUTO = "    C: {loss: margin, step_sizes: [epsilon/4], epsilons: auto, images: 6}"
RANGES = {"    C: {loss: margin, step_sizes: [epsilon/4], epsilons: [0.005], images: 6}": AUTO}


def file_of(text: str, folder: Path) -> Path:
    path = folder / "study.yaml"
    path.write_text(text)
    return path


def called(verb: str, study: Path, store: Path):  # type: ignore[no-untyped-def]
    return CliRunner().invoke(app, [verb, str(study), "--store", str(store), "--device", "cpu", "--quiet"])


def test_without_a_place_for_errors_the_first_one_is_raised(begun: Path) -> None:
    with pytest.raises(CohortError, match=r"cohorts\.X-TB"):
        run(parse_study(LACKING), cpu(begun))


def test_the_other_cohort_is_recorded_as_in_the_whole_study(begun: Path, finished: Path) -> None:
    failures: dict = {}
    headers = run(parse_study(LACKING), cpu(begun), failures)
    assert {header.cohort for header in headers} == {"H-BR"}
    assert list(failures) == ["X-TB"]
    assert failures["X-TB"].problem.startswith("cohorts.X-TB: ")
    expected = {h.run_id for h in open_records(finished).headers if h.cohort == "H-BR"}
    assert set(recorded(begun)) == expected


def test_the_store_keeps_the_whole_study_and_its_plan(begun: Path, finished: Path) -> None:
    run(parse_study(LACKING), cpu(begun), {})
    assert list(stored_study(cpu(begun).store).cohorts) == ["X-TB", "H-BR"]
    plans = [open_records(store).analysis for store in (begun, finished)]
    assert plans[0].plan == plans[1].plan


def test_the_same_call_takes_the_cohort_up_once_it_can_be_formed(begun: Path, finished: Path) -> None:
    run(parse_study(LACKING), cpu(begun), {})
    before = {path: path.stat().st_mtime_ns for path in begun.glob("records/*/shards/*")}
    run(parse_study(TINY), cpu(begun))
    assert_equal_records(begun, finished)
    assert before
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_run_reports_the_others_and_ends_with_the_error(begun: Path, tmp_path: Path) -> None:
    done = called("run", file_of(LACKING, tmp_path), begun)
    assert done.exit_code == 3
    page = begun / "report" / "report.html"
    assert str(page) in done.stdout
    assert "Left out, because they cannot be formed: X-TB (1 of 2 cohorts)." in done.stderr
    assert done.stderr.rstrip().splitlines()[-2].startswith("Error: cohorts.X-TB: ")
    assert "Cohort X-TB: not prepared; it is in no figure and no conclusion." in page.read_text(encoding="utf-8")


def test_results_name_the_cohort_they_do_not_rest_on(begun: Path, finished: Path) -> None:
    run(parse_study(LACKING), cpu(begun), {})
    for verb in ("conclusions", "analyse"):
        assert "the store has no records of them: X-TB." in CliRunner().invoke(app, [verb, str(begun)]).stderr
        assert "nothing is recorded" not in CliRunner().invoke(app, [verb, str(finished)]).stderr


@pytest.mark.parametrize("verb", ["train", "attack"])
def test_train_and_attack_go_on_too(begun: Path, tmp_path: Path, verb: str) -> None:
    done = called(verb, file_of(LACKING, tmp_path), begun)
    assert done.exit_code == 3
    assert "Error: cohorts.X-TB: " in done.stderr
    networks = [json.loads(path.read_text())["cohort"] for path in begun.glob("classifiers/*/training.json")]
    assert set(networks) == {"H-BR"}


@pytest.mark.parametrize("verb", ["run", "train", "attack"])
def test_where_no_cohort_can_be_formed_nothing_is_recorded(begun: Path, tmp_path: Path, verb: str) -> None:
    done = called(verb, file_of(NONE, tmp_path), begun)
    assert done.exit_code == 3
    assert [name in done.stderr for name in ("Error: cohorts.X-TB: ", "Error: cohorts.H-BR: ")] == [True, True]
    assert not (begun / "report").exists()
    assert not list(begun.glob("records/*"))
    assert not (begun / "analysis.json").exists()


def test_what_was_prepared_before_is_told(finished: Path, tmp_path: Path) -> None:
    store = shutil.copytree(finished, tmp_path / "store")
    done = called("run", file_of(LACKING, tmp_path), store)
    assert done.exit_code == 3
    assert "The store still holds X-TB as prepared before" in done.stderr
    page = (store / "report" / "report.html").read_text(encoding="utf-8")
    assert "Cohort X-TB: the study states other rules than it was prepared by" in page
    assert "Cohort H-BR: the study states other rules" not in page


def test_amplitudes_are_found_over_the_cohorts_that_are_there(begun: Path) -> None:
    text = LACKING
    for old, new in RANGES.items():
        text = text.replace(old, new)
    failures: dict = {}
    headers = run(parse_study(text), cpu(begun), failures)
    assert list(failures) == ["X-TB"]
    (found,) = [header for header in headers if header.arm == "C" and header.primary]
    assert found.cohort == "H-BR"
    assert len({point.epsilon for point in found.points}) > 1
    assert list(stored_study(cpu(begun).store).cohorts) == ["X-TB", "H-BR"]


def test_plan_and_status_show_the_others_and_end_with_the_error(begun: Path, tmp_path: Path) -> None:
    text = LACKING
    for old, new in RANGES.items():
        text = text.replace(old, new)
    study = file_of(text, tmp_path)
    run(parse_study(text), cpu(begun), {})
    planned = ["plan", str(study), "--store", str(begun), "--device", "cpu", "--no-measure", "--json"]
    for asked in (planned, ["status", str(begun), "--json"]):
        done = CliRunner().invoke(app, asked)
        assert done.exit_code == 3
        assert "Error: cohorts.X-TB: " in done.stderr
        rows = json.loads(done.stdout)["rows"]
        assert {row["cohort"] for row in rows} == {"H-BR"}
        assert all(row["have"] == row["total"] for row in rows if not row["at_most"])


def test_a_plan_of_no_cohort_is_empty(tmp_path: Path) -> None:
    failures: dict = {}
    assert not plan(parse_study(NONE), cpu(tmp_path / "store"), timed=False, failures=failures).rows
    assert list(failures) == ["X-TB", "H-BR"]
