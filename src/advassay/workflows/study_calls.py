"""A study from Python: `advassay.plan`, `advassay.run` and `advassay.report`, beside the verbs of the same names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from advassay.errors import SpecError
from advassay.progress import Progress
from advassay.spec.study_spec import Study
from advassay.workflows.study_result import StudyResult

if TYPE_CHECKING:
    from advassay.study import Plan, RunEnvironment
    from advassay.study.run.prepare_stage import Failures

AnyPath = str | os.PathLike[str]
Device = Literal["auto", "cpu", "cuda"]
Format = Literal["html", "md", "csv", "json", "pdf"]


def plan(
    study: Study | AnyPath,
    *,
    store: AnyPath | None = None,
    data: AnyPath | None = None,
    device: Device = "auto",
    threads: int | None = None,
    scale: float = 1.0,
    phantoms: bool = False,
    overrides: Sequence[str] = (),
    measure: bool = True,
    failures: Failures | None = None,
) -> Plan:
    """What a study would do, what the store already has, and an estimate of time and disk. Nothing is written.

    `study`: a study file (YAML) or a `Study`. `store`: where `run` would write; runs/NAME of the study by default.
    `data`: the folder that paths in the study start from. `measure`: measure this machine for a few seconds to estimate
    time. `scale`, `phantoms`, `overrides` and `failures`: as for `run`.

    Raises SpecError for a study that breaks a rule, SourceError for images that cannot be read, CohortError for a
    cohort that cannot be formed.
    """
    from advassay.study.plan.study_plan import plan as plan_study

    read = _read(study, scale, phantoms, overrides)
    return plan_study(read, _site(read, store, data, device, threads), timed=measure, failures=failures)


def run(
    study: Study | AnyPath,
    *,
    store: AnyPath | None = None,
    data: AnyPath | None = None,
    device: Device = "auto",
    threads: int | None = None,
    scale: float = 1.0,
    phantoms: bool = False,
    overrides: Sequence[str] = (),
    key_file: AnyPath | None = None,
    failures: Failures | None = None,
    progress: Progress | None = None,
) -> StudyResult:
    """Prepare, train and attack whatever the store lacks of a study, and give its results.

    `study`: a study file (YAML) or a `Study`. `store`: a folder; runs/NAME of the study by default. Stopped at any
    point, the same call continues. `data`: the folder that paths in the study start from. `scale`: multiply all sample
    sizes. `phantoms`: put each cohort's `phantom` block in place of its source. `overrides`: "PATH=VALUE" texts, e.g.
    "attack.steps=5"; these three apply to a study file, not to a `Study`. `key_file`: secret key for pseudonymising
    patient IDs. `failures`: takes the error of each cohort that cannot be formed while the others go on; without it
    the first such error is raised. Write the report with `.report()` of the result.

    Raises SpecError, SourceError, CohortError, TrainingError, AttackError or StoreError, as the verb `run` says them.
    """
    from advassay.study.run.runner import run as run_study

    read = _read(study, scale, phantoms, overrides)
    site = _site(read, store, data, device, threads, key_file, progress)
    run_study(read, site, failures)
    return StudyResult(site.store.root)


def report(
    store: AnyPath,
    output: AnyPath | None = None,
    format: Format = "html",
    *,
    files: bool = True,
    progress: Progress | None = None,
) -> Path:
    """Write the report of a store and return its path: one page that opens offline, figures and tables beside it.

    `output`: the file to write (csv: a folder); STORE/report/ by default. `format`: html, md, csv, json or pdf.
    `files`: with html, write figures and tables as files too. Needs no images and no torch.

    Raises ReportError where nothing is recorded yet, StoreError where there is no store, SpecError for an unknown
    format.
    """
    from advassay.report import write_report

    return write_report(Path(store), None if output is None else Path(output), format, files=files, progress=progress)


def _read(study: Study | AnyPath, scale: float, phantoms: bool, overrides: Sequence[str]) -> Study:
    """The study with its changes. Raises SpecError for changes to a `Study`, which says already what it is."""
    from advassay.study import load_study

    if not isinstance(study, Study):
        return load_study(Path(study), overrides=overrides, scale=scale, phantoms=phantoms)
    if scale != 1.0 or phantoms or overrides:
        raise SpecError(
            "study: expected a study file where scale, phantoms or overrides change it, got a Study.",
            "Change the Study itself with study.model_copy(update=…), or give the file.",
        )
    return study


def _site(
    study: Study,
    store: AnyPath | None,
    data: AnyPath | None,
    device: Device,
    threads: int | None,
    key_file: AnyPath | None = None,
    progress: Progress | None = None,
) -> RunEnvironment:
    from advassay.study import make_environment

    return make_environment(
        Path("runs") / study.name if store is None else Path(store),
        data=None if data is None else Path(data),
        device=device,
        threads=threads,
        key_file=None if key_file is None else Path(key_file),
        progress=progress,
    )
