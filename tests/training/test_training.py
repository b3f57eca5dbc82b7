"""train as a whole: what is promised about the network it leaves."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from memory_cohort import ROLES, MemoryCohort

from advassay.errors import AdvassayWarning, TrainingError
from advassay.models.weight_files import file_sha256, read_tensors
from advassay.spec.study_spec import TrainingSpec
from advassay.store_documents import TrainingDocument
from advassay.store_layout import MODEL, TRAINING
from advassay.training import load_classifier, train
from advassay.training.evaluation import recompute_statistics
from advassay.training.resume_state import PROGRESS
from advassay.training.training_data import ImageCache


def _train(cohort: MemoryCohort, spec: TrainingSpec, folder: Path, **changes: object) -> TrainingDocument:
    arguments = {"train_ids": cohort.ids("training"), "seed": 0, "updates": 6, "folder": folder} | changes
    return train(cohort, spec, **arguments)  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_weights_bit_for_bit_in_any_order_of_ids(
    trained: Path, cohort: MemoryCohort, spec: TrainingSpec, tmp_path: Path
) -> None:
    torch.manual_seed(99)  # the global generator has no say …
    again = _train(cohort, spec, tmp_path / "again", train_ids=cohort.ids("training")[::-1])
    assert torch.initial_seed() == 99  # … and is left as it was
    first, second = read_tensors(trained / MODEL), read_tensors(tmp_path / "again" / MODEL)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert again.weights_sha256 == file_sha256(trained / MODEL)
    other = _train(cohort, spec, tmp_path / "other", seed=1)
    assert other.classifier != again.classifier
    assert other.weights_sha256 != again.weights_sha256


@pytest.mark.parametrize("size", [3, 8, 13, 40])
def test_every_training_size_gets_exactly_the_same_number_of_updates(
    size: int, cohort: MemoryCohort, spec: TrainingSpec, tmp_path: Path
) -> None:
    counted = CountingProgress()
    document = _train(cohort, spec, tmp_path, train_ids=cohort.ids("training")[:size], updates=7, progress=counted)
    assert document.updates == counted.done == 7
    assert document.train_size == size
    assert document.full == (size == 40)
    assert [entry["update"] for entry in document.history] == [4, 7]


class CountingProgress:
    def __init__(self) -> None:
        self.done = 0.0

    def start(self, task: str, total: float | None, unit: str) -> None:
        assert (total, unit) == (7, "updates")

    def advance(self, task: str, amount: float = 1) -> None:
        self.done += amount

    def finish(self, task: str) -> None:
        return


def test_the_kept_network_carries_batch_norm_statistics_of_training_images(trained: Path, cohort: MemoryCohort) -> None:
    classifier = load_classifier(trained / MODEL)
    kept = {name: b.clone() for name, b in classifier.module.named_buffers() if "running" in name}
    images, _ = next(ImageCache(cohort, cohort.ids("training")).in_parts(np.arange(40), 40))
    assert recompute_statistics(classifier, [images]) > 0
    for name, buffer in classifier.module.named_buffers():
        if "running" in name:
            torch.testing.assert_close(buffer, kept[name], rtol=1e-4, atol=1e-5)


def test_training_learns_what_can_be_learned(tmp_path: Path) -> None:
    cohort = MemoryCohort(roles={"training": 60, "tuning": 12, "validation": 60})
    spec = TrainingSpec(architecture="test_resnet", updates=24, batch_size=16, learning_rate=3e-3, augment="none")
    document = _train(cohort, spec, tmp_path, updates=24)
    assert document.validation.accuracy > 0.9
    assert document.validation.auroc is not None
    assert document.validation.auroc > 0.95


def test_validation_images_are_not_read_before_the_network_is_chosen(spec: TrainingSpec, tmp_path: Path) -> None:
    cohort = MemoryCohort(roles=ROLES, sealed=("validation",))
    with pytest.raises(AssertionError, match=r"pixels of .'validation'. images were read"):
        _train(cohort, spec, tmp_path)
    assert set(cohort.ids("training")) | set(cohort.ids("tuning")) == set(cohort.read)
    reads_of_a_whole_training = len(cohort.ids("tuning")) * 2 + len(cohort.ids("training"))  # tuning: select, score
    assert len(cohort.read) == reads_of_a_whole_training, "validation images were read before training had ended"


def test_selection_on_validation_images_warns_and_says_so_in_the_document(
    cohort: MemoryCohort, spec: TrainingSpec, tmp_path: Path
) -> None:
    with pytest.warns(AdvassayWarning, match="optimistic"):
        document = _train(cohort, spec.model_copy(update={"select_on": "validation"}), tmp_path)
    assert any("optimistic" in note for note in document.warnings)


def test_without_a_tuning_part_the_last_network_is_kept_and_the_document_says_so(
    spec: TrainingSpec, tmp_path: Path
) -> None:
    cohort = MemoryCohort(roles={"training": 20, "validation": 8})
    with pytest.warns(AdvassayWarning, match="no tuning part"):
        document = _train(cohort, spec, tmp_path)
    assert (document.selected_update, document.tuning) == (6, None)
    assert document.warnings


def test_patience_ends_training_after_evaluations_without_improvement(
    cohort: MemoryCohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([0.5, 0.7, 0.6, 0.1])
    monkeypatch.setattr("advassay.training.evaluation.cross_entropy", lambda *_: next(losses))
    spec = TrainingSpec(architecture="test_resnet", updates=8, batch_size=8, evaluations=4, patience=2)
    document = _train(cohort, spec, tmp_path, updates=8)
    assert (document.updates, document.selected_update) == (6, 2)


def test_the_same_call_again_trains_nothing_and_damaged_weights_are_made_anew(
    trained: Path, cohort: MemoryCohort, spec: TrainingSpec, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(trained, folder)
    stored = TrainingDocument.model_validate_json((folder / TRAINING).read_text())
    assert _train(cohort, spec, folder) == stored
    assert cohort.read == []
    (folder / MODEL).write_bytes((folder / MODEL).read_bytes()[:-4])
    with pytest.warns(AdvassayWarning, match="trained again.*model.safetensors"):
        assert _train(cohort, spec, folder).weights_sha256 == stored.weights_sha256
    with pytest.raises(TrainingError, match="holds classifier"):
        _train(cohort, spec, folder, seed=5)


def test_a_run_stopped_half_way_leaves_nothing_and_ctrl_c_stays_ctrl_c(
    cohort: MemoryCohort, spec: TrainingSpec, tmp_path: Path
) -> None:
    class Stop(CountingProgress):
        def start(self, task: str, total: float | None, unit: str) -> None:
            return

        def advance(self, task: str, amount: float = 1) -> None:
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        _train(cohort, spec, tmp_path, progress=Stop())
    assert signal.getsignal(signal.SIGINT) is before
    assert list(tmp_path.iterdir()) == []


def test_training_writes_its_two_files_and_nothing_else_anywhere(
    cohort: MemoryCohort, spec: TrainingSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: object
) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    _train(cohort, spec, tmp_path / "classifier", updates=2)
    assert sorted(p.name for p in (tmp_path / "classifier").iterdir()) == [MODEL, TRAINING]
    assert list((tmp_path / "cwd").iterdir()) == []
    assert tuple(capfd.readouterr()) == ("", "")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"train_ids": ["0" * 16, "0" * 16]}, "distinct images"),
        ({"train_ids": []}, "distinct images"),
        ({"train_ids": [f"{41:016x}"]}, "1 of them of another role"),
        ({"train_ids": [f"{0:016x}", f"{2:016x}"]}, "every class needs a training image, class1"),
    ],
)
def test_training_images_that_cannot_be_trained_on_are_refused(
    change: dict[str, object], match: str, cohort: MemoryCohort, spec: TrainingSpec, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=match):
        _train(cohort, spec, tmp_path, **change)


def test_a_loss_that_is_not_finite_is_an_error_that_names_the_learning_rate(
    cohort: MemoryCohort, spec: TrainingSpec, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="learning_rate"):
        _train(cohort, spec.model_copy(update={"learning_rate": 1e30}), tmp_path)


def test_images_too_small_for_the_network_are_refused(cohort: MemoryCohort, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="needs at least 75 px, got 32"):
        _train(cohort, TrainingSpec(updates=2), tmp_path)


@pytest.mark.parametrize("stopped_after", [1, 3, 5])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_training_that_was_stopped_goes_on_to_the_same_weights(
    stopped_after: int, number: int, trained: Path, cohort: MemoryCohort, spec: TrainingSpec, tmp_path: Path
) -> None:
    class Stop(Quiet):
        def advance(self, task: str, amount: float = 1) -> None:
            super().advance(task, amount)
            if self.done == stopped_after:
                signal.raise_signal(number)

    def terminated(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, terminated)
    # Where the tests run in the background, the shell has the interrupt ignored.
    interrupted = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            _train(cohort, spec, tmp_path, progress=Stop())
        assert signal.getsignal(signal.SIGTERM) is terminated
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, interrupted)
    assert [path.name for path in tmp_path.iterdir()] == [PROGRESS]
    rest = Quiet()
    document = _train(cohort, spec, tmp_path, progress=rest)
    assert document.weights_sha256 == file_sha256(trained / MODEL)
    assert document.history == TrainingDocument.model_validate_json((trained / TRAINING).read_text()).history
    assert rest.done == 6  # those done before are told at once
    assert sorted(path.name for path in tmp_path.iterdir()) == [MODEL, TRAINING]


def test_training_killed_between_two_checkpoints_goes_on_to_the_same_weights(
    trained: Path, cohort: MemoryCohort, spec: TrainingSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Quiet):
        def advance(self, task: str, amount: float = 1) -> None:
            super().advance(task, amount)
            if self.done == 5:
                raise RuntimeError("killed")

    monkeypatch.setattr("advassay.training.resume_state.EVERY_SECONDS", 0.0)
    with pytest.raises(RuntimeError, match="killed"):
        _train(cohort, spec, tmp_path, progress=Killed())
    assert (tmp_path / PROGRESS).exists()
    assert _train(cohort, spec, tmp_path).weights_sha256 == file_sha256(trained / MODEL)


def test_training_that_goes_on_with_another_number_of_threads_says_so(
    cohort: MemoryCohort, spec: TrainingSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Quiet):
        def advance(self, task: str, amount: float = 1) -> None:
            super().advance(task, amount)
            if self.done == 3:
                raise RuntimeError("killed")

    monkeypatch.setattr("advassay.training.resume_state.EVERY_SECONDS", 0.0)
    with pytest.raises(RuntimeError, match="killed"):
        _train(cohort, spec, tmp_path, progress=Killed())
    state = torch.load(tmp_path / PROGRESS, weights_only=True)
    torch.save(state | {"threads": state["threads"] + 1}, tmp_path / PROGRESS)
    with pytest.warns(AdvassayWarning, match="went on at update 2"):
        document = _train(cohort, spec, tmp_path)
    assert any("went on at update 2" in note for note in document.warnings)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half", bytes(1000)])
def test_a_damaged_checkpoint_of_a_training_is_said_and_training_starts_anew(
    content: bytes, trained: Path, cohort: MemoryCohort, spec: TrainingSpec, tmp_path: Path
) -> None:
    (tmp_path / PROGRESS).write_bytes(content)
    with pytest.warns(AdvassayWarning, match="starts from its first update"):
        document = _train(cohort, spec, tmp_path)
    assert document.weights_sha256 == file_sha256(trained / MODEL)


class Quiet:
    """Counts updates."""

    def __init__(self) -> None:
        self.done = 0.0

    def start(self, task: str, total: float | None, unit: str) -> None:
        return

    def advance(self, task: str, amount: float = 1) -> None:
        self.done += amount

    def finish(self, task: str) -> None:
        return
