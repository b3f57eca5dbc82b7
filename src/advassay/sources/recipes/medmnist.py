"""MedMNIST's 2-D sets: twelve recipes from one table, since they differ in little but numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

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
