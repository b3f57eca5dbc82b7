"""Registries: parts are found by scanning one package and by entry points; names twice and gaps are refused aloud."""

from __future__ import annotations

import itertools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pydantic
import pytest

from advassay.errors import ExtensionError, SourceError, SpecError
from advassay.registry import RegisteredName, Registry

NUMBERS = itertools.count()


@dataclass(frozen=True)
class Colour:
    name: str
    hue: float = 0.0


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """A package of colours that register themselves, under a name of its own."""
    package = f"shop_{next(NUMBERS)}"
    folder = tmp_path / package
    (folder / "colours").mkdir(parents=True)
    (folder / "__init__.py").write_text(
        "from advassay.registry import Registry\nfrom test_registry import Colour\n"
        f"COLOURS = Registry('colour', Colour, package='{package}.colours', group='{package}.colours')\n"
    )
    (folder / "colours" / "__init__.py").write_text("")
    write(folder / "colours" / "warm.py", package, "Colour('red'), Colour('orange', 0.08)")
    write(folder / "colours" / "cold.py", package, "Colour('blue', 0.6)")
    monkeypatch.syspath_prepend(tmp_path)
    return package, tmp_path


def write(path: Path, package: str, colours: str) -> None:
    path.write_text(
        f"from {package} import COLOURS\nfrom test_registry import Colour\nfor each in ({colours},):\n"
        "    COLOURS.register(each)\n"
    )


def install(root: Path, distribution: str, group: str, points: dict[str, str]) -> None:
    """A distribution as pip leaves it, with entry points."""
    info = root / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    lines = "\n".join(f"{name} = {value}" for name, value in points.items())
    (info / "entry_points.txt").write_text(f"[{group}]\n{lines}\n")


def registry_of(package: str) -> Registry[Colour]:
    return __import__(package).COLOURS


def test_every_module_of_the_package_is_found_and_none_before_it_is_asked_for(shop):
    package, _ = shop
    colours = registry_of(package)
    assert f"{package}.colours.warm" not in sys.modules
    assert colours.names() == ("blue", "orange", "red")
    assert [part.hue for part in colours.parts()] == [0.6, 0.08, 0.0]
    assert list(colours) == list(colours.names())
    assert len(colours) == 3


def test_an_entry_point_is_listed_without_its_package_and_imported_when_asked_for(shop):
    package, root = shop
    (root / f"{package}_more.py").write_text("from test_registry import Colour\nGREEN = Colour('green', 0.3)\n")
    install(root, f"{package}-more", f"{package}.colours", {"green": f"{package}_more:GREEN"})
    colours = registry_of(package)
    assert colours.names() == ("blue", "green", "orange", "red")
    assert f"{package}_more" not in sys.modules
    assert colours.get("green").hue == 0.3


def test_a_package_that_registers_by_itself_and_by_an_entry_point_is_one(shop):
    package, root = shop
    colours = registry_of(package)
    (root / f"{package}_more.py").write_text(
        f"from {package} import COLOURS\nfrom test_registry import Colour\nGREEN = COLOURS.register(Colour('green'))\n"
    )
    install(root, f"{package}-more", f"{package}.colours", {"green": f"{package}_more:GREEN"})
    __import__(f"{package}_more")
    assert colours.names() == ("blue", "green", "orange", "red")
    assert colours.get("green") is sys.modules[f"{package}_more"].GREEN


@pytest.mark.parametrize(
    ("module", "value", "message"),
    [
        ("raise ValueError('gone')", "GREEN", r"'green' of shop_\d+-more 1.0 cannot be imported .*ValueError: gone"),
        ("GREEN = 3", "GREEN", r"expected an instance of test_registry\.Colour, got 3"),
        ("from test_registry import Colour\nGREEN = Colour('verde')", "GREEN", "calls itself 'verde'"),
        ("pass", "GREEN", "cannot be imported .*AttributeError"),
    ],
)
def test_a_broken_package_disturbs_only_who_asks_for_its_part(shop, module, value, message):
    package, root = shop
    (root / f"{package}_more.py").write_text(module + "\n")
    install(root, f"{package}-more", f"{package}.colours", {"green": f"{package}_more:{value}"})
    colours = registry_of(package)
    assert colours.get("blue").hue == 0.6
    with pytest.raises(ExtensionError, match=message):
        colours.get("green")


