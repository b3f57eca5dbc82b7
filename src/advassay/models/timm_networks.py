"""A network by its timm name, for one or three channels and a size it can take, and pixels it never sees."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from advassay.errors import TrainingError
from advassay.spec.study_spec import MEASURED_MINIMUM_PX

MEAN, STD = 0.5, 0.5
"""Normalisation of every network trained here: [0, 1] becomes [-1, 1], what InceptionV3's ImageNet weights expect."""

SMALLEST_USEFUL_PX = 32
"""Below this side most networks are a single pixel wide half-way through."""


def build_network(
    architecture: str, *, channels: int, classes: int, image_size_px: int, seed: int | None = None
) -> nn.Module:
    """The timm network `architecture` with random weights: (image, channel, height, width) → logits (image, class).

    `seed` fixes the initial weights without touching the global generator; None leaves them to it. InceptionV3 comes
    without its auxiliary head. Nothing is downloaded.

    Raises TrainingError for an unknown name and for an image size the network cannot take.
    """
    if _configuration(architecture).fixed_input_size and not _takes(architecture, image_size_px):
        raise image_size_error(architecture, image_size_px, "its patches do not divide it")
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        network = _create(architecture, channels, classes, image_size_px)
        if architecture.partition(".")[0] == "inception_v3":
            _initialise_as_he(network)
        return network


def blank_network(architecture: str, *, channels: int, classes: int, image_size_px: int) -> nn.Module:
    """`build_network` for weights that are about to be loaded: drawing random ones would take longer than loading.

    What would be drawn holds arbitrary values until then. The global generator is left as it is.
    """
    with _NoDraws():
        return build_network(architecture, channels=channels, classes=classes, image_size_px=image_size_px, seed=0)


