"""An attack leaves what a network holds as it was, and what is switched on around it changes no number."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from advassay import PGD, Classifier, attack
from advassay.errors import AdvassayWarning, ClassifierError

IMAGES = torch.linspace(0, 1, 4 * 64).reshape(4, 1, 8, 8)
LABELS = torch.tensor([0, 1, 0, 1])
ATTACK = PGD(epsilon=0.1, steps=3)


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).eval()


class Counting(nn.Module):
    """Writes in place into tensors and arrays that lie in containers of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.network = linear()
        self.nested = {"a": {"b": torch.zeros(1)}}
        self.listed, self.pair, self.queue = [torch.zeros(1)], (torch.zeros(1),), deque([torch.zeros(1)])
        self.array = np.zeros(1)
        self.plain = SimpleNamespace(inner=SimpleNamespace(tensor=torch.zeros(1), array=np.zeros(2)))

    def held(self) -> list[float]:
        inner = self.plain.inner
        tensors = [self.nested["a"]["b"], self.listed[0], self.pair[0], self.queue[0], inner.tensor]
        return [*(float(t) for t in tensors), *self.array.tolist(), *inner.array.tolist()]

    def forward(self, images: Tensor) -> Tensor:
        for tensor in (self.nested["a"]["b"], self.listed[0], self.pair[0], self.queue[0], self.plain.inner.tensor):
            tensor.add_(1)
        self.array += 1
        self.plain.inner.array += 1
        logits: Tensor = self.network(images)
        return logits


class ActingEval(nn.Module):
    """Its own `eval` does more than set the mode, as modules that merge adapters do."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.scale = linear(), 1.0

    def eval(self) -> ActingEval:
        self.scale = -1.0
        return super().eval()

    def train(self, mode: bool = True) -> ActingEval:
        self.scale = 1.0 if mode else self.scale
        return super().train(mode)

    def forward(self, images: Tensor) -> Tensor:
        return self.scale * self.network(images)


class Doubled(TorchFunctionMode):
    """Doubles what linear layers give."""

    def __torch_function__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = function(*args, **(kwargs or {}))
        return 2 * result if function is nn.functional.linear else result


def test_state_in_containers_is_as_before_the_attack() -> None:
    module = Counting().eval()
    attack(Classifier(module), IMAGES, LABELS, ATTACK)
    assert module.held() == [0.0] * 8


def test_a_module_whose_own_eval_acts_is_attacked_in_that_state() -> None:
    in_eval, in_train = ActingEval().eval(), ActingEval().train()
    expected = attack(Classifier(in_eval), IMAGES, LABELS, ATTACK).logits
    with pytest.warns(AdvassayWarning, match="train mode"):
        found = attack(Classifier(in_train), IMAGES, LABELS, ATTACK).logits
    assert np.array_equal(found, expected)
    assert in_train.training
    assert in_train.scale == 1.0


def test_a_function_mode_around_an_attack_changes_no_number_and_is_back_afterwards() -> None:
    expected = attack(Classifier(linear()), IMAGES, LABELS, ATTACK).logits
    with Doubled():
        found = attack(Classifier(linear()), IMAGES, LABELS, ATTACK).logits
        assert float(nn.functional.linear(torch.ones(1, 1), torch.ones(1, 1))) == 2
    assert np.array_equal(found, expected)


def test_a_default_device_stands_inside_an_attack() -> None:
    with torch.device("cpu"), Doubled():
        assert attack(Classifier(linear()), IMAGES, LABELS, ATTACK).logits.shape == (4, 4, 2)
    assert torch.get_default_device().type == "cpu"


def test_an_operation_counter_around_an_attack_is_refused_by_name() -> None:
    with FlopCounterMode(display=False), pytest.raises(ClassifierError, match="FlopCounterMode"):
        attack(Classifier(linear()), IMAGES, LABELS, ATTACK)
