"""What a package names in its stub can be imported from it, and type checkers see the real types."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "src"
PACKAGES = sorted(".".join(stub.parent.relative_to(ROOT).parts) for stub in ROOT.rglob("__init__.pyi"))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_of_a_stub_is_there(package: str) -> None:
    module = import_module(package)
    assert len(module.__all__) > 1
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_a_name_that_is_none_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="atack"):
        import_module("advassay").atack  # noqa: B018
