"""Modules people have: each runs with the numbers of the plain network and is left as it was, or is refused by name."""

from __future__ import annotations

import copy
import functools
from collections import OrderedDict, namedtuple
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import advassay as aa
from advassay.errors import ClassifierError

X = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = np.zeros(len(X), np.int64)
ATTACK = aa.PGD(0.03, steps=3)


def network(classes: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(8 * 14 * 14, classes)
    ).eval()


class Around(nn.Module):
    """A network whose outputs are put into something."""

    def __init__(self, wrap, inner=None) -> None:
        super().__init__()
        self.inner, self.wrap = inner or network(), wrap

    def forward(self, x):
        return self.wrap(self.inner(x))


def exported(*, dynamic: bool = False, size: int = len(X)):
    shapes = ({0: torch.export.Dim("batch", max=64)},) if dynamic else None
    return torch.export.export(network(), (X[:size],), dynamic_shapes=shapes)


def frozen_script():
    return torch.jit.freeze(torch.jit.script(network()))


def initialised_lazily():
    torch.manual_seed(0)
    lazy = nn.Sequential(nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)).eval()
    lazy(X)
    return lazy


NET = network()
Output = namedtuple("Output", ["logits", "hidden"])

RUNS = {
    "an exported program": exported,
    "an exported program's module": lambda: exported().module(),
    "a program exported for batches of one": lambda: exported(size=1),
    "a program exported for any batch": lambda: exported(dynamic=True),
    "TorchScript": lambda: torch.jit.script(network()),
    "frozen TorchScript": frozen_script,
    "traced TorchScript": lambda: torch.jit.trace(network(), X),
    "a dictionary": lambda: Around(lambda z: {"logits": z, "features": z * 2}).eval(),
    "a dictionary of one": lambda: Around(lambda z: {"out": z}).eval(),
    "an ordered dictionary with features": lambda: Around(lambda z: OrderedDict(a=z[:, :, None], b=z)).eval(),
    "a tuple of one": lambda: Around(lambda z: (z,)).eval(),
    "a tuple with a loss": lambda: Around(lambda z: (z.sum(), z)).eval(),
    "a named tuple": lambda: Around(lambda z: Output(z, z * 2)).eval(),
    "an object with logits": lambda: Around(lambda z: SimpleNamespace(logits=z)).eval(),
    "a function": lambda: lambda x: NET(x),
    "a partial": lambda: functools.partial(lambda net, x: net(x), NET),
    "a bound method": lambda: network().forward,
    "lazy layers that have run": initialised_lazily,
    "a module in a module": lambda: nn.Sequential(nn.Identity(), nn.Sequential(network())).eval(),
    "a weight by parametrisation": lambda: parametrised(),
}


def parametrised():
    net = network()
    nn.utils.parametrizations.weight_norm(net[5])
    return net.eval()


OTHER_ROUNDING = ("batches of one", "frozen", "weight by")
"""Kinds that compute otherwise: another batch size, batch norm folded, the weight made anew."""


@pytest.fixture(scope="module")
def expected():
    return {p: aa.sweep(aa.Classifier(network()), X, LABELS, ATTACK, [0.03], precision=p) for p in ("exact", "fast32")}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.filterwarnings("ignore:`torch.jit", "ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_a_module_of_any_kind_gives_what_the_plain_network_gives(name, expected):
    classifier = aa.Classifier(RUNS[name]())
    for precision, plain in expected.items():
        if name == "lazy layers that have run":  # other weights
            plain = aa.sweep(
                aa.Classifier(copy.deepcopy(classifier.module)), X, LABELS, ATTACK, [0.03], precision=precision
            )
        known = aa.sweep(classifier, X, LABELS, ATTACK, [0.03], precision=precision)
        close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-5)
        same = (
            np.testing.assert_array_equal
            if precision == "exact" and not any(each in name for each in OTHER_ROUNDING)
            else close
        )
        same(known.logits, plain.logits)
        assert "train_mode" not in known.flags


HEADS = {
    "one output": (network(1), {}, 2),
    "a finding of three": (network(3), {"finding": np.int64(2)}, 2),
    "one output in a dictionary": (Around(lambda z: {"y": z}, network(1)).eval(), {}, 2),
}