class _NoDraws(TorchFunctionMode):
    """Leaves tensors as they are where random numbers would be put into them."""

    def __torch_function__(
        self, called: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if called in _DRAWS:
            return args[0] if args else given["tensor"]
        return called(*args, **given)


_DRAWS = {
    torch.Tensor.uniform_,
    torch.Tensor.normal_,
    torch.Tensor.erfinv_,
    nn.init.uniform_,
    nn.init.normal_,
    nn.init.kaiming_uniform_,
    nn.init.kaiming_normal_,
}
"""What initialisers are made of, the inverse error function of truncated normals included; inside a function of nn.init
its tensor's methods are not seen."""


def _initialise_as_he(network: nn.Module) -> None:
    """He et al. 2015 (eq. 14) for convolutions, in place of timm's normal of standard deviation 0.1.

    Batch norm hides the scale of a convolution from the output but not from Adam: weights two to four times too
    large learn that much slower (measured, 80 px, 60 updates of 32: loss 1.4 against 0.4 on the same phantoms).
    """
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")


@torch.no_grad()
def silence_head(network: nn.Module) -> None:
    """Set a timm network's final layer to zero, so that training starts from equal probabilities.

    timm's random head of InceptionV3 gives logits with a standard deviation of several units; unlearning that noise
    takes most of a short training (measured: loss still 1.5 after 60 updates, where guessing has 0.69).
    """
    names = (getattr(network, "pretrained_cfg", None) or {}).get("classifier") or ()
    for name in (names,) if isinstance(names, str) else names:
        for parameter in network.get_submodule(name).parameters():
            parameter.zero_()


def minimum_image_size(architecture: str) -> int:
    """Smallest side in pixels, at least 32, of a square image the network can take.

    Found by running the network on the meta device (shapes only, no arithmetic). Raises TrainingError for an
    unknown name.

    >>> minimum_image_size("inception_v3")
    75
    """
    return MEASURED_MINIMUM_PX.get(architecture) or measured_minimum(architecture)


@lru_cache
def takes_image_size(architecture: str, size: int) -> bool:
    """Whether the network takes square images of this side in pixels: transformers want whole patches.

    Raises TrainingError for an unknown name.
    """
    return _takes(architecture, size)


@lru_cache
def measured_minimum(architecture: str) -> int:
    """`minimum_image_size` by trial: bisection between 32 px and the size the network was designed for."""
    works = max(_configuration(architecture).input_size[1:])
    network = _on_meta(architecture, works)
    if _takes(architecture, SMALLEST_USEFUL_PX, network):
        return SMALLEST_USEFUL_PX
    too_small = SMALLEST_USEFUL_PX
    while works - too_small > 1:
        middle = (too_small + works) // 2
        too_small, works = (too_small, middle) if _takes(architecture, middle, network) else (middle, works)
    return works


@lru_cache
def checkpoint_bytes(architecture: str, *, channels: int, classes: int, image_size_px: int) -> int:
    """About how large the network's checkpoint is: four bytes a weight, counted without making them.

    >>> checkpoint_bytes("resnet18", channels=3, classes=2, image_size_px=64)
    44748632
    """
    network = _on_meta(architecture, image_size_px, channels, classes)
    return 4 * sum(tensor.numel() for tensor in network.state_dict().values())


def has_fixed_size(architecture: str) -> bool:
    """Whether a network of this name is made for images of one size (transformers)."""
    return bool(_configuration(architecture).fixed_input_size)


def _on_meta(architecture: str, size: int, channels: int = 3, classes: int = 2) -> nn.Module:
    with torch.device("meta"):
        return _create(architecture, channels, classes, size).eval()


def _takes(architecture: str, size: int, network: nn.Module | None = None) -> bool:
    """Whether a forward pass works at `size`; transformers are made anew for each size."""
    try:
        if network is None or _configuration(architecture).fixed_input_size:
            network = _on_meta(architecture, size)
        with torch.inference_mode():
            network(torch.empty(1, 3, size, size, device="meta"))
    except (RuntimeError, AssertionError, ValueError):
        return False
    return True


def _create(architecture: str, channels: int, classes: int, image_size_px: int) -> nn.Module:
    import timm

    options: dict[str, Any] = {}
    if architecture.partition(".")[0] == "inception_v3":
        options["aux_logits"] = False
    if _configuration(architecture).fixed_input_size:  # transformers: position embeddings are made for one size
        options["img_size"] = image_size_px
    return timm.create_model(architecture, pretrained=False, in_chans=channels, num_classes=classes, **options)


def _configuration(architecture: str) -> Any:
    """timm's configuration of a network it knows; names that would fetch a model from elsewhere are not among them."""
    import timm

    if not timm.is_model(architecture):
        close = difflib.get_close_matches(architecture, timm.list_models(), n=5, cutoff=0.5)
        raise TrainingError(
            f"training.architecture: expected a timm model name, got {architecture!r}.",
            f"Close names: {', '.join(close)}." if close else "timm.list_models() lists them.",
        )
    return timm.get_pretrained_cfg(architecture) or timm.models.PretrainedCfg()


def image_size_error(architecture: str, size: int, reason: str) -> TrainingError:
    return TrainingError(
        f"image_size_px: {architecture} cannot take {size} px images ({reason}).",
        "Choose another image_size_px (a multiple of the patch size for transformers) or another architecture.",
    )


_TRIES = 16
"""Larger and smaller sides that are tried."""


class UnseenPixels(NamedTuple):
    """rows, columns: numbers of those without influence on any logit. seen_whole: the nearest sides without any."""

    rows: int
    columns: int
    seen_whole: tuple[int, ...]


@lru_cache
def unseen_pixels(architecture: str, size: int) -> UnseenPixels | None:
    """Rows and columns of a `size` × `size` image that cannot change a logit; None where all can.

    Found from the gradient of the logits of a random network at a random image: a row without influence has a gradient
    of exactly zero, whatever the weights. Takes some seconds. None too where the network cannot be run.
    """
    found = _without_influence(architecture, size)
    if found is None or found == (0, 0):
        return None
    sides = (_nearest_seen_whole(architecture, size, direction) for direction in (-1, 1))
    return UnseenPixels(*found, tuple(side for side in sides if side is not None))


def _nearest_seen_whole(architecture: str, size: int, direction: int) -> int | None:
    least = minimum_image_size(architecture)
    sides = (size + direction * distance for distance in range(1, _TRIES + 1))
    return next((side for side in sides if side >= least and _without_influence(architecture, side) == (0, 0)), None)


@lru_cache(maxsize=1)
def _network(architecture: str, size: int | None) -> nn.Module:
    """A network whose every path is open: gains that start at zero would close those of residual blocks."""
    network = build_network(architecture, channels=1, classes=2, image_size_px=size or 0, seed=0).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim <= 1:
                parameter.uniform_(0.5, 1.5, generator=generator)
    return network


def _without_influence(architecture: str, size: int) -> tuple[int, int] | None:
    """(rows, columns) of a zero gradient; None where the network does not take the size."""
    try:
        network = _network(architecture, size if has_fixed_size(architecture) else None)
        image = torch.randn(1, 1, size, size, generator=torch.Generator().manual_seed(size), requires_grad=True)
        (gradient,) = torch.autograd.grad(network(image).sum(), image)
    except (RuntimeError, AssertionError, ValueError, TrainingError):
        return None
    seen = gradient.abs()[0, 0]
    return int((seen.sum(dim=1) == 0).sum()), int((seen.sum(dim=0) == 0).sum())
