"""What surrounds a call changes none of its numbers, and is afterwards what it was."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch
from torch import nn

import advassay as aa
from advassay.attacks.float32_settings import _ALL, _BACKENDS, _OPERATIONS, _get, _own, full_float32


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(8, 8, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 3),
    ).eval()  # fmt: skip


def set_to(setter, value, before):
    @contextmanager
    def surrounding():
        setter(value)
        try:
            yield
        finally:
            setter(before)

    return surrounding


def setting(name, value):
    """A new setting, put back through its own setter; its parts begin unset."""
    part = torch.backends
    *path, last = name.split(".")
    for each in path:
        part = getattr(part, each)
    return set_to(lambda v: setattr(part, last, v), value, "none")


@contextmanager
def legacy_cudnn_off():
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = True


SURROUNDINGS = {
    "inference mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "default dtype": set_to(torch.set_default_dtype, torch.float64, torch.float32),
    "default device": lambda: torch.device("meta"),
    "default device set": set_to(torch.set_default_device, "meta", None),
    "anomaly detection": torch.autograd.detect_anomaly,
    "cudnn flags": lambda: torch.backends.cudnn.flags(enabled=False, benchmark=True),
    "mkldnn off": set_to(torch._C._set_mkldnn_enabled, False, True),
    "matmul precision": set_to(torch.set_float32_matmul_precision, "medium", "highest"),
    "matmul in bfloat16": setting("mkldnn.matmul.fp32_precision", "bf16"),
    "convolutions in bfloat16": setting("mkldnn.conv.fp32_precision", "bf16"),
    "everything in TF32": setting("fp32_precision", "tf32"),
    "legacy TF32 off": legacy_cudnn_off,
    "NumPy raises": lambda: np.errstate(all="raise"),
}


def state():
    return (
        [(_own(each), _get(each)) for each in (_ALL, *_BACKENDS, *_OPERATIONS)],
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark, torch.backends.cudnn.enabled,
        torch.backends.mkldnn.enabled, torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"), torch.is_anomaly_enabled(), np.geterr(),
    )  # fmt: skip


X = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def attacked(classifier: aa.Classifier, precision: str) -> np.ndarray:
    labels = np.zeros(len(X), np.int64)
    return aa.sweep(classifier, X, labels, aa.PGD(0.03, steps=3), [0.01, 0.03], precision=precision).logits


@pytest.mark.parametrize("precision", ["exact", "fast"])
@pytest.mark.parametrize("name", SURROUNDINGS)
@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_no_surrounding_changes_a_bit_or_is_changed(name, precision):
    module = network()
    expected = attacked(aa.Classifier(network()), precision)
    with SURROUNDINGS[name]():
        before = state()
        known = attacked(aa.Classifier(module), precision)
        assert state() == before
    np.testing.assert_array_equal(known, expected)
    assert all(p.requires_grad and not p.is_inference() for p in module.parameters())


def test_the_default_device_leaves_random_starts_alone():
    attack = aa.PGD(0.03, steps=2, random_start=True)
    labels = np.zeros(len(X), np.int64)
    expected = aa.attack(aa.Classifier(network()), X, labels, attack).logits
    with torch.device("meta"):
        known = aa.attack(aa.Classifier(NETWORK), X, labels, attack).logits
    np.testing.assert_array_equal(known, expected)


NETWORK = network()


class Inside(nn.Module):
    """A network that sets something while it runs."""

    def __init__(self, surrounding) -> None:
        super().__init__()
        self.network, self.surrounding = network(), surrounding

    def forward(self, x):
        with self.surrounding():
            return self.network(x)


@contextmanager
def reads_legacy():
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize(
    "surrounding",
    [
        lambda: torch.backends.cudnn.flags(enabled=False),
        reads_legacy,
        lambda: torch.autocast("cpu", enabled=False),
        lambda: torch.backends.cudnn.flags(allow_tf32=torch.backends.cuda.matmul.allow_tf32),
        nullcontext,
    ],
)
@pytest.mark.parametrize("outside", ["nothing", "matmul precision", "everything in TF32", "legacy TF32 off"])
def test_a_network_may_set_and_read_settings_inside_its_forward_pass(surrounding, outside):
    expected = attacked(aa.Classifier(network()), "exact")
    with SURROUNDINGS.get(outside, nullcontext)():
        before = state()
        np.testing.assert_array_equal(attacked(aa.Classifier(Inside(surrounding).eval()), "exact"), expected)
        assert state() == before


def test_settings_are_inherited_afterwards_where_they_were_inherited():
    """What follows the setting of everything follows it still: nothing was written where nothing was set."""
    parts = torch.backends.cudnn.conv, torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    unset = [_own(each) for each in _OPERATIONS]
    with full_float32():
        assert {part.fp32_precision for part in parts} == {"ieee"}
    assert [_own(each) for each in _OPERATIONS] == unset
    if _own(("cuda", "conv")) == "none":  # unless something in this process has set it for good
        for precision in ("ieee", "tf32"):
            with set_to(lambda v: setattr(torch.backends, "fp32_precision", v), precision, "none")():
                assert parts[0].fp32_precision == precision


def test_a_network_built_in_inference_mode_is_refused_with_the_cause():
    with torch.inference_mode():
        module = network()
    with pytest.raises(aa.errors.ClassifierError, match="inference_mode"):
        aa.attack(aa.Classifier(module), X, np.zeros(4, int), aa.PGD(0.03, steps=2))


def test_a_classifier_made_in_any_surrounding_is_the_same():
    for name in ("inference mode", "default dtype", "default device"):
        module = network()
        with SURROUNDINGS[name]():
            classifier = aa.Classifier(module, mean=0.5, std=0.25)
        expected = attacked(aa.Classifier(network(), mean=0.5, std=0.25), "exact")
        np.testing.assert_array_equal(attacked(classifier, "exact"), expected)
