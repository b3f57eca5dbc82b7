"""Numbers as people pass them: taken for what they say, clipped with a note, or refused with what was meant."""

from __future__ import annotations

import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from tiny_networks import small_cnn

import advassay as aa
from advassay.attacks.batch_tuning import execution_config
from advassay.attacks.stream import Item, stream
from advassay.errors import AttackError, AttackWarning, ClassifierError, EpsilonError, InputError

PGD = aa.PGD(0.03, steps=2)

SAME = {
    "float": 0.03,
    "NumPy float64": np.float64(0.03),
    "NumPy float32": np.float32(0.03),
    "an array without axes": np.array(0.03),
    "a tensor": torch.tensor(0.03),
    "a tensor that wants a gradient": torch.tensor(0.03, requires_grad=True),
    "a double tensor": torch.tensor(0.03, dtype=torch.float64),
    "a fraction": Fraction(3, 100),
    "a decimal": Decimal("0.03"),
}


@pytest.mark.parametrize("name", SAME)
def test_an_amplitude_of_any_numeric_type_is_the_same_amplitude(name):
    given = SAME[name]
    assert aa.PGD(given, given, steps=2) == aa.PGD(0.03, 0.03, steps=2)
    assert aa.Arm(epsilons=[given], step_sizes=[given]) == aa.Arm(epsilons=[0.03], step_sizes=[0.03])


LISTS = {
    "float32 array": np.arange(1, 3, dtype=np.float32) / 100,
    "float64 array": np.array([0.01, 0.02]),
    "tensor": torch.tensor([0.01, 0.02]),
    "tuple of tensors": tuple(torch.tensor([0.01, 0.02])),
    "texts": np.array(["0.01", "0.02"]),
    "generator": (e / 100 for e in (1, 2)),
}


@pytest.mark.parametrize("name", LISTS)
def test_amplitudes_may_be_any_sequence_of_numbers(classifier, images, labels, name):
    given = LISTS[name]
    assert aa.sweep(classifier, images, labels, PGD, given).epsilons == (0.01, 0.02)
    if name != "generator":
        assert aa.Arm(epsilons=given).epsilons == (0.01, 0.02)


def test_counts_may_be_of_numpy_or_torch():
    assert aa.PGD(0.03, steps=np.int64(7), seed=torch.tensor(3)) == aa.PGD(0.03, steps=7, seed=3)


@pytest.mark.parametrize("single", [0.03, "0.03", "5/255", np.float32(0.03), torch.tensor(0.03), 0])
def test_a_single_amplitude_where_a_list_is_wanted_is_told_so(classifier, images, labels, single):
    with pytest.raises(EpsilonError, match=r"epsilons: expected a list.*write \["):
        aa.sweep(classifier, images, labels, PGD, single)
    with pytest.raises(AttackError, match=r"step_sizes: expected a list"):
        aa.sweep(classifier, images, labels, PGD, [0.03], step_sizes=single)
    with pytest.raises(ValueError, match="expected a list"):
        aa.Arm(epsilons=single)


@pytest.mark.parametrize("wrong", [None, True, np.array([[0.03]]), [None], [[0.01]], [np.array([0.01, 0.02])], {}])
def test_what_is_no_list_of_amplitudes_is_refused_by_an_error_of_ours(classifier, images, labels, wrong):
    with pytest.raises(EpsilonError, match="epsilons"):
        aa.sweep(classifier, images, labels, PGD, wrong)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("eps", "epsilon"),
        ("alpha", "step_size"),
        ("iters", "steps"),
        ("rand_init", "random_start"),
        ("epsilom", "epsilon"),
    ],
)
def test_an_argument_under_another_librarys_name_is_answered_with_ours(name, meant):
    with pytest.raises(AttackError, match=f"{name}.*Did you mean {meant}\\?"):
        aa.PGD(**{"epsilon": 0.03, name: 0.01} if meant != "epsilon" else {name: 0.03})


