"""The engine against the reference loop, and the loop's own rules."""

import numpy as np
import pytest
import torch
from torch import nn

import advassay as aa
from advassay.attacks import iterates

EPSILONS = [0.0, 0.01, 0.03, 0.05, 0.2]
GRID = [
    dict(update="projected-sign", norm="linf", step_size=0.01),
    dict(update="projected-sign", norm="l2", step_size=0.1),
    dict(update="projected-gradient", norm="linf", step_size=100.0, loss="probability"),
    dict(update="projected-gradient", norm="l2", step_size=10.0, loss="margin"),
    dict(update="literal", norm="linf", step_size=0.5, loss="probability"),
    dict(update="literal", norm="l2", step_size=0.5, loss="cross-entropy"),
    dict(update="projected-sign", norm="linf", step_size=0.01, loss="dlr"),
    dict(update="projected-sign", norm="linf", step_size="epsilon/4", loss="margin"),
]


@pytest.mark.parametrize("rules", GRID, ids=lambda r: "-".join(str(v) for v in r.values()))
def test_engine_equals_reference_loop_at_every_epsilon_and_iterate(classifier, images, labels, rules):
    rules = {"steps": 6, **rules}
    sweep = aa.sweep(classifier, images, labels, aa.PGD(epsilon=0.02, **rules), EPSILONS, precision="exact")
    for i, epsilon in enumerate(EPSILONS):
        for k, x in enumerate(iterates(classifier, images, labels, aa.PGD(epsilon=epsilon, **rules))):
            expected = classifier(x).detach().numpy()
            np.testing.assert_array_equal(sweep.logits[i, k], expected, err_msg=f"epsilon {epsilon}, step {k}")
            delta = (x.double() - images.double()).flatten(1).detach().numpy()
            np.testing.assert_allclose(sweep.linf[i, k], np.abs(delta).max(1), rtol=1e-6)
            np.testing.assert_allclose(sweep.l2[i, k], np.linalg.norm(delta, axis=1), rtol=1e-6)
        alone = aa.sweep(classifier, images, labels, aa.PGD(epsilon=0.02, **rules), [epsilon], precision="exact")
        for name in ("boundary_share", "gradient_norm", "linf", "l2", "ssim"):
            np.testing.assert_array_equal(getattr(sweep, name)[i], getattr(alone, name)[0], err_msg=name)


def test_random_start_equals_reference_loop_and_keeps_the_clean_image_at_step_0(classifier, images, labels):
    attack = aa.PGD(epsilon=0.05, steps=4, random_start=True, seed=3)
    ours = aa.attack(classifier, images, labels, attack)
    loop = list(iterates(classifier, images, labels, attack))
    assert not torch.equal(loop[0], images)
    np.testing.assert_array_equal(ours.logits[0], classifier(images).detach().numpy())
    np.testing.assert_array_equal(ours.adversarial_images, loop[-1].numpy())


def test_iterate_k_of_a_long_run_is_the_end_of_a_k_step_run(classifier, images, labels):
    long = aa.attack(classifier, images, labels, aa.PGD(epsilon=0.05, steps=8))
    for k in (0, 1, 3, 8):
        short = aa.attack(classifier, images, labels, aa.PGD(epsilon=0.05, steps=k))
        np.testing.assert_array_equal(short.logits[-1], long.logits[k])


def test_inputs_mode_and_requires_grad_are_as_they_were(network, images, labels):
    network.train()
    network[0].weight.requires_grad_(False)
    before = images.clone()
    aa.attack(aa.Classifier(network), images, labels, aa.PGD(epsilon=0.05, steps=2))
    assert torch.equal(images, before)
    assert network.training
    assert [p.requires_grad for p in network.parameters()][:2] == [False, True]


@pytest.mark.parametrize(
    ("gradient", "norm", "share", "inactive"),
    [
        ((-2.0, 1.0), "linf", (1.0, 1.0), (False, False)),
        ((-0.5, 0.2), "linf", (0.5, 0.0), (False, True)),
        ((-0.5, 0.2), "l2", (1.0, 0.0), (False, True)),
    ],
)
def test_literal_records_the_share_of_the_gradient_that_its_epsilon_clips(gradient, norm, share, inactive):
    """ε = 0.3 and 1 against a gradient known by hand, in a network that stands."""
    linear = nn.Linear(2, 2)
    linear.weight.data = torch.tensor([(0.0, 0.0), gradient])
    linear.bias.data = torch.tensor([100.0, 0.0])
    classifier = aa.Classifier(nn.Sequential(nn.Flatten(), linear))
    attack = aa.PGD(0.1, 0.01, steps=2, update="literal", loss="margin", norm=norm)
    s = aa.sweep(classifier, torch.full((1, 1, 1, 2), 0.5), torch.tensor([0]), attack, [0.3, 1.0], precision="exact")
    np.testing.assert_array_equal(s.boundary_share[:, 1:, 0], [[v, v] for v in share])
    np.testing.assert_array_equal(s.flags["epsilon_inactive"][:, 0], inactive)
