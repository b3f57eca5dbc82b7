"""Which runs count after a study was changed in its store, field by field, and changed back."""

from __future__ import annotations

import shutil
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from blocks import IMAGES, block, header, writer

from advassay.errors import AdvassayWarning
from advassay.identity import content_hash
from advassay.records import RunHeader, open_records, run_identity
from advassay.records.current_runs import current_runs
from advassay.spec.study_spec import Study
from advassay.store_documents import Preparation, TrainingDocument

STUDY: dict[str, Any] = {
    "name": "s",
    "sources": {"chest": {"kind": "phantoms", "phantom": "chest", "images": 10, "size_px": 40}},
    "cohorts": {"X": {"source": "chest", "image_type": "X-ray", "seeds": 2, "classes": {
        "a": {"tuberculosis": "present"}, "b": {"norm": "present"}}}},
    "training": {"architecture": "resnet18", "updates": 4},
    "attack": {"steps": 3, "epsilons": [0.02], "arms": {"A": {}}},
}  # fmt: skip
TRAINING = {
    "seed": 1, "updates": 5, "batch_size": 8, "learning_rate": 0.5, "architecture": "resnet34", "evaluations": 2,
}  # fmt: skip
ATTACK = {
    "steps": 4, "loss": "margin", "norm": "l2", "update": "projected-gradient", "seed": 3, "random_start": True,
}  # fmt: skip


class Kept:
    """A store's headers and trainings, as `attack` leaves them."""

    def __init__(self) -> None:
        self.headers: dict[str, RunHeader] = {}
        self.trainings: dict[str, TrainingDocument] = {}

    def attack(self, study: Study) -> set[str]:
        made = set()
        first = study.training.seed
        spec = study.training.model_dump(mode="json")
        for seed in range(first, first + study.cohorts["X"].seeds):
            network = content_hash([spec, seed])
            self.trainings[network] = TrainingDocument.model_construct(classifier=network, spec=spec, seed=seed)
            arm = study.attack.arm("A")
            run = run_identity(classifier=network, arm=arm, cohort_identity="k0")
            made.add(run)
            self.headers[run] = header(
                run_id=run, cohort="X", classifier=network, train_size=8, seed=seed, primary=seed == first, full=True,
                updated=f"{len(self.headers):04d}",
            )  # fmt: skip
        return made

    def current(self, study: Study) -> set[str]:
        prepared = Preparation.model_construct(cohort="X", identity="k0", counts={"training": {"a": 4, "b": 4}})
        asked = study.model_dump(mode="json", by_alias=True)
        return current_runs(list(self.headers.values()), asked, {"X": prepared}, list(self.trainings.values()))


def changed(part: str, field: str, value: object) -> Study:
    return Study.model_validate(STUDY | {part: STUDY[part] | {field: value}})


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [("training", *item) for item in TRAINING.items()] + [("attack", *item) for item in ATTACK.items()],
)
def test_one_run_is_current_at_each_place_whatever_was_changed(part: str, field: str, value: object) -> None:
    store, study, other = Kept(), Study.model_validate(STUDY), changed(part, field, value)
    first = store.attack(study)
    with pytest.warns(AdvassayWarning, match="the latest earlier run is shown"):
        pooled = store.current(other)  # not attacked yet: what there is stands, once at each place
    assert most_at_a_place(store, pooled) == 1
    second = store.attack(other)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.current(other) == second
        if field != "seed" or part == "attack":  # a network of both studies' seeds is another place's until then
            assert store.current(study) == first
        assert store.attack(study) == store.current(study)


def most_at_a_place(store: Kept, runs: set[str]) -> int:
    kept = [store.headers[run] for run in runs]
    return max(Counter((h.cohort, h.arm, "main" if h.primary else h.seed) for h in kept).values())


def test_a_copied_run_folder_is_said_and_not_counted_twice(tmp_path: Path) -> None:
    run_id = header().run_id
    writer(tmp_path / "records" / run_id).append(block(IMAGES))
    whole = open_records(tmp_path).outcomes().collect()
    shutil.copytree(tmp_path / "records" / run_id, tmp_path / "records" / f"{run_id}-backup")
    with pytest.warns(AdvassayWarning, match=rf"{run_id}-backup.*are not named by their run"):
        records = open_records(tmp_path)
    assert records.outcomes().collect().equals(whole)
    assert open_records(tmp_path / "records" / f"{run_id}-backup").outcomes().collect().height == whole.height
