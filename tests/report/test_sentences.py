"""Sentences that depend on what was done: each must be true of its store."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulate import make_store
from written_report import SMALL, SMALL_ARMS

from advassay.analysis import intervals
from advassay.analysis.intervals import BOOTSTRAP, FEWEST_EITHER, FEWEST_PATIENTS, WILSON_EFFECTIVE, Counts
from advassay.checked_files import write_document
from advassay.cohorts import cohort_preparation
from advassay.report import gather, write_report
from advassay.report.figures.image_figures import bit_depth_note
from advassay.report.figures.success_by_confidence import fig3c
from advassay.report.figures.success_by_iteration import fig3b
from advassay.report.figures.training_curves import fig_training
from advassay.report.tables.table import tables
from advassay.report.text.limitations import limits
from advassay.report.text.methods import methods
from advassay.report.text.recorded_warnings import FOR_THE_RECORD
from advassay.store_documents import CHECKSUM
from advassay.store_layout import HEADER, PREPARATION, TRAINING, Store


@pytest.fixture
def one(tmp_path: Path) -> Store:
    """One cohort, one arm, without a size series."""
    make_store(tmp_path / "store", SMALL[:1], {"A": SMALL_ARMS["A"]}, gallery=False)
    return Store(tmp_path / "store")


def _edit(store: Store, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
    paths = sorted(store.root.rglob(name))
    assert paths
    for path in paths:
        document = json.loads(path.read_text(encoding="utf-8"))
        document.pop(CHECKSUM, None)
        change(document)
        write_document(path, document)


def _methods(store: Store) -> str:
    return " ".join(sentence for paragraph in methods(gather(store.root)) for sentence in paragraph.sentences)


def _training_caption(store: Store) -> str:
    figure = fig_training(gather(store.root))
    assert figure is not None
    return figure.caption


def test_without_a_tuning_part_no_best_evaluation_is_claimed(one: Store) -> None:
    def forget(document: dict[str, Any]) -> None:
        document["tuning"] = None
        for entry in document["history"]:
            del entry["tuning_loss"], entry["tuning_accuracy"]

    assert "the best of 3 evaluations on the tuning part is kept" in _methods(one)
    _edit(one, TRAINING, forget)
    assert "the network after the last update is kept" in _methods(one)
    assert "the best of" not in _methods(one)
    assert "had no tuning part" in _training_caption(one)


def test_a_checkpoint_chosen_on_validation_images_is_said_to_be(one: Store) -> None:
    _edit(one, TRAINING, lambda document: document["spec"].update(select_on="validation"))
    one.study.write_text(one.study.read_text().replace("select_on: tuning", "select_on: validation"))
    assert "evaluations on the validation images, those it is scored on, is kept" in _methods(one)
    assert "are on the validation images" in _training_caption(one)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "images, split by patient ("),
        ({"patients_known": False}, "images, split by image (patients not known) and treated as independent"),
        ({"split": "declared"}, "images, split as the source declares ("),
        ({"split": "none"}, "images, not split ("),
    ],
)
def test_splits_are_told_in_words(one: Store, changes: dict[str, Any], words: str) -> None:
    _edit(one, PREPARATION, lambda document: document.update(changes))
    assert words in _methods(one)


def test_a_network_brought_along_is_reproduced_by_its_attack_not_by_a_study(one: Store) -> None:
    _edit(one, PREPARATION, lambda document: document.update(split="none"))
    _edit(one, HEADER, lambda document: document.update(train_size=None))
    for path in one.root.rglob(TRAINING):
        path.unlink()
    page = write_report(one.root).read_text(encoding="utf-8")
    assert "advassay attack --model" in page
    assert "advassay run study.yaml" not in page
    assert "of the validation split" not in page
    assert "any of them may be attacked" in page


def test_a_trained_study_is_reproduced_by_running_it(one: Store) -> None:
    page = write_report(one.root).read_text(encoding="utf-8")
    assert "advassay run study.yaml" in page
    assert "Attacked images are of the validation split." in page


def test_the_interval_rule_names_every_reason_to_leave_the_bootstrap(one: Store) -> None:
    told = _methods(one)
    reasons = (
        f"fewer than {FEWEST_EITHER} with a misclassified image or fewer than {FEWEST_EITHER} with an image that is"
    )
    assert f"fewer than {FEWEST_PATIENTS} effective patients, {reasons}" in told
    assert "Student’s t" in told


def test_degrees_of_freedom_are_told_as_each_method_takes_them(one: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[float] = []
    student = intervals._student

    def noted(groups: np.ndarray, level: float) -> np.ndarray:
        taken.append(float(groups[-1]))
        return student(groups, level)

    sizes = np.arange(1.0, 41.0)  # 40 patients, as many as 27.3 of equal size
    few = np.where(np.arange(40) < 5, 1.0, 0.0)
    monkeypatch.setattr(intervals, "_student", noted)
    *_, methods_used = intervals.intervals(Counts(np.stack([few, sizes // 2]), np.stack([sizes, sizes])))
    assert methods_used == [WILSON_EFFECTIVE, BOOTSTRAP]
    assert taken == pytest.approx([sizes.sum() ** 2 / (sizes**2).sum()] * 2)
    told = _methods(one)
    assert "with effective patients − 1 degrees of freedom" in told
    assert "Kish’s number, (Σm)² / Σm² for patients of m images each." in told


def test_the_last_confidence_bin_is_told_as_closed(one: Store) -> None:
    told = fig3c(gather(one.root)).description
    assert "in the highest bin [0.95, 1.00]" in told
    assert "above 0.95" not in told


def test_the_deidentification_check_of_dicom_files_is_shown(one: Store) -> None:
    checked = {"files": 40, "met": {"PatientName": 38, "PatientID": 40}, "carried": [], "columns_checked": ["sex"]}
    assert "deidentification" not in gather(one.root).tables
    _edit(one, PREPARATION, lambda document: document.update(deidentification=checked))
    [cells] = tables(gather(one.root))["deidentification"].rows
    assert [cell.text for cell in cells[1:]] == ["40", "PatientID (40), PatientName (38)", "none", "sex"]


def test_rows_without_a_patient_are_a_limit(one: Store) -> None:
    _edit(one, PREPARATION, lambda document: document.update(without_patient=7, candidates=90))
    assert any("without a patient, each counted as its own: X-TB 7 of 90." in text for text in limits(gather(one.root)))


def test_only_what_can_change_a_number_is_read_first(one: Store) -> None:
    harmless = "Columns of the source not carried along: site (carry: names more)."
    grave = "3 patients have images in training and in validation: scores are optimistic."
    _edit(one, PREPARATION, lambda document: document.update(warnings=[harmless, grave]))
    page = write_report(one.root).read_text(encoding="utf-8")
    first, rest = page.split('<section id="cohorts">')
    assert grave in first
    assert harmless not in first
    assert harmless in rest.split('<section id="results">')[0]


def test_what_the_report_calls_harmless_is_what_preparation_writes() -> None:
    """The sentence is recognised by its beginning, so both sides must keep the same words."""
    written = inspect.getsource(cohort_preparation)
    assert all(beginning in written for beginning in FOR_THE_RECORD)


@pytest.mark.parametrize(("bits", "deep"), [(8, False), (16, True)])
def test_sixteen_bits_are_named_only_where_there_are_some(one: Store, bits: int, deep: bool) -> None:
    _edit(one, PREPARATION, lambda document: document.update(bits=bits))
    assert ("65\u202f535" in bit_depth_note(gather(one.root))) is deep


def test_captions_name_the_margin_of_the_conclusion_they_serve(one: Store) -> None:
    found = gather(one.root)
    assert (
        "a change within ±2 percentage points over the second half of the iterations, and with twice as many, counts as"
        in fig3b(found).caption
    )
    assert "wholly within 1/1.25 to 1.25 counts as no difference, unless it excludes 1" in fig3c(found).caption


def test_no_verdict_has_a_hyphen_for_a_minus(one: Store) -> None:
    assert not [c.number for c in gather(one.root).conclusions if re.search(r"(?<![\w-])-\d", c.reason)]
