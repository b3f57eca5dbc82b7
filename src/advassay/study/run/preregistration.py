"""The analysis plan, written into the store before anything is attacked, with every later change beside it."""

from __future__ import annotations

import warnings
from typing import TypeVar

from advassay.checked_files import write_document
from advassay.errors import AdvassayWarning
from advassay.records import open_records, read_analysis
from advassay.records.run_header import now
from advassay.spec.base_model import Frozen
from advassay.spec.study_spec import Study
from advassay.store_documents import AnalysisDocument, StatedPlan
from advassay.store_layout import Store
from advassay.study.jobs import series_arm

Spec = TypeVar("Spec", bound=Frozen)


def freeze_analysis_plan(study: Study, store: Store) -> AnalysisDocument:
    """Write the study's analysis plan to STORE/analysis.json, or note there how it differs from what was stated last.

    The first plan stays the one in force. Called under the store's lock, before the first row is attacked; a store
    that already holds rows gets its plan with their number, and so not as a pre-specified one. Returns the document.
    Raises FormatError where the file does not hold the plan that was frozen.
    """
    kept = read_analysis(store.root)
    plan = _as_read_back(study.resolved_analysis())
    assert plan.arm is not None
    arm = _as_read_back(study.attack.arm(plan.arm).model_copy(update={"images": None}))
    series = series_epsilons(study, plan.arm)
    asked = {"transfer": bool(study.attack.transfer), "features": bool(study.attack.features)}
    if kept is not None:
        latest = kept.history[-1] if kept.history else kept
        # None: frozen before this was kept.
        same = all(getattr(latest, name) in (None, value) for name, value in asked.items())
        if (latest.plan, latest.arm) == (plan, arm) and latest.series_epsilons in (None, series) and same:
            return kept
    rows = _recorded_rows(store)
    stated = StatedPlan(
        plan=plan, sha256=plan.sha256, frozen=now(), attacked_before=rows, arm=arm, series_epsilons=series, **asked
    )
    if kept is None:
        return _write(store, AnalysisDocument(**dict(stated)))
    return _write(store, kept.model_copy(update={"history": (*kept.history, stated)}))


def series_epsilons(study: Study, arm: str) -> tuple[float, ...]:
    """Amplitudes at which `arm` attacks networks of other training sizes, rising; empty where it attacks none."""
    name, declared = series_arm(study.attack)
    if name != arm or not any(cohort.train_sizes for cohort in study.cohorts.values()):
        return ()
    return tuple(sorted(_as_read_back(declared.model_copy(update={"images": None})).epsilons))


def _as_read_back(spec: Spec) -> Spec:
    """The spec as its JSON reads: 5/255 becomes the decimal of 12 digits that records keep."""
    return type(spec).model_validate(spec.model_dump(mode="json"))


def _recorded_rows(store: Store) -> int:
    """Rows of every run in the store, as its shards hold them: a killed session leaves no counts in the header."""
    if not store.records.is_dir():
        return 0
    with warnings.catch_warnings():  # what a reader should know of the runs is said when they are read for it
        warnings.simplefilter("ignore", AdvassayWarning)
        records = open_records(store.root)
    headers = (*records.headers, *records.superseded, *records.reruns)
    return sum(len(records.run(header.run_id).index) for header in headers)


def _write(store: Store, document: AnalysisDocument) -> AnalysisDocument:
    """Replace the file; the disk keeps it before the first attack begins (layout.writing)."""
    write_document(store.analysis, document)
    return document