def test_sweep_and_attack_answer_unknown_arguments_too(classifier, images, labels):
    with pytest.raises(AttackError, match=r"eps: sweep has no such argument. Did you mean epsilons\?"):
        aa.sweep(classifier, images, labels, PGD, eps=[0.03])
    with pytest.raises(AttackError, match=r"alpha: attack has no such argument.*advassay.PGD"):
        aa.attack(classifier, images, labels, PGD, alpha=0.01)


def test_wrong_objects_in_place_of_classifier_and_attack_are_refused(network, classifier, images, labels):
    with pytest.raises(ClassifierError, match=r"got Sequential.*Classifier\("):
        aa.attack(network, images, labels, PGD)
    with pytest.raises(AttackError, match=r"attack: expected an advassay.PGD, got float"):
        aa.attack(classifier, images, labels, 0.03)
    with pytest.raises(InputError, match="image_ids"):
        aa.attack(classifier, images, labels, PGD, image_ids="abcdefgh")


@pytest.mark.parametrize("off", [1e-7, 1e-6])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_pixels_off_by_rounding_are_clipped_with_a_note(classifier, images, labels, off, kind):
    clean, strayed = images.to(kind).clone(), images.to(kind).clone()
    clean[0, 0, 0, :2] = torch.tensor([1.0, 0.0])
    strayed[0, 0, 0, :2] = torch.tensor([1.0 + off, -off])
    before = strayed.clone()
    result = aa.attack(classifier, strayed, labels, PGD)
    np.testing.assert_array_equal(result.logits, aa.attack(classifier, clean, labels, PGD).logits)
    assert any("2 pixel values" in note and "clipped" in note for note in result.notes)
    assert torch.equal(strayed, before)
    assert 0 <= result.adversarial_images.min() <= result.adversarial_images.max() <= 1


@pytest.mark.parametrize("off", [1e-5, 1e-3])
def test_pixels_further_off_are_refused(classifier, images, labels, off):
    images[0, 0, 0, 0] = 1 + off
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        aa.attack(classifier, images, labels, PGD)


def test_pixels_of_a_stream_are_clipped_too(classifier, images):
    images[1, 0, 0, 0] = 1 + 1e-6
    shape = execution_config(4, precision="exact")
    items = [Item(str(i), image, 0, frozenset({("0.01", 0.02)})) for i, image in enumerate(images.numpy())]
    run = stream(classifier, iter(items), aa.Arm(epsilons=(0.02,), steps=1, precision="exact"), shape=shape)
    assert sum(map(len, run)) == len(images)
    assert any("1 pixel value" in note for note in run.notes)


def test_images_in_bfloat16_are_taken(classifier, images, labels):
    rounded = images.bfloat16()
    known = aa.attack(classifier, rounded, labels, PGD).logits
    np.testing.assert_array_equal(known, aa.attack(classifier, rounded.float(), labels, PGD).logits)


def test_images_that_hold_no_values_are_refused(classifier, images, labels):
    with pytest.raises(InputError, match="meta"):
        aa.attack(classifier, images.to("meta"), labels, PGD)


@pytest.mark.parametrize(
    ("mean", "std"), [([123.7, 116.3, 103.5], [58.4, 57.1, 57.4]), (127.5, 127.5), (0.0, 255.0), (np.float32(128), 1.0)]
)
def test_statistics_on_the_scale_of_grey_levels_are_a_suspicion(images, mean, std):
    classifier = aa.Classifier(small_cnn(), mean=mean, std=std)
    with pytest.warns(AttackWarning, match="normalisation.*255"):
        result = aa.attack(classifier, images, classifier(images).argmax(1), PGD)
    assert result.flags["normalisation"].all()


@pytest.mark.parametrize("mean", [0.5, (0.485, 0.456, 0.406), np.array([0.4, 0.5, 0.6]), torch.tensor([0.4, 0.5, 0.6])])
def test_usual_statistics_are_none(images, labels, mean):
    assert "normalisation" not in aa.attack(aa.Classifier(small_cnn(), mean, 0.25), images, labels, PGD).flags


