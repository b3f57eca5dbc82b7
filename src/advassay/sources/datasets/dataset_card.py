"""What is known of a public data set: whose it is, what it contains, how files become rows; and every card."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import yaml
from pydantic import Field, field_validator

from advassay.errors import SourceError
from advassay.sources.table_files import did_you_mean
from advassay.spec.base_model import Frozen
from advassay.spec.cohort_spec import CohortSpec
from advassay.spec.rule_spec import Name
from advassay.spec.source_spec import Source


def _compiled(pattern: str) -> str:
    re.compile(pattern)
    return pattern


class TableJoin(Frozen):
    """A table of the set whose rows belong to images."""

    path: str
    """File in the set's folder or below it; `*` stands for any characters. Plain or gzipped CSV, or XML for openi."""
    key: str
    """Column that names the image."""
    key_is: Literal["name", "stem", "path"] = "name"
    """What the key holds: the file's name, its name without ending, or its path in the set's folder."""
    columns: dict[str, str]
    """Our column → the table's."""
    several: Literal["first", "majority"] = "first"
    """Of several rows for one image: the first, or (0 and 1 by several readers) 1 where more than half say 1."""
    reader: Literal["csv", "openi"] = "csv"
    needed: bool = True
    """Whether the set is incomplete without it."""


class ListFile(Frozen):
    """A text file with one image a line: all of them get a value."""

    path: str
    column: str
    value: str


class SidecarText(Frozen):
    """A text file for each image."""

    path: str
    """Where, with {stem} for the image's name without ending."""
    columns: dict[str, str]
    """Our column → regular expression; its first group is the value."""


class Flag(Frozen):
    """present where `pattern` is found in `column`, absent where it is not; no value where the column has none."""

    column: str
    pattern: str

    _regex = field_validator("pattern")(_compiled)


class Years(Frozen):
    """Age from two columns: year of birth, and a date that begins with its year."""

    born: str
    seen: str


class Layout(Frozen):
    """How the set's files become rows. Steps in the order of the fields; a later one fills what is still empty."""

    files: str
    """Regular expression over a whole path in the set's folder; each named group is a column. Other images are no part
    of the set."""
    images: Literal["files", "dicom"] = "files"
    """dicom: also the columns of a source of kind dicom (age, sex, view, …)."""
    tables: tuple[TableJoin, ...] = ()
    lists: tuple[ListFile, ...] = ()
    beside: SidecarText | None = None
    values: dict[str, dict[str, str]] = {}
    """Column → its values renamed; upper and lower case do not differ, others stay as they are."""
    numbers: tuple[str, ...] = ()
    """Columns read as the first whole number in them."""
    ages: Years | None = None
    flags: dict[str, Flag] = {}

    _regex = field_validator("files")(_compiled)

    def columns(self) -> tuple[str, ...]:
        """Names of all columns the set's files can give, in order."""
        joined = [name for table in self.tables for name in table.columns]
        listed = [item.column for item in self.lists]
        beside = list(self.beside.columns) if self.beside else []
        age = ["age"] if self.ages else []
        return tuple(dict.fromkeys([*re.compile(self.files).groupindex, *joined, *listed, *beside, *age, *self.flags]))


class ExpectedFile(Frozen):
    """A file, or several by a pattern, that the published set has."""

    path: str
    what: str
    count: int | None = None
    """How many files; null = at least one."""
    md5: str | None = None
    """As published; left out where no two sources agree on it."""
    columns: tuple[str, ...] = ()
    """Columns that a table needs."""
    needed: bool = True
    images: dict[str, int] = {}
    """MedMNIST: part (train, val, test) → its number of images."""


class ExpectedContent(Frozen):
    """What a whole copy of the published set contains."""

    files: tuple[ExpectedFile, ...] = ()
    folders: tuple[str, ...] = ()
    """Where the published archive has its images: each path contains the start of one of these folders' names."""
    images: int | None = None
    classes: dict[str, dict[str, int | None]] = {}
    """Column → value → number of images; null = present, its number is not stated by a source we trust."""
    size_px: tuple[int, int] | None = None
    """Width and height that all images share."""


class DatasetCard(Frozen):
    """A public data set that can stand in for private images of the reference study."""

    name: Name
    title: str
    image_type: str
    stands_for: dict[str, str]
    """Reference cohort → what the stand-in shares with it, and what not."""
    images: str
    """How many, in words."""
    pixels: str
    patients: str
    size: str
    """Of the download."""
    licence: str
    citation: str
    ask: str
    """Where to get it or to ask for it."""
    facts: tuple[str, ...] = Field(min_length=1)
    """Where each of the facts here comes from."""
    notes: tuple[str, ...] = ()
    """What to know before trusting a number."""
    expected: ExpectedContent = ExpectedContent()
    layout: Layout | None = None
    """Null where a source's own kind reads the set (npz, hdf5, slides)."""
    sources: dict[Name, Source]
    cohorts: dict[Name, CohortSpec]


SIZES = (28, 64, 128, 224)


def medmnist_recipes(family: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One recipe a set, as data. `family`: what they share, and `sets`: name → title, parts, md5 (one a size), …"""
    shared = {key: value for key, value in family.items() if key != "sets"}
    for name, given in family["sets"].items():
        yield {**shared, **_recipe(name, given), **given.get("recipe", {})}


def _recipe(name: str, given: dict[str, Any]) -> dict[str, Any]:
    parts = dict(zip(("train", "val", "test"), given["parts"], strict=True))
    classes = {label: {"label": str(index)} for index, label in enumerate(given["classes"])}
    return {
        "name": name,
        "title": given["title"],
        "image_type": given["image_type"],
        "stands_for": given.get("stands_for", {}),
        "images": f"{sum(parts.values()):,} ({', '.join(f'{part} {number:,}' for part, number in parts.items())})",
        "licence": given["licence"],
        "notes": given.get("notes", []),
        "expected": {"files": [_file(name, size, md5, parts) for size, md5 in zip(SIZES, given["md5"], strict=True)]},
        "sources": {name: {"kind": "npz", "path": f"{_file_name(name, 28)}", "image_type": given["image_type"]}},
        "cohorts": {
            given["cohort"]: {
                "title": given["title"],
                "source": name,
                "image_type": given["image_type"],
                "classes": classes,
                "split": "declared",
            }
        },
    }


def _file(name: str, size: int, md5: str, parts: dict[str, int]) -> dict[str, Any]:
    what = f"{size} × {size} px"
    return {"path": _file_name(name, size), "what": what, "md5": md5, "images": parts, "needed": False}


def _file_name(name: str, size: int) -> str:
    return f"{name}.npz" if size == 28 else f"{name}_{size}.npz"


_FAMILY = "medmnist.yaml"


def card_names() -> list[str]:
    """Names of all recipes, in alphabetical order."""
    return sorted(_texts())


def load_card(name: str) -> DatasetCard:
    """The recipe `name`, without regard to case. Raises SourceError where there is none of that name."""
    return DatasetCard.model_validate(recipe_data(name))


def recipe_data(name: str) -> dict[str, Any]:
    """The recipe as written, its cohort rules in their short form. Raises SourceError for an unknown name."""
    known = _texts()
    if name.lower() not in known:
        fix = f"{did_you_mean(name, known)}See `advassay datasets`."
        raise SourceError(f"recipe: one of {', '.join(sorted(known))}; got {name!r}.", fix)
    return known[name.lower()]


@cache
def _texts() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(files(__package__).joinpath("sets").iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".yaml"):
            continue
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
        for one in medmnist_recipes(data) if file.name == _FAMILY else [data]:
            found[one["name"]] = one
    return found
