"""Networks and inputs broken on purpose: each is stopped or flagged with a text that names cause and fix."""

import numpy as np
import pytest
import torch
from tiny_networks import small_cnn
from torch import nn

import advassay as aa
from advassay.attacks import Item, choose_compute_shape
from advassay.attacks.stream import stream
from advassay.errors import AttackError, ClassifierError, EpsilonError, InputError

PGD = aa.PGD(epsilon=0.02, steps=3)


class Changed(nn.Module):
    """A good network with something wrong before or after it."""

    def __init__(self, before=lambda x: x, after=lambda z: z) -> None:
        super().__init__()
        self.network, self.before, self.after = small_cnn(), before, after

    def forward(self, x):
        return self.after(self.network(self.before(x)))


BROKEN = {
    "softmax": (Changed(after=lambda z: z.softmax(1)), "probabilities", "softmax"),
    "rounding": (Changed(before=lambda x: (x * 255).round() / 255), "exactly zero", "rounding"),
    "detached": (Changed(after=lambda z: z.detach()), "does not exist", "detach"),
    "argmax": (Changed(after=lambda z: nn.functional.one_hot(z.argmax(1), 3).float() * 9), "gradient", "argmax"),
    "nan logits": (Changed(after=lambda z: z * float("nan")), "NaN", "weights"),
    "random": (Changed(after=lambda z: z + torch.randn_like(z)), "not deterministic", "dropout"),
    "neighbours": (Changed(before=lambda x: x - x.mean(0)), "neighbours", "fixed statistics"),
    "nan gradient": (Changed(before=lambda x: x + 0 * (x - x).sqrt()), "NaN", "weights"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_network_is_refused_with_cause_and_fix(images, labels, name):
    module, cause, fix = BROKEN[name]
    with pytest.raises(ClassifierError) as caught:
        aa.sweep(aa.Classifier(module), images, labels, PGD, [0.02])
    assert cause in caught.value.problem
    assert fix in caught.value.fix


BAD_INPUTS = {
    "normalised": (lambda x: (x - 0.5) / 0.5, "normalised"),
    "grey levels": (lambda x: x * 255, "divide by 255"),
    "16 bit": (lambda x: x * 65535, "divide by 65535"),
    "8-bit integers": (lambda x: (x * 255).byte(), "Divide 8-bit"),
    "nan pixels": (lambda x: torch.where(x > 0.9, float("nan"), x), "not numbers"),
    "one axis short": (lambda x: x[0], "axis"),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_images_that_are_not_in_the_unit_range_are_refused(classifier, images, labels, name):
    change, fix = BAD_INPUTS[name]
    with pytest.raises(InputError) as caught:
        aa.attack(classifier, change(images), labels, PGD)
    assert fix in caught.value.fix


@pytest.mark.parametrize("bad", [lambda y: y.float(), lambda y: y[:3], lambda y: y - 5, lambda y: y + 9])
def test_labels_that_are_not_class_indices_are_refused(classifier, images, labels, bad):
    with pytest.raises(InputError) as caught:
        aa.attack(classifier, images, bad(labels), PGD)
    assert "labels" in caught.value.problem
    assert caught.value.fix


@pytest.mark.parametrize("epsilon", [4, 8, "8", 1.5])
def test_an_amplitude_in_the_wrong_unit_is_refused_with_the_right_spelling(classifier, images, labels, epsilon):
    with pytest.raises(EpsilonError) as caught:
        aa.sweep(classifier, images, labels, PGD, [epsilon])
    assert f"{float(epsilon):g}/255" in str(caught.value)


def test_an_amplitude_above_half_the_range_is_flagged(classifier, images, labels):
    assert aa.sweep(classifier, images, labels, PGD, [0.02, 0.6]).flags["epsilon_large"].all()


def test_dlr_needs_three_classes_and_four_when_targeted(images):
    two = aa.Classifier(small_cnn(classes=2))
    zeros = torch.zeros(8, dtype=torch.int64)
    with pytest.raises(AttackError, match="3 or more"):
        aa.attack(two, images, zeros, aa.PGD(0.02, loss="dlr"))
    three = aa.Classifier(small_cnn())
    with pytest.raises(AttackError, match="4 or more"):
        aa.attack(three, images, zeros, aa.PGD(0.02, loss="dlr", targeted=True), targets=zeros + 1)


def test_class_names_that_do_not_fit_the_network_are_refused(images, labels):
    with pytest.raises(ClassifierError, match="class_names"):
        aa.attack(aa.Classifier(small_cnn(), class_names=["a", "b"]), images, labels, PGD)


def test_train_mode_is_flagged_attacked_in_eval_mode_and_restored(images):
    network = nn.Sequential(small_cnn()[:2], nn.Dropout(0.9), *small_cnn()[2:])
    network.train()
    labels = torch.zeros(8, dtype=torch.int64)
    flagged = aa.sweep(aa.Classifier(network), images, labels, PGD, [0.02], precision="exact")
    assert flagged.flags["train_mode"].all()
    assert network.training
    quiet = aa.sweep(aa.Classifier(network.eval()), images, labels, PGD, [0.02], precision="exact")
    assert "train_mode" not in quiet.flags
    np.testing.assert_array_equal(flagged.logits, quiet.logits)


def test_a_sigmoid_left_in_a_one_output_head_is_flagged(images):
    module = Changed(after=lambda z: z[:, :1].sigmoid())
    s = aa.sweep(aa.Classifier(module), images, torch.ones(8, dtype=torch.int64), PGD, [0.02])
    assert s.flags["probabilities"].all()


def test_some_nan_logits_are_rows_with_a_flag_not_an_error(images, labels):
    limit = small_cnn()(images)[:, :1].median()
    module = Changed(after=lambda z: torch.where(z[:, :1] > limit, float("nan"), z))
    s = aa.sweep(aa.Classifier(module), images, labels, PGD, [0.02], precision="exact", batch_size=8)
    assert s.flags["nan"].any()
    assert not s.flags["nan"].all()


def test_images_in_a_dead_region_are_flagged_not_refused(images, labels):
    """Every ReLU off for these images, alive for others: no gradient here does not mean that something cuts it."""
    module = Changed(before=lambda x: x * (x.amax((1, 2, 3), keepdim=True) > 0.5))
    s = aa.sweep(aa.Classifier(module), images * 0.4, labels * 0 + 1, PGD, [0.02], precision="exact")
    assert s.flags["zero_gradient"].all()
    assert s.flags["unchanged"].all()


def test_suspicions_reach_the_notes_of_a_stream(images, labels):
    classifier = aa.Classifier(small_cnn().train())
    arm = aa.Arm(epsilons=(0.6,), step_sizes=(0.01,), steps=2, precision="exact")
    items = [Item("a", images[0].numpy(), int(labels[0]), frozenset({("0.01", 0.6)}))]
    shape = choose_compute_shape(classifier, items[0].image, precision="exact", most=1)
    run = stream(classifier, items, arm, shape=shape)
    (block,) = run
    assert {"train_mode", "epsilon_large"} <= set(block.flags)
    assert all(any(note.startswith(flag) for note in run.notes) for flag in ("train_mode", "epsilon_large"))


def test_targets_are_needed_exactly_when_the_attack_is_targeted(classifier, images, labels):
    with pytest.raises(InputError, match="targets"):
        aa.attack(classifier, images, labels, aa.PGD(0.02, targeted=True))
    with pytest.raises(InputError, match="targets"):
        aa.attack(classifier, images, labels, PGD, targets=labels)


def test_a_gradient_that_is_nan_in_part_of_every_image_is_flagged_and_run_again():
    """The root of a dark corner has no derivative at 0: it lies in every image, the rest is attacked."""
    module = Changed(before=lambda x: x + 1e-3 * (x * (x > 0.1)).sqrt())
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(5)) * 0.8 + 0.15
    images[:, :, :2, :2] = 0.0
    labels = aa.Classifier(module)(images).argmax(1)
    s = aa.sweep(aa.Classifier(module), images, labels, PGD, [0.02], precision="exact")
    assert np.isnan(s.gradient_norm[0, 0]).all()
    assert s.flags["nan_gradient"].all()
    assert s.rerun is not None
    apgd = aa.attack(aa.Classifier(module), images, labels, aa.PGD(0.02, steps=3, update="apgd"))
    assert apgd.flags["nan_gradient"].all()
