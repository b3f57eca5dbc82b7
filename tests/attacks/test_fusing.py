"""Packed layers and the networks fused from them: the same function, the same gradient."""

import gc
import os
import platform
import subprocess
import sys
import weakref

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_networks import small_cnn
from torch import nn

import advassay as aa
from advassay.attacks.attack_step import GradientModel
from advassay.attacks.batch_tuning import execution_config
from advassay.attacks.surrogate import build
from advassay.attacks.surrogate.build import FUSED, build_surrogate
from advassay.attacks.surrogate.packed_layers import (
    AveragePool,
    BiasAndRelu,
    Branches,
    PackedConvolution,
    can_pack,
    can_pack_on,
    fuse,
)

pytestmark = pytest.mark.skipif(not can_pack_on("cpu"), reason="this build of PyTorch has no oneDNN")


def both(module: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs, flattened and side by side, and the gradient of a fixed weighting of them."""
    x = x.clone().requires_grad_()
    outputs = module(x)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    flat = torch.cat([y.reshape(len(x), -1) for y in outputs], dim=1)
    weights = torch.linspace(-1, 1, flat.numel()).view_as(flat).to(flat.dtype)
    (gradient,) = torch.autograd.grad((flat * weights).sum(), x)
    return flat.detach(), gradient


def assert_same(ours: nn.Module, theirs: nn.Module, x: torch.Tensor) -> None:
    for mine, other in zip(both(ours, x), both(theirs, x), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


def frozen(module: nn.Module) -> nn.Module:
    return module.eval().requires_grad_(False)


sides = st.tuples(st.integers(1, 4), st.integers(1, 4))


@settings(max_examples=60, deadline=None)
@given(
    kernel=sides,
    stride=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    groups=st.sampled_from([1, 2]),
    bias=st.booleans(),
    relu=st.booleans(),
    layout=st.sampled_from([torch.channels_last, torch.contiguous_format]),
)
def test_a_packed_convolution_is_the_convolution_with_its_relu(
    kernel, stride, padding, dilation, groups, bias, relu, layout
):
    torch.manual_seed(0)
    plain = frozen(nn.Conv2d(4, 6, kernel, stride, padding, dilation, groups, bias=bias))
    packed = PackedConvolution(plain, relu=relu)
    x = torch.randn(2, 4, 11, 9).contiguous(memory_format=layout)
    assert_same(packed, nn.Sequential(plain, nn.ReLU() if relu else nn.Identity()), x)


def test_batches_of_other_shapes_pack_the_weights_anew():
    torch.manual_seed(0)
    plain = frozen(nn.Conv2d(3, 8, 3, padding=1))
    packed = PackedConvolution(plain, relu=False)
    for shape in ((2, 3, 8, 8), (5, 3, 12, 7), (2, 3, 8, 8)):
        assert_same(packed, plain, torch.randn(shape))


def test_padding_that_is_not_zeros_is_refused():
    with pytest.raises(TypeError, match="reflect"):
        PackedConvolution(nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"), relu=False)
    with pytest.raises(TypeError, match="same"):
        PackedConvolution(nn.Conv2d(3, 3, 3, padding="same"), relu=False)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_an_average_pool_is_its_own_gradient(size):
    x = torch.randn(2, 3, 8, 6)
    assert_same(AveragePool(size), nn.AvgPool2d(size, 1, size // 2), x)


def test_an_average_pool_of_even_size_has_no_middle():
    with pytest.raises(ValueError, match="odd"):
        AveragePool(2)


@pytest.mark.skipif(not can_pack(torch.bfloat16), reason="oneDNN computes no bfloat16 on this processor")
def test_bfloat16_is_packed_as_bfloat16():
    torch.manual_seed(0)
    plain = frozen(nn.Conv2d(4, 6, 3, padding=1)).bfloat16()
    x = torch.randn(2, 4, 9, 9).bfloat16()
    (y, gradient), (expected, slope) = both(PackedConvolution(plain, relu=False), x), both(plain, x)
    assert y.dtype == gradient.dtype == torch.bfloat16
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(gradient, slope, rtol=0.05, atol=0.05)


def test_branches_send_back_the_sum_of_their_gradients():
    torch.manual_seed(0)
    convolutions = [frozen(nn.Conv2d(6, out, 1)) for out in (2, 3, 4)]
    layers = [PackedConvolution(c, relu=relu) for c, relu in zip(convolutions, (True, False, True), strict=True)]

    class Apart(nn.Module):
        def forward(self, x):
            return convolutions[0](x).relu(), convolutions[1](x), convolutions[2](x).relu()

    assert_same(Branches(layers), Apart(), torch.randn(2, 6, 5, 5))
    with pytest.raises(ValueError, match="1 × 1"):
        Branches([PackedConvolution(nn.Conv2d(6, 2, 3), relu=False)])


class Mixed(nn.Module):
    """Every pattern that is fused: ReLUs as layers and as functions, pooled and parallel 1 × 1 branches."""

    def __init__(self, pool=lambda x: F.avg_pool2d(x, 3, stride=1, padding=1)) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.act, self.drop = nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(inplace=True), nn.Dropout(0.5)
        self.left, self.right, self.narrow = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 5, 1, bias=False), nn.Conv2d(8, 4, 1)
        self.deep, self.head, self.pool = nn.Conv2d(5, 4, (1, 7), padding=(0, 3)), nn.Linear(12, 3), pool

    def forward(self, x):
        x = self.act(self.drop(self.stem(x)))
        right = F.relu(self.deep(torch.relu(self.right(x))))
        parts = [F.relu(self.left(x), inplace=True), right, F.relu(self.narrow(self.pool(x)))]
        return self.head(torch.cat(parts, 1).mean((2, 3)))


def kinds(module: nn.Module) -> list[type]:
    return [type(m) for m in module.modules()]


def test_convolutions_relus_pools_and_branches_are_fused(images):
    network = frozen(Mixed())
    fused = fuse(network)
    assert_same(fused, network, images)
    found = kinds(fused)
    assert not {nn.Conv2d, nn.ReLU} & set(found)
    assert (found.count(PackedConvolution), found.count(Branches), found.count(AveragePool)) == (5, 1, 1)
    assert next(m for m in fused.modules() if isinstance(m, AveragePool))(torch.ones(1, 3, 4, 4)).shape == (1, 3, 4, 4)
    assert len(next(m for m in fused.modules() if isinstance(m, Branches)).layers) == 3  # the pooled one among them


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False),
        lambda x: F.avg_pool2d(x, 3, 1, 1, divisor_override=4),
        lambda x: F.avg_pool2d(x, 2, 1, 1)[..., 1:, 1:],
        lambda x: F.avg_pool2d(x, x.shape[-2:], 1).expand(-1, -1, 8, 8),
        lambda x: F.max_pool2d(x, 3, 1, 1),
    ],
    ids=["inside-only", "other-divisor", "even", "whole", "maximum"],
)
def test_a_pool_that_is_not_its_own_gradient_stays_as_it_is(images, pool):
    network = frozen(Mixed(pool))
    fused = fuse(network)
    assert AveragePool not in kinds(fused)
    assert_same(fused, network, images)


def test_what_is_also_used_elsewhere_is_not_fused_away(images):
    class Tapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.one, self.two = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 1)

        def forward(self, x):
            raw = self.one(x)
            pooled = F.avg_pool2d(raw, 3, 1, 1)
            return (raw + F.relu(raw)).mean((2, 3))[:, :2] + (self.two(pooled).relu() + pooled[:, :2]).mean((2, 3))

    network = frozen(Tapped())
    fused = fuse(network)
    assert_same(fused, network, images)
    assert BiasAndRelu not in kinds(fused)


def test_what_cannot_be_packed_or_is_watched_stays_as_it_is(images):
    torch.manual_seed(0)
    seen = []
    watched = nn.Conv2d(4, 4, 3)
    watched.register_forward_hook(lambda layer, given, out: seen.append(out))
    network = frozen(
        nn.Sequential(
            nn.Conv2d(3, 4, 3, padding="same"), nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), watched
        )
    )
    assert fuse(network) is None  # nothing to gain
    network.append(frozen(nn.Conv2d(4, 2, 1)))
    fused = fuse(network)
    assert kinds(fused).count(nn.Conv2d) == 3
    seen.clear()
    assert_same(fused, network, images)
    assert len(seen) == 2


def forward_hook(module: nn.Module) -> None:
    module.register_forward_hook(lambda layer, given, out: 2 * out)


def backward_hook(module: nn.Module) -> None:
    module.register_full_backward_hook(lambda layer, given, out: (2 * given[0],))


def old_backward_hook(module: nn.Module) -> None:
    module.register_backward_hook(lambda layer, given, out: None)  # tracing it would never end


@pytest.mark.filterwarnings("ignore:Using a non-full backward hook")
@pytest.mark.parametrize("hook", [forward_hook, backward_hook, old_backward_hook])
@pytest.mark.parametrize("inside", [False, True])
def test_a_network_whose_hooks_tracing_would_lose_is_not_fused_and_says_so(images, hook, inside):
    network = frozen(nn.Sequential(small_cnn()))
    hook(network[0] if inside else network)
    steering = build_surrogate(aa.Classifier(network), images, ("channels-last", FUSED))
    assert steering.rewrites == ("channels-last",)
    assert steering.notes[0].startswith("fused: taken back: ValueError: hooks of ")


def test_a_layer_called_twice_is_fused_for_each_call(images):
    class Again(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, 2)

        def forward(self, x, scale=None):
            x = x if scale is None else scale * x
            return self.head(self.layer(self.layer(x).relu()).mean((2, 3)))

    network = frozen(Again())
    fused = fuse(network)
    assert kinds(fused).count(PackedConvolution) == 2
    assert sum(m.relu for m in fused.modules() if isinstance(m, PackedConvolution)) == 1
    assert_same(fused, network, images)


def test_a_network_that_cannot_be_traced_is_attacked_unfused_and_says_so(images):
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = small_cnn()

        def forward(self, x):
            return self.inner(x if x.mean() > 0 else -x)

    steering = build_surrogate(aa.Classifier(frozen(Branching())), images, ("channels-last", FUSED))
    assert steering.rewrites == ("channels-last",)
    assert steering.notes[0].startswith("fused: taken back: TraceError")
    assert "\n" not in steering.notes[0]


class _Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return (16 * x).round() / 16

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def _half_watched(x):
    with torch.no_grad():
        constant = 0.2 * x
    return 0.8 * x + constant


@pytest.mark.parametrize("own", [_Straight.apply, _half_watched])
def test_a_gradient_of_the_networks_own_making_is_not_lost(images, own):
    class Rounding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = small_cnn()

        def forward(self, x):
            return self.inner(own(x))

    network = frozen(Rounding())
    classifier = aa.Classifier(network)
    steering = build_surrogate(classifier, images, (FUSED,))
    assert steering.rewrites == ()
    assert "gradient" in steering.notes[0]
    assert both(steering.module, images)[1].abs().max() > 0


@pytest.mark.parametrize("precision", ["fast32", "fast"])
def test_the_studys_network_is_fused_whole(precision, monkeypatch):
    timm = pytest.importorskip("timm")
    # How far bfloat16 moves an untrained network's gradient, which is chaos, depends on the processor.
    monkeypatch.setattr(build, "SAME_BFLOAT16_GRADIENT", float("inf"))
    torch.manual_seed(0)
    network = frozen(timm.create_model("inception_v3", num_classes=2, aux_logits=False))
    classifier = aa.Classifier(network, mean=0.5, std=0.5)
    x = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    wanted = execution_config(2, precision=precision).rewrites
    with classifier.attack_mode():
        steering = build_surrogate(classifier, x, wanted)
    assert steering.rewrites == wanted
    found = kinds(steering.module)
    assert found.count(PackedConvolution) == 94
    assert (found.count(nn.Conv2d), found.count(AveragePool), found.count(Branches)) == (0, 9, 10)


@pytest.mark.parametrize("precision", ["fast32", "fast"])
def test_a_fused_gradient_is_the_same_bits_whatever_the_neighbours(images, precision):
    classifier = aa.Classifier(frozen(Mixed()))
    steering = build_surrogate(classifier, images, execution_config(4, precision=precision).rewrites)
    assert steering.rewrites[-1] == FUSED
    network = GradientModel(steering.module, "margin", channels_last=True)
    labels = torch.zeros(8, dtype=torch.int64)

    def passed(order: list[int]) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
        found = {}
        for part in (order[:4], order[4:]):
            found |= dict(zip(part, zip(*network.gradient(images[part], labels[part], None), strict=True), strict=True))
        return found

    some, others = passed([0, 1, 2, 3, 4, 5, 6, 7]), passed([5, 2, 7, 0, 1, 6, 3, 4])
    assert all(torch.equal(a, b) for i in some for a, b in zip(some[i], others[i], strict=True))


FAULTS = """
import resource, sys
import torch
from advassay.process_tuning import keep_freed_memory
kept = keep_freed_memory()
faults = [resource.getrusage(resource.RUSAGE_SELF).ru_minflt]
for _ in range(20):
    torch.ones(2**25)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(int(kept), min(b - a for a, b in zip(faults, faults[1:])))
"""


def page_faults(chosen: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """(whether memory is kept, fewest page faults of a buffer like one freed before) in a process so started."""
    for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    told = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True).stdout
    kept, faults = map(int, told.split())
    return kept, faults


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc's allocator that is told")
def test_freed_buffers_are_kept_unless_the_environment_chooses(monkeypatch):
    kept, faults = page_faults({}, monkeypatch)
    assert kept == 1
    assert faults < 2000  # 2²⁵ float32 are 32,768 pages
    assert page_faults({"MALLOC_TRIM_THRESHOLD_": "131072"}, monkeypatch)[0] == 0
    assert page_faults({"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"}, monkeypatch)[0] == 0
    assert page_faults({"GLIBC_TUNABLES": "glibc.rtld.optional_static_tls=512"}, monkeypatch)[0] == 1


def test_importing_and_attacking_tune_nothing_and_the_program_says_what_it_does():
    code = (
        "import os, torch, advassay as aa; from advassay import process_tuning as p\n"
        "with aa.Classifier(torch.nn.Flatten()).attack_mode(): pass\n"
        "print(sorted(set(p.PRIMITIVE_CACHE) & set(os.environ)), p.keep_freed_memory.cache_info().currsize)\n"
        "print(*aa.tune_process(), sep='; '); print(os.environ[p.PRIMITIVE_CACHE[0]])\n"
        "print(p.keep_compiled_layers())"
    )
    names = ("MALLOC_", "ONEDNN_", "DNNL_", "GLIBC_")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=plain).stdout
    before, said, primitives, again = told.splitlines()
    assert before == "[] 0"
    assert "16384 compiled layers are kept" in said
    assert (primitives, again) == ("16384", "False")


@pytest.mark.parametrize(("device", "verbose", "said"), [("cpu", True, 1), ("cpu", False, 0), ("cuda", True, 0)])
def test_the_command_line_tunes_its_process_where_networks_run_on_a_processor(
    monkeypatch, capsys, device, verbose, said
):
    from advassay.cli.options import tune_for

    asked = []
    monkeypatch.setattr("advassay.process_tuning.tune_process", lambda: asked.append(1) or ("memory is kept",))
    tune_for(device, verbose=verbose)
    assert len(asked) == (device == "cpu")
    assert capsys.readouterr().err.count("This process: memory is kept.") == said


def test_a_dropped_copy_frees_its_weights_at_once(images):
    classifier = aa.Classifier(frozen(Mixed()))
    steering = build_surrogate(classifier, images, (FUSED,))
    assert steering.rewrites == (FUSED,)
    weights = [weakref.ref(m) for m in steering.module.modules() if isinstance(m, PackedConvolution)]
    gc.disable()
    try:
        del steering
        assert [each() for each in weights] == [None] * 5
    finally:
        gc.enable()
