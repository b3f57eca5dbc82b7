"""The network that is attacked is the network as it is: what it holds is told by content, or it is not remembered."""

from __future__ import annotations

import functools
import sys
import threading
import types
from collections import OrderedDict, deque
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from tiny_networks import small_cnn
from torch import nn

import advassay as aa
from advassay.attacks.engine import fingerprint as fingerprints
from advassay.attacks.engine.fingerprint import NotFingerprintableError, fingerprint
from advassay.attacks.engine.preflight import lookup

SIDE = 40
LARGE = 2000
GLOBAL = {"mask": torch.zeros(LARGE)}


def by_global(x):
    return x + GLOBAL["mask"].sum()


class Slots:
    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held = torch.zeros(LARGE)


@dataclass
class Settings:
    masks: list[np.ndarray] = field(default_factory=lambda: [np.zeros(LARGE)])


class Holder(nn.Module):
    """A network that holds something: `change` alters it deep inside."""

    def __init__(self, held: object) -> None:
        super().__init__()
        self.network, self.held = small_cnn(), held

    def forward(self, x):
        return self.network(x)


def closure():
    mask = torch.zeros(LARGE)
    return lambda x: x + mask.sum(), mask


def write(tensor):
    tensor[LARGE // 2] = 1


HELD = {
    "a tensor": (torch.zeros(LARGE), lambda h: write(h)),
    "an array": (np.zeros(LARGE), lambda h: write(h)),
    "a list of dictionaries of tensors": ([{"a": torch.zeros(LARGE)}], lambda h: write(h[0]["a"])),
    "a tuple of arrays": ((np.zeros(LARGE),), lambda h: write(h[0])),
    "an ordered dictionary": (OrderedDict(a=torch.zeros(LARGE)), lambda h: write(h["a"])),
    "a deque": (deque([torch.zeros(LARGE)]), lambda h: write(h[0])),
    "a set": ({1, 2}, lambda h: h.add(3)),
    "a number": ([1.0], lambda h: h.__setitem__(0, 1.0 + 2**-52)),
    "an array of objects": (np.array([np.zeros(LARGE), None], object), lambda h: write(h[0])),
    "a partial": (functools.partial(torch.add, other=torch.zeros(LARGE)), lambda h: write(h.keywords["other"])),
    "a closure": (closure(), lambda h: write(h[1])),
    "a function of a global": (by_global, lambda h: write(GLOBAL["mask"])),
    "a bound method": (Holder(torch.zeros(LARGE)).forward, lambda h: write(h.__self__.held)),
    "a default": (lambda x, mask=torch.zeros(LARGE): x + mask, lambda h: write(h.__defaults__[0])),  # noqa: B008
    "an attribute of a function": (by_global, lambda h: setattr(h, "scale", getattr(h, "scale", 0) + 1)),
    "an object": (Settings(), lambda h: write(h.masks[0])),
    "an object of slots": (Slots(), lambda h: write(h.held)),
    "a tensor in another module's attribute": (nn.ModuleList([Holder(torch.zeros(LARGE))]), lambda h: write(h[0].held)),
    "a non-contiguous tensor": (torch.zeros(LARGE, 2).T, lambda h: h.__setitem__((1, 7), 1.0)),
    "the last bit of a float64": (torch.ones(LARGE, dtype=torch.float64), lambda h: h.__setitem__(3, 1 + 2**-52)),
    "a bfloat16": (torch.zeros(LARGE, dtype=torch.bfloat16), lambda h: write(h)),
    "complex numbers": (torch.zeros(LARGE, dtype=torch.complex64), lambda h: write(h)),
    "NaN become a number": (torch.full((LARGE,), torch.nan), lambda h: write(h)),
}


@pytest.mark.parametrize("name", HELD)
def test_what_a_network_holds_is_told_by_content_at_any_depth(name):
    held, change = HELD[name]
    network = Holder(held)
    before = fingerprint(network)
    assert fingerprint(network) == before
    change(held)
    assert fingerprint(network) != before


class StatefulHook:
    """A hook that keeps a factor."""

    def __init__(self) -> None:
        self.factor = 1.0

    def __call__(self, module, given, output):
        return output * self.factor


SHAPES = [
    [],
    [[]],
    [1, 2],
    [[1], 2],
    [[1, 2]],
    [1, [2]],
    (1, 2),
    {1: 2},
    {1: {2: 3}},
    {1: {2: 3, 4: 5}},
    {1: {2: 3}, 4: 5},
]


def test_what_is_nested_otherwise_is_something_else():
    assert len({fingerprint(Holder(shape)) for shape in SHAPES}) == len(SHAPES)


def test_hooks_and_what_they_hold_are_told(monkeypatch):
    network, hook = Holder(None), StatefulHook()
    seen = [fingerprint(network)]
    network.network[0].register_forward_hook(hook)
    seen.append(fingerprint(network))
    hook.factor = 2.0
    seen.append(fingerprint(network))
    network.network[0].register_full_backward_hook(lambda module, before, after: None)
    seen.append(fingerprint(network))
    network.network.forward = functools.partial(network.network.forward)
    seen.append(fingerprint(network))
    monkeypatch.setattr(Holder, "forward", lambda self, x: self.network(x) * 2)
    seen.append(fingerprint(network))
    handle = nn.modules.module.register_module_forward_hook(lambda *given: None)
    seen.append(fingerprint(network))
    handle.remove()
    assert len(set(seen)) == len(seen)


def test_a_buffer_that_is_not_saved_counts():
    network = Holder(None)
    network.register_buffer("mask", torch.zeros(LARGE), persistent=False)
    before = fingerprint(network)
    write(network.mask)
    assert fingerprint(network) != before


@pytest.mark.parametrize(
    "unreadable",
    [threading.Lock(), torch.Generator(), np.random.default_rng(0), iter([1]), (i for i in [1]), threading.local()],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_told_by_content_is_not_remembered(unreadable):
    network = Holder({"deep": [unreadable]}).eval()
    with pytest.raises(NotFingerprintableError):
        fingerprint(network)
    classifier, images = aa.Classifier(network), np.zeros((2, 3, 16, 16), np.float32)
    assert lookup(classifier, images) is not lookup(classifier, images)


class Windowed(nn.Module):
    """Only one window gives a gradient; the logits do not depend on it."""

    def __init__(self, hold) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Conv2d(1, 4, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 18 * 18, 2))
        self.mask = hold(torch.zeros(1, 1, SIDE, SIDE))

    def forward(self, x):
        mask = find(self.mask)
        return self.net(x * mask + (x * (1 - mask)).detach())


def find(held):
    while not isinstance(held, torch.Tensor):
        held = held["mask"] if isinstance(held, dict) else held[0] if isinstance(held, list) else held.args[0]
    return held


@pytest.mark.parametrize(
    "hold",
    [lambda m: m, lambda m: [{"mask": m}], lambda m: functools.partial(print, m)],
    ids=["plain", "deep", "bound"],
)
@pytest.mark.parametrize("precision", ["exact", "fast32"])
def test_a_sweep_attacks_the_network_as_it_is_now(hold, precision):
    """A change that neither prints nor shows in the logits, only in the gradient: the window that may be attacked."""
    network = Windowed(hold).eval()
    images = torch.rand(4, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    classifier = aa.Classifier(network)
    labels = classifier(images).argmax(1)
    attack = aa.PGD(0.08, 0.02, steps=4)
    different = []
    for low, high in ((5, 10), (20, 36)):
        find(network.mask).zero_()[:, :, low:high, low:high] = 1
        again = aa.sweep(classifier, images, labels, attack, [0.08], precision=precision)
        fresh = aa.sweep(aa.Classifier(network), images, labels, attack, [0.08], precision=precision)
        np.testing.assert_array_equal(again.logits, fresh.logits)
        different.append(again.logits[0, -1])
    assert not np.array_equal(*different)


def test_a_class_typed_anew_into_a_notebook_is_another_network(monkeypatch):
    """Such a module has no file."""
    notebook = types.ModuleType("notebook")
    monkeypatch.setitem(sys.modules, "notebook", notebook)
    cell = "from torch import nn\nclass Net(nn.Module):\n    def forward(self, x):\n        return x.mean((2, 3)) * {}"
    told = []
    for factor in (1, 2, 1):
        exec(cell.format(factor), vars(notebook))
        told.append(fingerprint(notebook.Net()))
    assert told[0] == told[2] != told[1]


def test_installed_packages_inside_the_standard_library_are_no_library(monkeypatch):
    """conda and system Pythons install into lib/python3.x/site-packages."""
    monkeypatch.setattr(fingerprints, "_STANDARD_LIBRARY", "/opt/conda/lib/python3.11/")
    assert fingerprints._is_library_path("/opt/conda/lib/python3.11/functools.py")
    assert not fingerprints._is_library_path("/opt/conda/lib/python3.11/site-packages/mine/net.py")
    assert not fingerprints._is_library_path("/usr/lib/python3/dist-packages/mine/net.py")
    assert fingerprints._is_library_path(torch.nn.modules.__file__)
    assert fingerprints._is_library(sys)
