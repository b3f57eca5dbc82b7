from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch
from memory_cohort import ROLES, MemoryCohort
from safetensors.torch import save_file

from advassay.spec.study_spec import TrainingSpec
from advassay.training import classifier_identity


def _identity(cohort: MemoryCohort, spec: TrainingSpec, **changes: object) -> str:
    arguments = {"train_ids": cohort.ids("training"), "seed": 0, "data": None} | changes
    return classifier_identity(cohort, spec, **arguments)  # type: ignore[arg-type]


def _with_label(cohort: MemoryCohort, role: str) -> MemoryCohort:
    """The cohort with one image of `role` relabelled."""
    changed = MemoryCohort(roles=ROLES)
    target = cohort.ids(role)[0]
    changed.manifest = changed.manifest.with_columns(
        label=pl.when(pl.col("image_id") == target).then(1 - pl.col("label")).otherwise(pl.col("label"))
    )
    return changed


def test_the_identity_is_that_of_the_document_and_needs_no_training(
    trained: Path, cohort: MemoryCohort, spec: TrainingSpec
) -> None:
    from advassay.training import checkpoint_metadata

    assert checkpoint_metadata(trained / "model.safetensors").classifier == _identity(cohort, spec)
    assert cohort.read == []


@pytest.mark.parametrize(
    "field", [{"learning_rate": 1e-3}, {"updates": 7}, {"augment": "none"}, {"seed": 1}, {"batch_size": 9}]
)
def test_any_field_of_the_spec_changes_the_identity(
    field: dict[str, object], cohort: MemoryCohort, spec: TrainingSpec
) -> None:
    assert _identity(cohort, spec.model_copy(update=field)) != _identity(cohort, spec)


@pytest.mark.parametrize("role", ["training", "tuning"])
def test_a_changed_label_of_an_image_used_changes_the_identity(
    role: str, cohort: MemoryCohort, spec: TrainingSpec
) -> None:
    assert _identity(_with_label(cohort, role), spec) != _identity(cohort, spec)


def test_validation_images_enter_the_identity_only_where_they_choose_the_network(
    cohort: MemoryCohort, spec: TrainingSpec
) -> None:
    changed = _with_label(cohort, "validation")
    assert _identity(changed, spec) == _identity(cohort, spec)
    peeking = spec.model_copy(update={"select_on": "validation"})
    assert _identity(changed, peeking) != _identity(cohort, peeking)


def test_epochs_and_the_updates_they_mean_are_one_identity(cohort: MemoryCohort, spec: TrainingSpec) -> None:
    epochs = TrainingSpec(**(spec.model_dump() | {"updates": None, "epochs": 1.2}))
    assert _identity(cohort, epochs) == _identity(cohort, spec)  # 1.2 · 40 images / 8 = 6 updates


def test_start_weights_count_by_content_and_not_by_name(
    cohort: MemoryCohort, spec: TrainingSpec, tmp_path: Path
) -> None:
    for name, value in {"a": 0.0, "b": 0.0, "c": 1.0}.items():
        save_file({"w": torch.tensor([value])}, tmp_path / f"{name}.safetensors")
    a, b, c = (
        _identity(cohort, spec.model_copy(update={"weights": f"{name}.safetensors"}), data=tmp_path) for name in "abc"
    )
    assert a == b != c
    assert a != _identity(cohort, spec)
