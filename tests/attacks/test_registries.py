"""A loss, update, norm or precision that is declared in one place only is refused when the program is loaded."""

from __future__ import annotations

import importlib.util
from typing import Literal, get_args

import pytest

from advassay.attacks import losses, masked_gradient_rerun, norm_balls, updates
from advassay.attacks.engine import float32_verifier
from advassay.spec import attack_spec


@pytest.mark.parametrize(
    ("kind", "module"),
    [
        ("Loss", losses),
        ("Loss", masked_gradient_rerun),
        ("Update", updates),
        ("Norm", norm_balls),
        ("Precision", float32_verifier),
    ],
)
def test_a_name_that_is_only_declared_stops_the_import_and_is_named(kind, module, monkeypatch):
    declared = Literal[(*get_args(getattr(attack_spec, kind)), "momentous")]
    monkeypatch.setattr(attack_spec, kind, declared)
    spec = importlib.util.spec_from_file_location("afresh", module.__file__)
    with pytest.raises(NotImplementedError, match=f"{kind.lower()}: .*momentous"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_a_name_that_is_only_written_is_named_too():
    with pytest.raises(NotImplementedError, match=r"colour: .*blue"):
        attack_spec.check_complete("colour", Literal["red"], {"red": 1, "blue": 2})
