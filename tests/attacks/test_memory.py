"""What a call remembers of a network: nothing changes by it, and every change of the network is seen."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
import torch
from torch import nn

import advassay as aa
from advassay.attacks.engine.preflight import lookup


class Scaled(nn.Module):
    """A network with what no parameter holds: an attribute, and a number outside it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.scale = 1.0
        self.inner = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(),
            nn.Linear(4 * 16, 3),
        )  # fmt: skip

    def forward(self, x):
        return self.scale * OUTSIDE["factor"] * self.inner(x)


OUTSIDE = {"factor": 1.0}


@pytest.fixture
def images():
    return torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def classifier():
    return aa.Classifier(Scaled().eval())


def sweep(classifier, images, **options):
    labels = classifier(images).argmax(1)
    return aa.sweep(classifier, images, labels, aa.PGD(0.02, 0.01, steps=6), [0.01, 0.05], **options)


@pytest.mark.parametrize("precision", ["exact", "fast32", "fast"])
def test_a_second_call_gives_the_same_bits_with_fewer_passes(classifier, images, precision, monkeypatch):
    passes = []
    called = aa.Classifier.decide
    monkeypatch.setattr(aa.Classifier, "decide", lambda *given: (passes.append(1), called(*given))[1])
    first = sweep(classifier, images, precision=precision)
    before = len(passes)
    second = sweep(classifier, images, precision=precision)
    assert len(passes) - before < before
    np.testing.assert_array_equal(first.logits, second.logits)
    np.testing.assert_array_equal(first.scored_float32, second.scored_float32)


def test_other_images_in_between_change_no_bit(classifier, images):
    first = sweep(classifier, images, precision="fast32")
    sweep(classifier, 1 - images, precision="fast32")
    np.testing.assert_array_equal(first.logits, sweep(classifier, images, precision="fast32").logits)


def weight(classifier):
    with torch.no_grad():
        classifier.module.inner[0].weight[0, 0, 0, 0] += 1


def attribute(classifier):
    classifier.module.scale = 2.0


def outside(classifier):
    OUTSIDE["factor"] = 2.0


def hook(classifier):
    classifier.module.inner[0].register_forward_hook(lambda module, given, out: out.detach())


def method(classifier):
    inner = classifier.module.inner
    classifier.module.forward = lambda x: inner(x).detach() + 0 * x.sum()


def statistics(classifier):
    classifier.module.inner[1].running_mean += 1


@pytest.mark.parametrize("change", [weight, attribute, outside, hook, method, statistics])
def test_every_change_of_the_network_is_seen(classifier, images, change, monkeypatch):
    monkeypatch.setitem(OUTSIDE, "factor", 1.0)
    pixels = images.numpy()
    memory = lookup(classifier, pixels, "asked")
    assert lookup(classifier, pixels, "asked") is memory
    assert lookup(classifier, pixels, "otherwise") is not memory
    memory = lookup(classifier, pixels, "asked")
    for number in range(8):
        assert lookup(classifier, pixels, "asked", number) is not memory
        assert lookup(classifier, pixels, "asked") is memory
    change(classifier)
    assert lookup(classifier, pixels, "asked") is not memory


def test_a_gradient_cut_after_the_first_call_is_found(classifier, images):
    sweep(classifier, images)
    hook(classifier)
    with pytest.raises(aa.errors.ClassifierError, match="gradient"):
        sweep(classifier, images)


@pytest.mark.parametrize("copied", [True, False])
def test_what_is_remembered_of_a_network_does_not_keep_it_alive(images, copied):
    classifier = aa.Classifier(Scaled().eval())
    if not copied:  # then the network itself steers
        classifier.module.lock = threading.Lock()
    gone = weakref.ref(classifier)
    sweep(classifier, images, precision="fast32")
    del classifier
    gc.collect()
    assert gone() is None


def test_a_network_that_fails_is_not_remembered(images):
    assert lookup(aa.Classifier(nn.Linear(3, 2)), images.numpy()).suspected is None