def test_a_name_twice_is_refused_and_both_homes_are_named(shop):
    package, root = shop
    write(root / package / "colours" / "zwei.py", package, "Colour('red', 0.99)")
    with pytest.raises(ExtensionError, match=r"'red' is registered twice, by .*colours.warm and by .*colours.zwei"):
        registry_of(package).names()


def test_an_entry_point_cannot_take_the_name_of_a_built_in_part(shop):
    package, root = shop
    install(root, f"{package}-more", f"{package}.colours", {"red": f"{package}_more:RED"})
    with pytest.raises(ExtensionError, match=r"'red' is registered twice, by .*colours.warm and by .*-more 1.0"):
        registry_of(package).get("blue")


def test_two_distributions_cannot_have_one_name(shop):
    package, root = shop
    for letter in "ab":
        install(root, f"{package}-{letter}", f"{package}.colours", {"green": f"{package}_{letter}:GREEN"})
    with pytest.raises(ExtensionError, match=r"'green' is registered twice, by .*-[ab] 1.0 and by .*-[ab] 1.0"):
        registry_of(package).names()


def test_a_module_that_cannot_be_imported_fails_each_time(shop):
    package, root = shop
    (root / package / "colours" / "zwei.py").write_text("import there_is_no_such_module\n")
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="there_is_no_such_module"):
            registry_of(package).names()


class Shape:
    name: str
    corners: int
    round: bool = False


class Square(Shape):
    name = "square"
    corners = 4


class Nothing(Shape):
    name = "nothing"


class Nameless(Shape):
    corners = 3


@pytest.mark.parametrize(
    ("part", "message"), [(Nothing(), "Nothing is incomplete: it has no corners"), (Nameless(), "it has no name")]
)
def test_an_incomplete_part_is_refused_when_it_registers(part, message):
    with pytest.raises(ExtensionError, match=message):
        Registry("shape", Shape).register(part)


def test_a_part_of_another_kind_is_refused():
    with pytest.raises(ExtensionError, match=r"expected an instance of .*Shape, got Colour"):
        Registry("shape", Shape).register(Colour("red"))  # type: ignore[arg-type]


def test_an_unknown_name_is_an_error_of_our_tree_that_lists_what_is_registered():
    shapes = Registry("shape", Shape, error=SourceError)
    shapes.register(Square())
    with pytest.raises(SourceError, match=r"shape: expected one of square, got 'sqare'. Did you mean square\?"):
        shapes.get("sqare")
    assert shapes.find("sqare") is None
    assert shapes.find(None) is None
    with pytest.raises(SpecError, match="nothing is registered, got 'square'"):
        Registry("shape", Shape).get("square")


def test_the_fix_names_the_entry_points_by_which_a_part_is_installed():
    with pytest.raises(SpecError) as refused:
        Registry("shape", Shape, group="advassay.no_such_group").get("square")
    assert "'advassay.no_such_group'" in refused.value.fix


def test_a_field_takes_registered_names_and_its_schema_lists_them():
    shapes = Registry("shape", Shape)
    shapes.register(Square())

    class Drawing(pydantic.BaseModel):
        shape: Annotated[str, RegisteredName(shapes)] = "square"

    assert Drawing(shape="square").shape == "square"
    assert Drawing.model_json_schema()["properties"]["shape"]["enum"] == ["square"]
    with pytest.raises(pydantic.ValidationError, match=r"expected one of square, got 'sqare'\. Did you mean"):
        Drawing(shape="sqare")
    with pytest.raises(pydantic.ValidationError, match="valid string"):
        Drawing(shape=4)