@pytest.mark.parametrize("name", HEADS)
def test_heads_of_one_output_become_two_classes(name):
    module, options, classes = HEADS[name]
    assert aa.attack(aa.Classifier(module, **options), X, LABELS, ATTACK).logits.shape[-1] == classes


class Moody(nn.Module):
    """A module whose train and eval do nothing, with dropout that stays on: what a wrapper of another framework is."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def train(self, mode: bool = True):
        return self

    def forward(self, x):
        return self.inner(F.dropout(x, 0.1, training=True))


class Squeezed(nn.Module):
    def forward(self, x):
        return x.mean((2, 3)).sum(0)


REFUSED = {
    "half precision": (lambda: network().half(), ("float16", "float32", "float()")),
    "bfloat16": (lambda: network().bfloat16(), ("bfloat16", "float32")),
    "half precision in part": (
        lambda: nn.Sequential(network(), nn.Linear(3, 3).half()),
        ("float16", "float32", "1.weight"),
    ),
    "float64": (lambda: network().double(), ("float64", "float32", "float()")),
    "lazy layers that have not run": (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(2)), ("lazy", "1.weight")),
    "two tensors": (lambda: Around(lambda z: (z, z * 2)), ("(4, 3)", "Wrap")),
    "no tensor": (lambda: Around(lambda z: z.tolist()), ("list", "Wrap")),
    "NumPy": (lambda: lambda x: x.detach().numpy().mean((2, 3)), ("ndarray", "Wrap")),
    "three axes": (lambda: Around(lambda z: z[:, None]), ("(4, 1, 3)", "Wrap")),
    "one axis": (lambda: Squeezed(), ("(3,)", "Wrap")),
    "rows lost": (lambda: Around(lambda z: z[:1]), ("1 rows", "images")),
    "a train that does nothing": (Moody, ("not deterministic", "dropout")),
    "an error of its own": (lambda: Around(lambda z: {}["missing"]), ("KeyError", "batches of 1 and 2")),
    "no batch of one": (
        lambda: Around(lambda z: z.squeeze(0) if len(z) > 1 else {}["one"]),
        ("KeyError", "batches of 1"),
    ),
    "a fixed batch inside": (lambda: Around(lambda z: z.view(4, 3)), ("fails on the first", "batch")),
    "quantised": (lambda: Around(lambda z: (z * 8).round() / 8), ("gradient", "rounding")),
    "a complex output": (lambda: Around(lambda z: torch.complex(z, z)), ("complex", "real")),
    "an integer output": (lambda: Around(lambda z: z.long()), ("gradient", "does not exist")),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("precision", ["exact", "fast32"])
def test_a_module_that_cannot_be_attacked_is_refused_with_cause_and_fix(name, precision):
    make, words = REFUSED[name]
    with pytest.raises(ClassifierError) as caught:
        aa.sweep(aa.Classifier(make()), X, LABELS, ATTACK, [0.03], precision=precision)
    for word in words:
        assert word in str(caught.value).replace("(2,", "(4,")  # the first two images are tried


NO_MODULES = {
    "a class": (nn.Linear, "class Linear"),
    "a path": ("model.pt", "load_classifier"),
    "a state dict": (network().state_dict(), "state dict"),
    "a number": (3, "int"),
}


@pytest.mark.parametrize("name", NO_MODULES)
def test_what_is_no_module_is_refused_by_its_kind(name):
    given, said = NO_MODULES[name]
    with pytest.raises(ClassifierError, match=said):
        aa.Classifier(given)


def test_a_network_that_computes_in_float64_by_itself_is_attacked_with_a_note():
    class Double(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network().double()

        def forward(self, x):
            return self.inner(x.double())

    result = aa.attack(aa.Classifier(Double().eval()), X, LABELS, ATTACK)
    assert result.flags["float64"].all()
    assert result.logits.dtype == np.float32


# ---- as they were ---------------------------------------------------------------------------------------------------


class LowRank(nn.Linear):
    """A linear layer with a low-rank adapter that eval merges into the weight, and train takes out again."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.down, self.up = nn.Parameter(torch.rand(2, sizes[0]) / 7), nn.Parameter(torch.rand(sizes[1], 2) / 3)
        self.merged = False

    def train(self, mode: bool = True):
        super().train(mode)
        if self.merged == mode:
            self.weight.data += (-1 if mode else 1) * (self.up @ self.down).data
            self.merged = not mode
        return self

    def forward(self, x):
        y = super().forward(x)
        return y if self.merged else y + x @ self.down.T @ self.up.T


