"""Bit for bit what other libraries compute."""

import warnings

import numpy as np
import pytest
import torch

import advassay as aa

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # both libraries import modules that their own dependencies have deprecated
    foolbox = pytest.importorskip("foolbox")
    torchattacks = pytest.importorskip("torchattacks")

STEPS = (1, 2, 3, 5, 10, 20)


def same(ours: np.ndarray, theirs: torch.Tensor) -> bool:
    return np.array_equal(ours, theirs.detach().numpy())


@pytest.mark.parametrize("steps", STEPS)
def test_linf_equals_torchattacks_bit_for_bit(classifier, network, images, labels, steps):
    ours = aa.attack(classifier, images, labels, aa.PGD(epsilon=0.02, step_size=0.01, steps=steps))
    theirs = torchattacks.PGD(network, eps=0.02, alpha=0.01, steps=steps, random_start=False)(images, labels)
    assert same(ours.adversarial_images, theirs)
    assert same(ours.logits[-1], network(theirs))


@pytest.mark.parametrize("steps", STEPS)
def test_linf_equals_foolbox_bit_for_bit(classifier, network, images, labels, steps):
    ours = aa.attack(classifier, images, labels, aa.PGD(epsilon=0.02, step_size=0.01, steps=steps))
    peer = foolbox.attacks.LinfPGD(abs_stepsize=0.01, steps=steps, random_start=False)
    theirs = peer(foolbox.PyTorchModel(network, bounds=(0, 1)), images, labels, epsilons=0.02)[1]
    assert same(ours.adversarial_images, theirs)


@pytest.mark.parametrize("steps", STEPS)
def test_l2_equals_torchattacks_within_1e_6(classifier, network, images, labels, steps):
    attack = aa.PGD(epsilon=0.5, step_size=0.1, steps=steps, norm="l2")
    ours = aa.attack(classifier, images, labels, attack)
    theirs = torchattacks.PGDL2(network, eps=0.5, alpha=0.1, steps=steps, random_start=False)(images, labels)
    np.testing.assert_allclose(ours.adversarial_images, theirs.numpy(), atol=1e-6, rtol=0)


def test_targeted_equals_torchattacks(classifier, network, images, labels):
    targets = (labels + 1) % 3
    ours = aa.attack(classifier, images, labels, aa.PGD(0.05, steps=7, targeted=True), targets=targets)
    peer = torchattacks.PGD(network, eps=0.05, alpha=0.01, steps=7, random_start=False)
    peer.set_mode_targeted_by_label(quiet=True)
    assert same(ours.adversarial_images, peer(images, targets))


def test_exact_sweep_equals_ten_torchattacks_runs_and_shares_their_prefixes(classifier, network, images, labels):
    epsilons = [0.02 * i for i in range(1, 11)]
    ours = aa.sweep(classifier, images, labels, aa.PGD(0.02, 0.01), epsilons, precision="exact")
    for i, epsilon in enumerate(epsilons):
        theirs = torchattacks.PGD(network, eps=epsilon, alpha=0.01, steps=20, random_start=False)(images, labels)
        assert same(ours.logits[i, -1], network(theirs))
    assert ours.cost.gradient_evaluations / len(images) <= 110
    assert ours.scored_float32.all()


def test_forty_images_go_as_the_one_batch_the_peers_use(classifier, network):
    images = torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    labels = network(images).argmax(1)
    ours = aa.attack(classifier, images, labels, aa.PGD(0.02, 0.01, steps=5))
    theirs = torchattacks.PGD(network, eps=0.02, alpha=0.01, steps=5, random_start=False)(images, labels)
    assert ours.cost.batch_size == 40
    assert same(ours.adversarial_images, theirs)


def test_a_batch_is_never_larger_than_128_images_unless_asked_for_or_known_to_fit(network):
    small = aa.Classifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2)))
    wide = aa.Classifier(
        torch.nn.Sequential(
            torch.nn.Upsample(scale_factor=512), torch.nn.ReLU(), torch.nn.AvgPool2d(512), torch.nn.Flatten(),
            torch.nn.Linear(4, 2),
        )
    )  # fmt: skip
    images, labels = torch.rand(129, 1, 2, 2), torch.zeros(129, dtype=torch.int64)
    attack = aa.PGD(0.02, steps=1)
    assert aa.attack(small, images, labels, attack).cost.batch_size == 129
    assert aa.attack(wide, images, labels, attack).cost.batch_size == 128  # 8 MiB and more of activations an image
    assert aa.attack(small, images, labels, attack, batch_size=32).cost.batch_size == 32
    large = torch.rand(43, 3, 256, 256)  # more than go as one
    wide = aa.Classifier(torch.nn.Sequential(torch.nn.AvgPool2d(128), torch.nn.Flatten(), torch.nn.Linear(12, 2)))
    assert aa.attack(wide, large, labels[:43], attack).cost.batch_size == 32
