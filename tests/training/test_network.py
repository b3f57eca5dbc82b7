from __future__ import annotations

import pytest
import torch

from advassay.errors import TrainingError
from advassay.models.timm_networks import blank_network, build_network, measured_minimum, silence_head
from advassay.training import minimum_image_size


def test_inception_needs_75_pixels_as_measured_by_running_it() -> None:
    assert measured_minimum("inception_v3") == minimum_image_size("inception_v3") == 75


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
def test_the_minimum_size_found_is_one_the_network_takes(architecture: str) -> None:
    size = minimum_image_size(architecture)
    network = build_network(architecture, channels=3, classes=2, image_size_px=size, seed=0).eval()
    assert network(torch.zeros(2, 3, size, size)).shape == (2, 2)


@pytest.mark.parametrize("name", ["inception_v33", "hf-hub:someone/network", "no such thing at all"])
def test_an_unknown_or_remote_name_is_refused_with_close_names(name: str) -> None:
    with pytest.raises(TrainingError, match="timm model name") as caught:
        build_network(name, channels=1, classes=2, image_size_px=80)
    assert name != "inception_v33" or "inception_v3" in caught.value.fix


def test_a_size_the_patches_do_not_divide_is_refused() -> None:
    with pytest.raises(TrainingError, match="test_vit cannot take 75 px"):
        build_network("test_vit", channels=1, classes=2, image_size_px=75)


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
def test_a_silenced_head_gives_every_class_the_same_logit_and_still_learns(architecture: str) -> None:
    network = build_network(architecture, channels=1, classes=3, image_size_px=32, seed=0)
    silence_head(network)
    logits = network(torch.rand(4, 1, 32, 32))
    assert logits.abs().max() == 0
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0])).backward()
    assert network.get_classifier().weight.grad.abs().max() > 0


def test_inception_from_scratch_starts_from_he_weights() -> None:
    network = build_network("inception_v3", channels=1, classes=2, image_size_px=75, seed=0)
    convolutions = [part for part in network.modules() if isinstance(part, torch.nn.Conv2d)]
    assert len(convolutions) == 94
    for part in convolutions:
        fan_out = part.out_channels * part.kernel_size[0] * part.kernel_size[1]
        spread = 5 / (2 * part.weight.numel()) ** 0.5  # five standard errors of a standard deviation
        assert part.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=spread)


@pytest.mark.parametrize(
    "architecture", ["resnet18", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "pit_ti_224"]
)
def test_a_blank_network_becomes_the_one_whose_weights_it_is_given(architecture: str) -> None:
    size = {"channels": 3, "classes": 2, "image_size_px": 64 if architecture == "resnet18" else 224}
    built = build_network(architecture, seed=0, **size)
    state = torch.get_rng_state()
    blank = blank_network(architecture, **size)
    assert torch.equal(torch.get_rng_state(), state)
    blank.load_state_dict(built.state_dict())
    images = torch.rand(2, 3, size["image_size_px"], size["image_size_px"], generator=torch.Generator().manual_seed(0))
    assert torch.equal(blank.eval()(images), built.eval()(images))


def test_a_blank_network_draws_no_weight() -> None:
    built = build_network("inception_v3", channels=1, classes=2, image_size_px=75, seed=0)
    blank = blank_network("inception_v3", channels=1, classes=2, image_size_px=75)
    drawn = [
        torch.equal(a, b)
        for a, b in zip(built.parameters(), blank.parameters(), strict=True)
        if a.ndim > 1  # batch norm begins with ones and zeros in both
    ]
    assert len(drawn) == 95
    assert not any(drawn)
