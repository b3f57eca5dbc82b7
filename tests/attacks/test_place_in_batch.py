"""Which operations give an image's last bit by its place in the batch: a search over operations, sizes and batch sizes.

What the search may find is written down in FAMILIES, in the words of README.md, attacks/README.md and
records/FORMAT.md; anything else that it finds is a new exception to "no recorded number depends on an
image's neighbours", and fails.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import advassay

BATCHES = (2, 3, 4, 5, 7, 8, 12, 16, 31, 32)
PACKAGE = Path(advassay.__file__).parent
DOCUMENTS = (
    Path(__file__).parents[2] / "README.md", PACKAGE / "attacks" / "README.md", PACKAGE / "records" / "FORMAT.md"
)  # fmt: skip

FAMILIES = {
    "products": "matrix products (linear layers, attention, recurrent cells, distances) over a number of features or "
    "tokens that is no multiple of four, to fewer than four outputs, or in batches that are no multiple of four",
    "pointwise": "1 × 1 convolutions of a number of channels, or on maps of a number of pixels, that is no multiple of "
    "four",
    "squeeze": "squeeze-and-excitation, whose 1 × 1 convolutions see 1 × 1 maps, in batches that are no multiple of "
    "four or to a number of channels that is none",
    "curves": "activations made of exponentials (GELU, SiLU, sigmoid, tanh) on a number of values per image that is no "
    "multiple of 16",
    "fourier": "Fourier transforms",
}


class Case(NamedTuple):
    """One operation at one size, and in which batch sizes it may depend on the place, as documented."""

    name: str
    operation: Callable[[Tensor], Tensor]
    shape: tuple[int, ...]
    family: str | None = None
    """Of FAMILIES, where one names the operation at all."""
    always: bool = False
    """Whether the family names this size in every batch, not only in batches that are no multiple of four."""


class SqueezeAndExcitation(nn.Module):
    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1)

    def forward(self, x):
        return x * self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True)))).sigmoid()


def attention(features: int, heads: int) -> Callable[[Tensor], Tensor]:
    layer = nn.MultiheadAttention(features, heads, batch_first=True)
    return lambda x: layer(x, x, x, need_weights=False)[0]


def cases() -> Iterator[Case]:
    for features in (1, 4, 5, 6, 9, 16, 30, 64, 65, 128, 513, 2048):
        for outputs in (1, 2, 3, 5, 8, 14, 64):
            odd = features % 4 > 0 or outputs < 4
            yield Case(f"linear {features} → {outputs}", nn.Linear(features, outputs), (features,), "products", odd)
    for features, outputs in ((8, 8), (7, 5), (192, 10), (192, 576)):
        layer = nn.Linear(features, outputs)
        yield Case(f"linear of tokens {features}", layer, (9, features), "products", True)
    for features, heads, tokens in ((8, 2, 16), (24, 3, 17), (64, 4, 5)):
        odd = tokens % 4 > 0
        yield Case(f"attention {features}, {tokens}", attention(features, heads), (tokens, features), "products", odd)
    for kind in (nn.GRU, nn.LSTM):
        cell = kind(6, 7, batch_first=True)
        yield Case(kind.__name__, lambda x, cell=cell: cell(x)[0], (5, 6), "products", True)
    centres = torch.rand(3, 12)
    yield Case("distances", lambda x: torch.cdist(x, centres), (12,), "products", True)
    yield Case("cosine head", lambda x: F.linear(F.normalize(x), F.normalize(centres)), (12,), "products", True)
    for channels in (3, 8, 17, 32, 64):
        for outputs in (1, 3, 8, 16):
            for side in (1, 3, 7, 16):
                odd = side % 2 > 0 or channels % 4 > 0 or outputs % 4 > 0
                layer = nn.Conv2d(channels, outputs, 1)
                yield Case(
                    f"1 × 1 convolution {channels} → {outputs} on {side}", layer, (channels, side, side),
                    "pointwise" if odd else None, odd,
                )  # fmt: skip
        for side in (4, 9, 16):
            shape = channels, side, side
            yield Case(f"3 × 3 convolution of {channels} on {side}", nn.Conv2d(channels, 8, 3, padding=1), shape)
            yield Case(f"strided convolution of {channels} on {side}", nn.Conv2d(channels, 9, 3, 2), shape)
            yield Case(f"depthwise convolution of {channels}", nn.Conv2d(channels, channels, 3, groups=channels), shape)
            yield Case(f"transposed convolution of {channels}", nn.ConvTranspose2d(channels, 4, 3), shape)
            yield Case(f"dilated convolution of {channels}", nn.Conv2d(channels, 4, 3, padding=2, dilation=2), shape)
    for channels, inner in ((8, 2), (16, 1), (16, 4), (64, 4), (96, 6)):
        layer = SqueezeAndExcitation(channels, inner)
        yield Case(f"squeeze and excite {channels}, {inner}", layer, (channels, 4, 4), "squeeze", inner % 4 > 0)
    for channels, side in ((8, 4), (8, 7), (30, 7), (30, 4)):
        shape, odd = (channels, side, side), channels * side * side % 16 > 0
        for name in ("gelu", "silu", "sigmoid", "tanh"):
            yield Case(f"{name} of {shape}", getattr(F, name), shape, "curves" if odd else None, odd)
        yield Case(f"relu of {shape}", F.relu, shape)
        yield Case(f"global average of {shape}", nn.AdaptiveAvgPool2d(1), shape)
        yield Case(f"mean of {shape}", lambda x: x.mean((2, 3)), shape)
        yield Case(f"max pool of {shape}", nn.MaxPool2d(3, 2), shape)
        yield Case(f"average pool of {shape}", nn.AvgPool2d(3, 1, 1), shape)
        yield Case(f"bilinear {shape}", lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), shape)
        yield Case(f"batch norm {shape}", nn.BatchNorm2d(channels).eval(), shape)
        yield Case(f"group norm {shape}", nn.GroupNorm(2, channels), shape)
        yield Case(f"layer norm {shape}", nn.LayerNorm(shape), shape)
        yield Case(f"Fourier transform of {shape}", lambda x: torch.fft.rfft2(x).abs(), shape, "fourier", True)


def depends_on_place(operation: Callable[[Tensor], Tensor], shape: tuple[int, ...], batch: int) -> bool:
    """Whether copies of one input get other bits by their place, forwards or backwards, in either layout."""
    torch.manual_seed(0)
    x = torch.rand(1, *shape).expand(batch, *shape)
    for layout in (torch.contiguous_format, torch.channels_last)[: 1 + (len(shape) == 3)]:
        leaf = x.contiguous(memory_format=layout).requires_grad_()
        y = operation(leaf)
        weights = torch.rand(1, *y.shape[1:]).expand_as(y)
        (gradient,) = torch.autograd.grad((y * weights).sum(), leaf)
        if not all(torch.equal(each[0].expand_as(each), each) for each in (y, gradient)):
            return True
    return False


@pytest.mark.parametrize("threads", [1, 2])
def test_only_what_is_documented_gives_the_last_bit_by_place(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        torch.manual_seed(0)
        found = [
            (case, batch)
            for case in cases()
            for batch in BATCHES
            if depends_on_place(case.operation, case.shape, batch)
        ]
    finally:
        torch.set_num_threads(before)
    unknown = [
        f"{case.name}, batches of {batch}" for case, batch in found if not case.family or not (case.always or batch % 4)
    ]
    assert not unknown


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="torch multiplies by another library than MKL")
def test_linear_layers_to_few_classes_are_computed_alike_at_every_place_where_mkl_is_strict():
    """tests/conftest.py asks for that, as the command line does (process_tuning.make_products_strict).

    One output is left out: MKL takes it for a product with a vector, and on some processors (AMD EPYC) is no stricter.
    """
    assert os.environ["MKL_CBWR"] == "AUTO,STRICT"
    found = [
        (features, outputs, batch)
        for features in (64, 200, 512, 2048)
        for outputs in (2, 3, 4, 10)
        for batch in (*BATCHES, 33)
        if depends_on_place(nn.Linear(features, outputs), (features,), batch)
    ]
    assert not found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_documents_name_every_family(document):
    text = " ".join(document.read_text().split())
    missing = [family for family in FAMILIES.values() if family not in text]
    assert not missing
