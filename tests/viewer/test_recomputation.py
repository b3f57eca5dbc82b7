"""An attacked image is shown only where every logit made again is the stored one."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from advassay.cohorts import open_cohort
from advassay.records.gallery import read_gallery, read_image
from advassay.records.row_shards import read_rows, write_shard
from advassay.records.run_reader import Run
from advassay.store_layout import MODEL, SHARDS
from advassay.viewer import OpenedStore, Recomputer
from advassay.viewer import recomputation as made_again
from advassay.viewer.recomputation import Recomputed, compare


def rows_of(opened: OpenedStore, arm: str, image: int = 0) -> list[tuple[str, str, str, float]]:
    """The rows of one image in the run of an arm."""
    run = next(run for run in opened.records.runs if run.header.arm == arm)
    image_id = run.images["image_id"][image]
    return [(run.header.run_id, image_id, name, epsilon) for name, epsilon in run.index.points() if epsilon > 0]


def made(opened: OpenedStore, arm: str = "A") -> Recomputed:
    return Recomputer(opened).wait(*rows_of(opened, arm)[0])


@pytest.mark.parametrize("arm", ["A", "C"])
def test_every_row_of_an_image_is_proved_bit_for_bit(opened: OpenedStore, arm: str) -> None:
    """Arm C starts at random and has two step sizes."""
    recomputer = Recomputer(opened)
    for image in range(6 if arm == "A" else 2):
        for key in rows_of(opened, arm, image):
            found = recomputer.wait(*key)
            assert found.proof.status == "exact", found.proof.reason
            assert found.proof.iterates == 5
            assert found.iterates is not None
            assert 0 < np.abs(found.iterates - found.iterates[0]).max() <= key[3] + 1e-7


def test_iterates_begin_at_the_prepared_image_and_end_at_the_one_of_the_gallery(opened: OpenedStore) -> None:
    example = next(one for one in read_gallery(opened.store.gallery) if one.epsilon > 0)
    found = Recomputer(opened).wait(example.run_id, example.image_id, example.step_size, example.epsilon)
    assert found.iterates is not None
    cohort = open_cohort(opened.store.cohort(example.cohort))
    np.testing.assert_array_equal(found.iterates[0], cohort.images([example.image_id])[0])
    stored = read_image(opened.store.gallery, example.adversarial_file)
    top = 2**example.bits - 1
    np.testing.assert_array_equal(np.rint(found.iterates[-1][0].astype(np.float64) * top), stored)


def change_weights(store: Path) -> None:
    path = next((store / "classifiers").glob(f"*/{MODEL}"))
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        about = file.metadata()
    tensors = load_file(path)
    name = next(name for name, tensor in tensors.items() if tensor.ndim == 2)
    tensors[name][0] += 1e-4
    save_file(tensors, path, about)


def test_a_changed_weight_is_refused_by_its_hash(copied: Path) -> None:
    change_weights(copied)
    found = made(OpenedStore(copied))
    assert (found.proof.status, found.iterates) == ("refused", None)
    assert "weights are not those" in found.proof.reason


def test_a_changed_weight_is_refused_by_its_logits_where_the_hash_does_not_tell(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_weights(copied)
    opened = OpenedStore(copied)
    recorded = opened.records.headers[0].weights_sha256
    monkeypatch.setattr(made_again, "file_sha256", lambda path: recorded)
    found = made(opened)
    assert (found.proof.status, found.iterates) == ("refused", None)
    assert "Not this record: from iterate" in found.proof.reason


def test_a_changed_stored_logit_is_refused(copied: Path) -> None:
    run_id, image_id, step_size, epsilon = rows_of(OpenedStore(copied), "A")[0]
    folder = copied / "records" / run_id
    for path in list((folder / SHARDS).glob("*.parquet")):
        rows = read_rows(path)
        here = (rows.image_id == image_id) & (rows.step_size == step_size) & (rows.epsilon == epsilon)
        logits = rows.logits.copy()
        logits[here, 3, 0] += 1e-5
        path.unlink()
        write_shard(folder / SHARDS, replace(rows, logits=logits))
    assert Run(folder).damaged == ()  # the file is whole: nothing else tells
    opened = OpenedStore(copied)
    found = Recomputer(opened).wait(run_id, image_id, step_size, epsilon)
    assert (found.proof.status, found.iterates) == ("refused", None)
    assert "from iterate 3 on" in found.proof.reason
    other = Recomputer(opened).wait(run_id, image_id, step_size, rows_of(opened, "A")[1][3])
    assert other.proof.status == "exact"  # the other amplitude of the image is as it was


def test_on_another_machine_the_tolerance_counts_and_is_said() -> None:
    stored = np.array([[1.0, -1.0], [-2.0, 2.0]], np.float32)
    near, far = stored + np.float32(1e-4), stored + np.float32(0.5)
    assert compare(stored, near, "processor (X, here Y)").status == "close"
    assert "processor (X, here Y)" in compare(stored, near, "processor (X, here Y)").reason
    assert compare(stored, far, "processor (X, here Y)").status == "refused"
    assert compare(stored, near, "").status == "refused"
    last_bit = np.nextafter(stored, np.float32(np.inf))
    at_places = {"places": lambda k: np.stack([last_bit[k], stored[k]])}
    assert compare(stored, last_bit, "", **at_places).status == "exact"  # as at another place of the batch
    assert compare(stored, near, "", places=lambda k: near[k][None]).status == "refused"
    undecided = np.array([[1.0, np.nan]], np.float32)
    assert compare(undecided, undecided.copy(), "").status == "exact"
    nothing = np.full((2, 2), np.nan, np.float32)
    assert compare(nothing, nothing.copy(), "").status == "refused"  # equal, and yet no evidence


def test_cohorts_without_a_gallery_are_not_shown_unless_asked_for(copied: Path) -> None:
    text = (copied / "study.yaml").read_text()
    assert "gallery" not in text
    (copied / "study.yaml").write_text(text.replace("\nfigures:\n", "\nfigures:\n  gallery: false\n"))
    found = made(OpenedStore(copied))
    assert (found.proof.status, found.iterates) == ("refused", None)
    assert "--show-all-images" in found.proof.reason
    assert made(OpenedStore(copied, show_all_images=True)).proof.status == "exact"


def test_a_network_that_the_store_does_not_hold_is_said(copied: Path) -> None:
    for path in (copied / "classifiers").glob(f"*/{MODEL}"):
        path.unlink()
    found = made(OpenedStore(copied))
    assert found.proof.status == "refused"
    assert "does not hold the network" in found.proof.reason


def test_several_people_may_ask_at_once(opened: OpenedStore) -> None:
    recomputer = Recomputer(opened)
    keys = [rows_of(opened, arm, image)[0] for arm in ("A", "C") for image in (8, 9, 10)]
    with ThreadPoolExecutor(6) as people:
        found = list(people.map(lambda key: polled(recomputer, key), keys))
    assert {one.proof.status for one in found} == {"exact"}


def polled(recomputer: Recomputer, key: tuple[str, str, str, float]) -> Recomputed:
    """As a page asks: again and again, though others may push it out of the queue."""
    while not isinstance(found := recomputer.request(*key), Recomputed):
        time.sleep(0.02)
    return found


def test_what_is_kept_is_bounded_and_the_latest_stays(opened: OpenedStore) -> None:
    one = 4 * 5 * 64 * 64
    recomputer = Recomputer(opened, most_bytes=3 * one)
    keys = [key for image in (0, 1, 2) for key in rows_of(opened, "A", image)]
    for key in keys:
        recomputer.wait(*key)
    kept = [key for key in keys if recomputer.get(*key) is not None]
    assert 0 < sum(recomputer.get(*key).n_bytes for key in kept) <= 3 * one  # type: ignore[union-attr]
    assert keys[-1] in kept


def test_refusals_do_not_pile_up(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change_weights(copied)
    monkeypatch.setattr(made_again, "REFUSALS_KEPT", 3)
    opened = OpenedStore(copied)
    recomputer = Recomputer(opened)
    keys = [key for image in range(4) for key in rows_of(opened, "A", image)]
    for key in keys:
        assert recomputer.wait(*key).proof.status == "refused"
    kept = [key for key in keys if recomputer.get(*key) is not None]
    assert 0 < len(kept) <= 3
    assert keys[-1] in kept
