"""Results made in Python, in a store: every number is that of the result itself, and nothing is made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_models import TinyCnn, as_input

import advassay as aa
from advassay.errors import InputError, SpecError
from advassay.identity import image_id
from advassay.records import open_records, read_gallery
from advassay.trajectory import Sweep

Arrays = tuple[np.ndarray, np.ndarray]
NAMES = ("wide", "tall")
EPSILONS = (0.5 / 255, 2 / 255, 8 / 255)
ATTACK = aa.PGD(2 / 255, step_size="epsilon/4", steps=6, loss="margin")


@pytest.fixture(scope="module")
def classifier(network: TinyCnn) -> aa.Classifier:
    return aa.Classifier(network, class_names=NAMES)


@pytest.fixture(scope="module")
def swept(classifier: aa.Classifier, images: Arrays) -> Sweep:
    return aa.sweep(classifier, as_input(images[0]), images[1], ATTACK, EPSILONS, precision="exact")


def test_a_sweep_in_a_store_has_its_own_rates_with_intervals(
    swept: Sweep, classifier: aa.Classifier, images: Arrays, tmp_path: Path
) -> None:
    people = [f"p{number // 2}" for number in range(40)]
    (tmp_path / "key").write_bytes(bytes(range(32)))
    result = aa.store_results(
        swept, as_input(images[0]), store=tmp_path / "mine", classifier=classifier, patients=people,
        key_file=tmp_path / "key", cohort="bars", image_type="phantom",
    )  # fmt: skip
    frame = result.to_polars()
    assert frame["rate"].to_list() == pytest.approx(swept.attack_success_rate()[:, -1].tolist())
    assert (frame["low"] <= frame["rate"]).all()
    assert result.robust_accuracy("2/255").value == pytest.approx(swept.robust_accuracy()[1, -1])
    (header,) = open_records(result.store).headers
    assert (header.cohort, header.class_names, header.positive) == ("bars", NAMES, "tall")
    assert (header.image_size_px, header.channels, header.bits) == (28, 1, 8)
    assert (header.study, header.train_size, header.seed, header.controls) == ("", None, None, None)
    known = open_records(result.store).runs[0].images
    assert known["patient_id"].n_unique() == 20
    assert not set(known["patient_id"]) & set(people)
    page = result.report(tmp_path / "page.html").read_text()
    assert "No controls are recorded" in page
    assert 'id="answer"' in page


def test_stored_paths_are_those_of_the_sweep(
    swept: Sweep, classifier: aa.Classifier, images: Arrays, tmp_path: Path
) -> None:
    pixels = as_input(images[0])
    result = aa.store_results(swept, pixels, store=tmp_path / "mine", classifier=classifier)
    run = open_records(result.store).runs[0]
    ids = run.images["image_id"].to_list()
    rows = run.rows()
    for place, epsilon in enumerate(EPSILONS):
        here = np.abs(rows.epsilon - epsilon) < 1e-9
        order = [ids.index(str(one)) for one in rows.image_id[here]]
        assert np.array_equal(rows.logits[here], swept.logits[place].swapaxes(0, 1)[order])
        assert np.array_equal(rows.linf[here], swept.linf[place].swapaxes(0, 1)[order])


def test_the_same_results_again_change_nothing_and_more_amplitudes_join_their_run(
    swept: Sweep, classifier: aa.Classifier, images: Arrays, tmp_path: Path
) -> None:
    pixels = as_input(images[0])
    aa.store_results(swept, pixels, store=tmp_path / "mine", classifier=classifier)
    aa.store_results(swept, pixels, store=tmp_path / "mine", classifier=classifier)
    more = aa.sweep(classifier, pixels, images[1], ATTACK, [4 / 255], precision="exact")
    result = aa.store_results(more, pixels, store=tmp_path / "mine", classifier=classifier)
    (header,) = open_records(result.store).headers
    assert (header.rows, header.images) == (4 * 40, 40)
    assert len(result.to_polars()) == 4
    assert header.cost.gradient_evaluations == swept.cost.gradient_evaluations + more.cost.gradient_evaluations


def test_further_images_join_those_of_their_cohort(
    swept: Sweep, classifier: aa.Classifier, images: Arrays, tmp_path: Path
) -> None:
    pixels = as_input(images[0])
    for part in (slice(0, 25), slice(25, 40)):
        found = aa.sweep(classifier, pixels[part], images[1][part], ATTACK, EPSILONS, precision="exact")
        result = aa.store_results(found, pixels[part], store=tmp_path / "mine", classifier=classifier)
    assert result.accuracy.n == 40
    assert result.to_polars()["rate"].to_list() == pytest.approx(swept.attack_success_rate()[:, -1].tolist())
    (tmp_path / "key").write_bytes(bytes(range(32)))
    with pytest.raises(InputError, match="patients: expected none, as in the rows of images"):
        aa.store_results(
            swept, pixels, store=tmp_path / "mine", classifier=classifier, patients=["a"] * 40,
            key_file=tmp_path / "key",
        )  # fmt: skip


def test_a_search_is_stored_with_both_its_ends(classifier: aa.Classifier, images: Arrays, tmp_path: Path) -> None:
    pixels = as_input(images[0])
    attack = aa.PGD(8 / 255, steps=30, update="square", loss="margin")
    found = aa.sweep(classifier, pixels, images[1], attack, EPSILONS)
    result = aa.store_results(found, pixels, store=tmp_path / "mine", classifier=classifier)
    (header,) = open_records(result.store).headers
    assert (header.steps, header.attack["steps"]) == (1, 30)
    assert result.to_polars()["rate"].to_list() == pytest.approx(found.attack_success_rate()[:, -1].tolist())


def test_what_a_result_was_asked_for_and_of_is_kept_and_checked(
    swept: Sweep, classifier: aa.Classifier, images: Arrays, tmp_path: Path
) -> None:
    pixels = as_input(images[0])
    fast = aa.sweep(classifier, pixels, images[1], ATTACK, EPSILONS, precision="fast32")
    result = aa.store_results(fast, pixels, store=tmp_path / "fast", classifier=classifier)
    assert open_records(result.store).headers[0].attack["precision"] == "fast32"
    short = aa.sweep(classifier, pixels, images[1], ATTACK, EPSILONS, first_success_only=True)
    with pytest.raises(InputError, match="ended images at their first success"):
        aa.store_results(short, pixels, store=tmp_path / "mine", classifier=classifier)
    with pytest.raises(InputError, match="other logits for the clean images"):
        aa.store_results(swept, pixels.flip(0), store=tmp_path / "mine", classifier=classifier)
    with pytest.raises(InputError, match="other logits for the clean images"):
        aa.store_results(swept, pixels, store=tmp_path / "mine", classifier=aa.Classifier(TinyCnn().eval()))
    assert not list((tmp_path / "mine").rglob("*.parquet"))


def test_a_trajectory_keeps_a_few_of_its_images_and_arms_are_put_together_image_by_image(
    swept: Sweep, classifier: aa.Classifier, images: Arrays, tmp_path: Path
) -> None:
    pixels = as_input(images[0])
    one = aa.attack(classifier, pixels, images[1], aa.PGD(2 / 255, step_size="epsilon/4", steps=6))
    result = aa.store_results(
        {"margin": swept, "cross-entropy": one}, pixels, store=tmp_path / "mine", classifier=classifier
    )
    kept = read_gallery(result.store / "gallery")
    assert len(kept) == 4
    assert {example.label for example in kept} == {0, 1}
    last = one.logits[-1].argmax(1)
    by_pixels = {image_id(p): d for p, d in zip(pixels.numpy(), last, strict=True)}
    assert all(example.predicted == by_pixels[example.image_id] for example in kept)
    correct = swept.logits[1, 0].argmax(1) == images[1]
    still = correct & (swept.logits[:2, -1].argmax(2) == images[1]).all(0) & (last == images[1])
    assert result.worst_case("2/255").value == pytest.approx(still.mean())


def test_restarts_of_a_sweep_are_stored_with_it(classifier: aa.Classifier, images: Arrays, tmp_path: Path) -> None:
    pixels = as_input(images[0])
    attack = aa.PGD(1 / 255, step_size="epsilon/4", steps=4, random_start=True, restarts=2)
    found = aa.sweep(classifier, pixels, images[1], attack, [1 / 255], step_sizes=["epsilon/4", 0.001])
    assert found.restarts is not None
    result = aa.store_results(found, pixels, store=tmp_path / "mine", classifier=classifier)
    rows = open_records(result.store).runs[0].rows()
    assert int((rows.restart > 0).sum()) == int((found.restarts.restart > 0).sum()) > 0
    assert {str(name) for name in rows.step_size} == {"epsilon/4", "0.001"}


def test_what_does_not_fit_is_refused(swept: Sweep, classifier: aa.Classifier, images: Arrays, tmp_path: Path) -> None:
    pixels, key = as_input(images[0]), tmp_path / "key"
    key.write_bytes(bytes(range(32)))
    with pytest.raises(InputError, match="expected the 40 images of result A, got 39"):
        aa.store_results(swept, pixels[:39], store=tmp_path / "mine", classifier=classifier)
    with pytest.raises(InputError, match="expected each once, got 39 that occur more often"):
        aa.store_results(swept, pixels[:1].repeat(40, 1, 1, 1), store=tmp_path / "mine", classifier=classifier)
    with pytest.raises(SpecError, match="class_names: expected 2 different names"):
        aa.store_results(swept, pixels, store=tmp_path / "mine", classifier=classifier, class_names=["a", "b", "c"])
    with pytest.raises(InputError, match="patients: expected one an image, 40, got 1"):
        aa.store_results(swept, pixels, store=tmp_path / "mine", classifier=classifier, patients=["a"], key_file=key)
    assert not (tmp_path / "mine").exists() or not list((tmp_path / "mine").rglob("*.parquet"))
    aa.store_results(swept, pixels, store=tmp_path / "mine", classifier=classifier)
    noisy = aa.sweep(classifier, (pixels + 0.01).clamp(0, 1), images[1], ATTACK, [2 / 255], precision="exact")
    with pytest.raises(InputError, match="other logits for the clean images"):
        aa.store_results(noisy, pixels, store=tmp_path / "mine", classifier=classifier)
