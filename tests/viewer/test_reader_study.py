"""A reader study is blind, goes on where it ended, keeps every answer once, and its results are the project's
intervals."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from starlette.testclient import TestClient
from test_viewer_browser import WIDTHS, Watched, axe, grave_violations, served

from advassay.analysis.intervals import counts, intervals
from advassay.analysis.reader_detection import reader_detection, visible_epsilon
from advassay.cohorts import open_cohort
from advassay.errors import DamagedError, SpecError, StoreError
from advassay.records.reader_answers import COLUMNS, append_answer, read_answers, read_design, remove_answers
from advassay.study.upkeep.forget_patient import forget
from advassay.viewer import OpenedStore, Recomputer, web_app
from advassay.viewer.reader_results import reader_results
from advassay.viewer.reader_sessions import ReaderStudy, make_design, trials_of

__all__ = ["axe"]
SENT = {"Origin": "http://testserver", "Content-Type": "application/json"}


def ready(client: TestClient, reader: str) -> dict[str, Any]:
    while True:
        answer = client.get("/api/reader/next", params={"reader": reader})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        if found["state"] != "computing":
            return found
        time.sleep(0.05)


def blind(store: Path, per_cohort: int = 3, seed: int = 0) -> TestClient:
    return TestClient(web_app(OpenedStore(store), frozenset({"testserver"}), readers=per_cohort, seed=seed))


def test_order_side_and_amplitude_follow_from_seed_and_reader_and_take_turns(opened: OpenedStore) -> None:
    design = make_design(opened, 8, 3)
    assert design == make_design(opened, 8, 3) != make_design(opened, 8, 4)
    trials = trials_of(design, "one")
    assert trials == trials_of(design, "one") != trials_of(design, "two")
    assert sorted(one.image.image_id for one in trials) == sorted(one.image_id for one in design.images)
    shown = Counter(one.epsilon for one in trials)
    assert set(shown) == {0.02, 0.1}
    assert max(shown.values()) - min(shown.values()) <= 1
    sides = Counter(one.attacked for reader in range(20) for one in trials_of(design, f"r{reader}"))
    assert abs(sides["left"] - sides["right"]) < 4 * np.sqrt(sum(sides.values()))  # 4 standard deviations


def test_a_session_is_blind_kept_and_resumed(copied: Path) -> None:
    with blind(copied) as client:
        first = ready(client, "r1")
        assert (first["state"], first["trial"], first["answered"]) == ("ready", 1, 0)
        trial = trials_of(read_design(OpenedStore(copied).store), "r1")[0]  # type: ignore[arg-type]
        told = json.dumps(first)
        assert not [part for part in (*trial.key[:2], str(trial.epsilon), trial.attacked) if f'"{part}"' in told]
        query = {"reader": "r1", "trial": 1}
        shown = {side: client.get("/api/reader/pixels", params=query | {"side": side}) for side in ("left", "right")}
        assert {tuple(sorted(one.headers)) for one in shown.values()} == {tuple(sorted(shown["left"].headers))}
        clean = open_cohort(copied / "cohorts" / trial.image.cohort).images([trial.image.image_id])[0]
        other = "right" if trial.attacked == "left" else "left"
        np.testing.assert_array_equal(np.frombuffer(shown[other].content, "<f4"), clean.ravel())
        change = np.abs(np.frombuffer(shown[trial.attacked].content, "<f4") - clean.ravel()).max()
        assert 0 < change <= trial.epsilon + 1e-6
        given = {"reader": "r1", "trial": 1, "changed": trial.attacked, "diagnosis": first["classes"][0]}
        assert client.post("/api/reader/answer", json=given, headers=SENT).json() == {"kept": True}
        assert client.post("/api/reader/answer", json=given, headers=SENT).status_code == 404  # once
        assert client.get("/api/reader/pixels", params=query | {"side": "left"}).status_code == 404
        assert client.get("/api/reader/pixels", params={"reader": "r1", "trial": 3, "side": "left"}).status_code == 404
    with blind(copied, per_cohort=99, seed=77) as client:  # the study that has begun goes on
        again = ready(client, "r1")
        assert (again["trial"], again["answered"], again["of"]) == (2, 1, 3)
        assert ready(client, "r2")["answered"] == 0
    (row,) = read_answers(OpenedStore(copied).store).to_dicts()
    assert (row["reader"], row["trial"], row["right"], row["proof"]) == ("r1", 1, True, "exact")
    assert (row["image_id"], row["epsilon"], row["step"]) == (trial.image.image_id, trial.epsilon, 4)
    assert row["diagnosis_right"] == (row["label"] == first["classes"][0])
    assert row["seconds"] >= 0
    assert row["begun"].endswith("+00:00")


def test_while_a_study_is_held_nothing_else_is_answered_and_only_own_pages_write(copied: Path) -> None:
    with blind(copied) as client:
        for path in ("/images", "/image", "/readers", "/api/images", "/api/image", "/api/trajectory", "/api/pixels",
                     "/api/findings", "/api/readers", "/api/png", "/api/choices"):  # fmt: skip
            assert client.get(path).status_code == 404
        now = ready(client, "r1")
        given = {"reader": "r1", "trial": now["trial"], "changed": "left", "diagnosis": now["classes"][0]}
        for headers in (
            {"Content-Type": "application/json"},
            SENT | {"Origin": "https://attacker.example"},
            SENT | {"Content-Type": "text/plain"},
            SENT | {"Sec-Fetch-Site": "cross-site"},
        ):
            refused = client.post("/api/reader/answer", content=json.dumps(given), headers=headers)
            assert refused.status_code == 403
        assert client.post("/api/reader/answer", content=b" " * 20_000, headers=SENT).status_code == 403
        for wrong in ({"reader": "../x"}, {"reader": "Ada Lovelace"}, {"reader": ""}, {"reader": "=1+1"},
                      {"diagnosis": "healthy"}, {"changed": "both"}, {"trial": 99}, {"path": "/etc/x"}):  # fmt: skip
            refused = client.post("/api/reader/answer", json=given | wrong, headers=SENT)
            assert refused.status_code in (400, 404, 422), wrong
        assert client.get("/api/reader/next", params={"reader": "../../x"}).status_code == 400
    assert not (copied / "reader_study" / "answers.csv").exists()
    assert sorted(path.name for path in (copied / "reader_study").iterdir() if path.name[0] != ".") == ["design.json"]


def test_a_pair_that_is_not_proved_is_left_out_and_counted(copied: Path) -> None:
    for path in (copied / "classifiers").glob("*/model.safetensors"):
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with blind(copied) as client:
        assert ready(client, "r1") == {"state": "done", "answered": 0, "of": 3, "left_out": 3}


def test_cohorts_without_a_gallery_are_no_part_of_a_study(copied: Path) -> None:
    text = (copied / "study.yaml").read_text()
    ReaderStudy(OpenedStore(copied), Recomputer(OpenedStore(copied)), per_cohort=1)
    (copied / "study.yaml").write_text(text.replace("\nfigures:\n", "\nfigures:\n  gallery: false\n"))
    opened = OpenedStore(copied)
    with pytest.raises(SpecError, match="no image that may be shown"):
        make_design(opened, 3, 0)
    with pytest.raises(StoreError, match="may not be shown"):
        ReaderStudy(opened, Recomputer(opened), per_cohort=3)


def answers(opened: OpenedStore, readers: int, right: dict[float, float]) -> pl.DataFrame:
    """Simulated answers: at each ε a share of the images is told right, by every reader the same images."""
    run = next(run for run in opened.records.runs if run.header.arm == "A")
    ids = run.images["image_id"].to_list()
    rows = [
        {
            "reader": f"r{reader}", "trial": i, "cohort": "X-AGE", "run_id": run.header.run_id, "image_id": ids[i],
            "step_size": "0.01", "epsilon": epsilon, "step": 4, "attacked_side": "left", "chosen_side": "left",
            "right": i < share * len(ids), "label": "norm", "diagnosis": "norm", "diagnosis_right": i % 2 == 0,
            "proof": "exact", "begun": "", "seconds": 2.0 + i,
        }
        for reader in range(readers) for epsilon, share in right.items() for i in range(len(ids))
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=COLUMNS)


def test_results_are_the_project_s_intervals_by_patient_and_by_reader(opened: OpenedStore) -> None:
    records = opened.records
    alone = reader_detection(records, answers(opened, 1, {0.02: 0.5, 0.1: 1.0}))
    assert alone["rate"].to_list() == [0.5, 1.0]
    assert alone["readers"].to_list() == [1, 1]
    n, patients = alone["n"][0], alone["patients"][0]
    assert patients < n  # some have two images
    images = next(run for run in records.runs if run.header.arm == "A").images
    codes = np.unique(images["patient_id"].to_numpy(), return_inverse=True)[1]
    half = (np.arange(n) < n / 2)[None]
    (low,), (high,), (method,) = intervals(counts(half, np.ones_like(half), codes))
    assert (alone["low"][0], alone["high"][0]) == (pytest.approx(low), pytest.approx(high))
    assert alone["method"][0] == f"{method} (by patient)"
    three = reader_detection(records, answers(opened, 3, {0.02: 0.5, 0.1: 1.0}))
    assert three["n"].to_list() == [3 * n, 3 * n]
    assert three["method"][0].endswith("(by patient); Wilson, effective n (by reader)")
    assert three["low"][0] <= alone["low"][0]  # the same images again are no new images
    assert three["low"][1] < 0.5  # three readers who are right each time say little about others
    assert visible_epsilon(alone) == {"X-AGE": 0.1}
    assert visible_epsilon(reader_detection(records, answers(opened, 1, {0.02: 1.0, 0.1: 0.5}))) == {"X-AGE": None}
    assert reader_detection(records, answers(opened, 0, {0.1: 1.0})).is_empty()


def test_answers_are_kept_once_refused_when_damaged_and_forgotten_with_the_patient(copied: Path) -> None:
    opened = OpenedStore(copied)
    study = ReaderStudy(opened, Recomputer(opened), per_cohort=50)
    rows = answers(opened, 1, {0.1: 1.0}).to_dicts()
    for row in rows:
        append_answer(opened.store, row)
    with pytest.raises(StoreError, match="answered the image already"):
        append_answer(opened.store, rows[0])
    assert read_answers(opened.store).to_dicts() == rows
    results = reader_results(opened)
    assert (results["answers"], results["cohorts"][0]["visible_epsilon"]) == (len(rows), 0.1)
    assert results["cohorts"][0]["epsilon50"] != "–"
    run = opened.run(rows[0]["run_id"])
    gone = study.design.images[0].image_id
    patient = run.images.filter(image_id=gone)["patient_id"][0]
    theirs = set(run.images.filter(patient_id=patient)["image_id"])
    assert forget(opened.store, patient).answers == len(theirs)
    assert not theirs & set(read_answers(opened.store)["image_id"])
    assert gone not in (copied / "reader_study" / "design.json").read_text()
    assert remove_answers(opened.store, []) == 0
    (copied / "reader_study" / "answers.csv").write_text("reader,trial\nx,1\n")
    with pytest.raises(DamagedError, match=r"answers\.csv"):
        read_answers(opened.store)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_reader_answers_by_keyboard_and_the_results_are_shown(
    chromium: Any, copied: Path, axe: str, width: int, scheme: str
) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
    with served(OpenedStore(copied), readers=2) as address:
        page = context.new_page()
        watched = Watched(page)
        page.goto(address)
        page.locator("input[name=reader]").fill("reader-1")
        page.keyboard.press("Enter")
        for answered in range(2):
            page.locator("#pair").wait_for(timeout=60_000)
            assert page.locator("#progress").inner_text() == f"{answered} of 2 answered"
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            before = page.evaluate("document.getElementById('left').toDataURL()")
            page.keyboard.press("i")
            assert page.evaluate("document.getElementById('left').toDataURL()") != before
            if not answered:
                assert grave_violations(page, axe) == []
            page.locator("input[name=changed]").first.focus()
            page.keyboard.press("Space")
            page.locator("input[name=diagnosis]").first.focus()
            page.keyboard.press("Space")
            page.keyboard.press("Enter")
            page.wait_for_function(f"document.getElementById('progress').textContent.startsWith('{answered + 1} ')")
        page.get_by_text("That was the last pair").wait_for()
        watched.was_quiet_and_alone(address)
        page.close()
    with served(OpenedStore(copied)) as address:
        page = context.new_page()
        watched = Watched(page)
        page.goto(f"{address}/readers")
        page.locator("#rows tbody tr").first.wait_for()
        assert page.locator("#summary").inner_text().startswith("2 answers of 1 reader.")
        assert page.locator("#curves svg").count() == 1
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert grave_violations(page, axe) == []
        watched.was_quiet_and_alone(address)
        page.close()
    context.close()