@pytest.mark.parametrize("channels", [1, 2, 4, 5])
def test_statistics_may_be_given_for_any_number_of_channels(channels):
    x = torch.rand(2, channels, 16, 16)
    mean, std = [0.1 * (i + 1) for i in range(channels)], [0.2] * channels
    classifier = aa.Classifier(small_cnn(channels=channels), mean, std)
    expected = (x - torch.tensor(mean).view(1, -1, 1, 1)) / torch.tensor(std).view(1, -1, 1, 1)
    assert torch.equal(classifier.normalise(x), expected)
    assert aa.attack(classifier, x, np.zeros(2, int), PGD).logits.shape == (3, 2, 3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (dict(mean=[0.1, 0.2]), "mean, std: one number, or one per channel"),
        (dict(mean=[0.1] * 3, std=[0.1] * 2), "mean, std"),
        (dict(mean=[]), "mean"),
        (dict(mean=float("nan")), "mean"),
        (dict(std=[1, float("inf"), 1]), "std"),
        (dict(std=0), "std"),
        (dict(mean="imagenet"), "mean"),
        (dict(finding=-1), "finding: expected a whole number, 0 or more"),
        (dict(finding=1.5), "finding"),
        (dict(finding=True), "finding"),
        (dict(channels=0), "channels: expected a whole number, 1 or more"),
    ],
)
def test_numbers_that_a_classifier_cannot_have_are_refused(options, said):
    with pytest.raises(ClassifierError, match=said):
        aa.Classifier(small_cnn(), **options)


@pytest.mark.parametrize("finding", [3, 7])
def test_a_finding_that_the_head_lacks_is_refused(images, finding):
    with pytest.raises(ClassifierError, match=f"finding: expected an output of the module, 0 to 2, got {finding}"):
        aa.attack(aa.Classifier(small_cnn(), finding=finding), images, np.zeros(8, int), PGD)


# ---- what reaches the caller ----------------------------------------------------------------------------------------


def test_suspicions_reach_notes_and_warn_once_at_the_callers_line(images, labels):
    """With a linked re-run beside it, which finds the same."""
    network = small_cnn()
    network[-1].weight.data *= 1000
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = aa.sweep(aa.Classifier(network.train()), images, labels, PGD, [0.02, 0.6])
    assert result.rerun is not None
    for flag in ("train_mode", "epsilon_large"):
        (one,) = [each for each in caught if str(each.message).startswith(flag)]
        assert issubclass(one.category, aa.errors.AdvassayWarning)
        assert one.filename == __file__
        assert len([note for note in result.notes if note.startswith(flag)]) == 1
        assert len([note for note in result.rerun.notes if note.startswith(flag)]) == 1


def test_a_clean_run_warns_of_nothing(classifier, images, labels):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert aa.attack(classifier, images, labels, PGD).notes == ()
        assert any("float32 judged" in note for note in aa.sweep(classifier, images, labels, PGD, [0.02]).notes)


def test_results_print_as_a_summary(classifier, images, labels):
    t = aa.attack(classifier, images, labels, PGD)
    s = aa.sweep(classifier, images, labels, PGD, [0.02, 0.6], step_sizes=[0.01, "epsilon/4"])
    first = aa.sweep(classifier, images, labels, aa.PGD(0.3, 0.05, steps=9), [0.3], first_success_only=True)
    for result in (t, s, first):
        assert len(repr(result)) < 500
        assert "8 images" in repr(result)
        assert "array" not in repr(result)
    assert f"success {t.attack_success_rate()[-1]:.3g}" in repr(t)
    assert "ε 0.6" in repr(s)
    assert "epsilon/4" in repr(s)
    assert "epsilon_large" in repr(s)
    assert '"any"' in repr(first)
