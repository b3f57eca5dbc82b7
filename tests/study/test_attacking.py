"""What one run reads back of its own records."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from tiny_study import Counting, cpu

from advassay.records import open_records
from advassay.spec.attack_spec import Arm
from advassay.spec.study_spec import Study
from advassay.store_layout import IMAGES, Store
from advassay.study.run.attack_job import _misclassified
from advassay.study.run.runner import run
from tests.simulate import COHORTS, population, write_run


def test_what_an_arm_misclassified_is_found_at_an_amplitude_written_as_a_fraction(tmp_path: Path) -> None:
    arm = Arm(epsilons=("5/255", 0.1), step_sizes=(0.01,), steps=6)
    images, cohort = population(COHORTS[0]), COHORTS[0]
    head = write_run(Store(tmp_path), cohort, images, "A", arm)
    sample = images.image_ids[:20].tolist()
    found = _misclassified(open_records(tmp_path).run(head.run_id), arm, sample)
    assert list(found) == list(arm.epsilons)
    assert 0 < len(found[5 / 255]) < len(found[0.1])
    assert set.union(*found.values()) <= set(sample)


def test_patients_that_have_changed_reach_the_run_without_a_new_attack(copied: Path, tiny: Study) -> None:
    header = next(h for h in open_records(copied).headers if h.cohort == "X-TB" and h.arm == "A")
    path = copied / "records" / header.run_id / IMAGES
    now = pl.read_parquet(path)
    now.with_columns(pl.lit("pstale").alias("patient_id")).write_parquet(path)
    counting = Counting()
    run(tiny, cpu(copied, progress=counting))
    assert pl.read_parquet(path).equals(now)
    assert "gradient steps" not in counting.done