class Replacing(nn.Module):
    """A module that eval rebuilds: another parameter, a part gone."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.scale = network(), nn.Parameter(torch.ones(3))
        self.branch = nn.Identity()

    def train(self, mode: bool = True):
        super().train(mode)
        if not mode and hasattr(self, "branch"):
            self.scale = nn.Parameter(self.scale.detach() * 2)
            del self.branch
        return self

    def forward(self, x):
        return self.inner(x) * self.scale


class Cached(nn.Module):
    """A module that keeps its normalised weight, and lists what it made."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.cache, self.made = nn.Parameter(torch.rand(3, 768)), None, {}

    def forward(self, x):
        if self.cache is None:
            self.cache = F.normalize(self.weight)
        self.made["weight"] = self.cache
        return F.linear(x.flatten(1), self.cache)


class Observing(nn.Module):
    """A module that writes down what it sees, in eval mode too, as fake-quantisation does."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()
        self.register_buffer("largest", torch.zeros(()))
        self.seen = torch.zeros(1)

    def forward(self, x):
        self.largest.copy_(torch.maximum(self.largest, x.detach().abs().max()))
        self.seen += 1
        return self.inner(x)


STATEFUL = {
    "merged adapters": lambda: nn.Sequential(nn.Flatten(), LowRank(768, 8), nn.ReLU(), LowRank(8, 3)),
    "rebuilt by eval": Replacing,
    "a cache": Cached,
    "an observer": Observing,
    "batch norm and dropout": network,
    "sparse matrices": lambda: Graph(torch.Tensor.to_sparse),
    "parts frozen": lambda: frozen(network()),
}


class Graph(nn.Module):
    """A network with sparse matrices, as networks on graphs have them: an attribute and a buffer, of any layout."""

    def __init__(self, to_sparse) -> None:
        super().__init__()
        self.inner = network()
        self.matrix = to_sparse(torch.eye(3))
        self.register_buffer("other", to_sparse(torch.eye(3)))

    def forward(self, x):
        return (self.matrix @ (self.other @ self.inner(x).T)).T


def frozen(net):
    net[0].weight.requires_grad_(False)
    return net


def everything(module: nn.Module):
    """What is to be the same afterwards: the objects themselves, their values, modes and wishes for gradients."""
    tensors = OrderedDict([*module.named_parameters(), *module.named_buffers()])
    values = {name: (id(t), t.detach().clone(), t.requires_grad) for name, t in tensors.items()}
    modes = [(name, id(part), part.training) for name, part in module.named_modules()]
    rest = {name: getattr(part, "merged", None) for name, part in module.named_modules()}
    return values, modes, rest


def assert_same(now, before):
    assert now[1:] == before[1:]
    assert list(now[0]) == list(before[0])
    for name, (place, value, wanted) in now[0].items():
        assert (place, wanted) == (before[0][name][0], before[0][name][2]), name
        assert torch.equal(value.to_dense(), before[0][name][1].to_dense()), name


def gradients(module: nn.Module, loss=None):
    torch.manual_seed(1)  # for dropout
    loss = F.cross_entropy(module(X), torch.zeros(4, dtype=torch.int64)) if loss is None else loss
    loss.backward()
    found = [p.grad for p in module.parameters()]
    module.zero_grad()
    return found


@pytest.mark.parametrize("name", STATEFUL)
@pytest.mark.parametrize("mode", ["train", "eval", "mixed"])
def test_a_module_is_afterwards_what_it_was_and_its_next_backward_works(name, mode):
    torch.manual_seed(0)
    module = STATEFUL[name]().train(mode == "train")
    if mode == "mixed":
        list(module.children())[-1].train() if any(True for _ in module.children()) else module.train()
    twin = copy.deepcopy(module)
    torch.manual_seed(1)
    earlier = None if name == "a cache" else F.cross_entropy(module(X), torch.zeros(4, dtype=torch.int64))
    if earlier is not None:
        twin.load_state_dict(module.state_dict())  # statistics of that pass
    before = everything(module)
    result = aa.attack(aa.Classifier(module), X, LABELS, ATTACK)
    assert ("train_mode" in result.flags) == (mode != "eval")
    assert_same(everything(module), before)
    if earlier is not None:
        assert any(g is not None for g in gradients(module, earlier))  # of a pass made before the attack
    for mine, own in zip(gradients(module), gradients(twin), strict=True):
        assert (mine is None) == (own is None)
        assert mine is None or torch.equal(mine, own)


@pytest.mark.parametrize("precision", ["exact", "fast"])
@pytest.mark.filterwarnings("ignore:Sparse CSR")  # PyTorch says that it is in beta
def test_sparse_matrices_that_cannot_be_copied_are_attacked_too(precision):
    module = Graph(torch.Tensor.to_sparse_csr).eval()
    result = aa.sweep(aa.Classifier(module), X, LABELS, ATTACK, [0.03], precision=precision)
    plain = aa.sweep(aa.Classifier(network()), X, LABELS, ATTACK, [0.03], precision=precision)
    np.testing.assert_allclose(result.logits, plain.logits, rtol=0, atol=1e-4)
    assert torch.equal(module.matrix.to_dense(), torch.eye(3))


def test_an_adapter_gives_the_same_logits_merged_and_not():
    torch.manual_seed(0)
    module = STATEFUL["merged adapters"]()
    module.train()
    first = aa.attack(aa.Classifier(module), X, LABELS, ATTACK).logits
    second = aa.attack(aa.Classifier(module), X, LABELS, ATTACK).logits
    np.testing.assert_array_equal(first, second)
    module.eval()
    np.testing.assert_array_equal(aa.attack(aa.Classifier(module), X, LABELS, ATTACK).logits, first)


def test_an_adapter_that_was_taken_out_by_hand_in_eval_mode_stays_out():
    module = nn.Sequential(nn.Flatten(), LowRank(768, 8), nn.Dropout(0.5), LowRank(8, 3)).eval()
    adapter = module[1]
    adapter.train()
    adapter.training = False  # in eval mode and not merged
    module.training = True  # what eval will be called on
    before = everything(module)
    aa.attack(aa.Classifier(module), X, LABELS, ATTACK)
    assert_same(everything(module), before)
    assert not adapter.merged


def test_dropout_left_on_by_choice_is_named_and_flagged():
    module = network()
    module[3].train()
    with pytest.warns(aa.errors.AdvassayWarning, match=r"3 \(Dropout\).*Monte Carlo") as caught:
        result = aa.attack(aa.Classifier(module), X, LABELS, ATTACK)
    assert len([each for each in caught if "train_mode" in str(each.message)]) == 1
    assert result.flags["train_mode"].all()
    assert any("3 (Dropout)" in note for note in result.notes)
    assert [part.training for part in module] == [False, False, False, True, False, False]


def test_a_network_that_eval_passes_change_is_flagged():
    result = aa.attack(aa.Classifier(Observing().eval()), X, LABELS, ATTACK)
    assert result.flags["stateful"].all()
    assert any("largest" in note for note in result.notes)


def test_faint_randomness_is_flagged_and_strong_is_refused():
    faint = Around(lambda z: z + 3e-5 * torch.rand_like(z)).eval()
    assert aa.attack(aa.Classifier(faint), X, LABELS, ATTACK).flags["not_deterministic"].all()


def test_an_error_inside_the_network_leaves_it_as_it_was():
    module = Around(lambda z: {}["missing"]).train()
    before = everything(module)
    with pytest.raises(ClassifierError):
        aa.attack(aa.Classifier(module), X, LABELS, ATTACK)
    assert_same(everything(module), before)
    assert torch.is_grad_enabled()
