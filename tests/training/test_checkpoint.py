from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from memory_cohort import MemoryCohort
from safetensors.torch import save_file

from advassay.errors import TrainingError
from advassay.models.checkpoint import as_classifier, write_checkpoint
from advassay.models.timm_networks import build_network
from advassay.models.weight_files import read_tensors
from advassay.store_layout import MODEL
from advassay.training import checkpoint_metadata, load_classifier


def test_a_written_classifier_comes_back_with_the_same_logits_bit_for_bit(tmp_path: Path, trained: Path) -> None:
    metadata = checkpoint_metadata(trained / MODEL).model_copy(update={"channels": 3})
    network = build_network("test_resnet", channels=3, classes=2, image_size_px=32, seed=5)
    for part in network.modules():  # statistics that differ from their initial values
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.uniform_(-1, 1)
    before = as_classifier(network.to(memory_format=torch.channels_last), 0.5, 0.5, 3, metadata.class_names).eval()
    write_checkpoint(tmp_path / "model.safetensors", network, metadata)
    after = load_classifier(tmp_path / "model.safetensors")
    images = torch.rand(4, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(before.to(memory_format=torch.contiguous_format)(images), after(images))
    assert not any(part.training for part in after.modules())


def test_the_header_alone_says_what_the_classifier_expects(trained: Path, cohort: MemoryCohort) -> None:
    seen = checkpoint_metadata(trained / MODEL)
    for name in ("class_names", "positive", "image_type", "channels", "image_size_px", "scaling", "resize", "bits"):
        assert getattr(seen, name) == getattr(cohort.preparation, name), name
    assert (seen.architecture, seen.mean, seen.std, seen.updates) == ("test_resnet", 0.5, 0.5, 6)


def _foreign(path: Path) -> None:
    save_file({"w": torch.zeros(1)}, path)


def _pickled(path: Path) -> None:
    torch.save({"w": torch.zeros(1)}, path)


def _from_the_future(path: Path) -> None:
    save_file({"w": torch.zeros(1)}, path, metadata={"advassay": json.dumps({"format_version": 99})})


def _incomplete(path: Path) -> None:
    save_file({"w": torch.zeros(1)}, path, metadata={"advassay": json.dumps({"format_version": 1})})


@pytest.mark.parametrize(
    ("write", "seen"),
    [
        (_foreign, "without advassay's metadata"),
        (_pickled, "not a safetensors file"),
        (_from_the_future, "format 99"),
        (_incomplete, "do not describe a classifier"),
        (lambda path: path.write_bytes(b""), "not a safetensors file"),
        (lambda path: None, "no such file"),
    ],
)
def test_a_foreign_file_is_refused_with_what_was_seen(write: object, seen: str, tmp_path: Path) -> None:
    write(tmp_path / "x.safetensors")  # type: ignore[operator]
    with pytest.raises(TrainingError, match=seen) as caught:
        load_classifier(tmp_path / "x.safetensors")
    assert "advassay.Classifier(module" in caught.value.fix or "newer" in caught.value.fix


def test_a_file_cut_short_or_of_other_weights_is_refused(trained: Path, tmp_path: Path) -> None:
    whole = (trained / MODEL).read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-100])
    with pytest.raises(TrainingError, match="damaged"):
        load_classifier(tmp_path / "cut.safetensors")
    tensors = read_tensors(trained / MODEL)
    tensors.popitem()
    metadata = {"advassay": checkpoint_metadata(trained / MODEL).model_dump_json()}
    save_file(tensors, tmp_path / "less.safetensors", metadata=metadata)
    with pytest.raises(TrainingError, match="do not fit test_resnet"):
        load_classifier(tmp_path / "less.safetensors")
