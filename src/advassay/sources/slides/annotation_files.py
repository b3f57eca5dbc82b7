"""Untrusted region files → outlines: GeoJSON (RFC 7946, and as QuPath writes it) and ASAP's XML.

A file that is not one gives a reason; an entry in it that is no area is skipped and counted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from xml.parsers import expat

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry


class Outline(NamedTuple):
    """One region as a file has it: its name and its area, perhaps invalid."""

    name: str
    area: BaseGeometry


@dataclass(frozen=True)
class RegionFile:
    """What a region file holds: outlines in level-0 pixels, and what in it was no area: reason → count."""

    outlines: tuple[Outline, ...]
    skipped: dict[str, int] = field(default_factory=dict)


ENDINGS = (".geojson", ".json", ".xml")
MAX_BYTES = 1 << 28
"""256 MiB: a few million vertices."""
_POINTS = 3
"""A ring needs at least three different points."""
QUPATH_NO_REGIONS = frozenset({"detection", "cell"})
"""QuPath's objectType of what the program found by itself; regions are annotations."""


def read_regions(path: Path) -> RegionFile | str:
    """Outlines of the region file at `path`, or why it cannot be used. Never raises for a bad file."""
    try:
        if path.stat().st_size > MAX_BYTES:
            return f"more than {MAX_BYTES >> 20} MiB"
        data = path.read_bytes()
    except OSError as error:
        return error.strerror or type(error).__name__
    if not data.strip():
        return "empty"
    return _asap(data) if path.suffix.lower() == ".xml" else _geojson(data)


def _geojson(data: bytes) -> RegionFile | str:
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        return f"not JSON ({type(error).__name__})"
    features = _features(content)
    if features is None:
        return "JSON, but not GeoJSON"
    return _collected(_feature(feature) for feature in features)


def _features(content: Any) -> list[Any] | None:
    """The entries of a FeatureCollection, a list of features (QuPath), one feature or one geometry."""
    if isinstance(content, list):
        return content
    if not isinstance(content, dict):
        return None
    kind = content.get("type")
    if kind == "FeatureCollection":
        return content["features"] if isinstance(content.get("features"), list) else None
    if kind == "Feature":
        return [content]
    return [{"type": "Feature", "geometry": content}] if "coordinates" in content else None


def _feature(feature: Any) -> Outline | str | None:
    if not isinstance(feature, dict) or not isinstance(feature.get("geometry"), dict):
        return "not a feature"
    given = feature.get("properties")
    properties: dict[str, Any] = given if isinstance(given, dict) else {}
    if properties.get("objectType", properties.get("object_type")) in QUPATH_NO_REGIONS:
        return None
    geometry = feature["geometry"]
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind == "Polygon":
        return _outline(_class_name(properties), [coordinates])
    if kind == "MultiPolygon" and isinstance(coordinates, list):
        return _outline(_class_name(properties), coordinates)
    return f"no area: {kind if kind in ('Point', 'MultiPoint', 'LineString', 'MultiLineString') else 'other'}"


def _class_name(properties: dict[str, Any]) -> str:
    """QuPath: properties.classification.name; others: classification as text, else name."""
    given = properties.get("classification")
    if isinstance(given, dict):
        given = given.get("name")
    for candidate in (given, properties.get("name")):
        if isinstance(candidate, str) and candidate.strip():
            return candidate.strip()
    return "region"


def _outline(name: str, polygons: list[Any]) -> Outline | str:
    """`polygons`: each a list of rings, the first the outside, the others its holes."""
    try:
        areas = [shapely.Polygon(_ring(rings[0]), [_ring(hole) for hole in rings[1:]]) for rings in polygons]
    except (ValueError, TypeError, IndexError, KeyError, OverflowError, shapely.errors.ShapelyError):
        return "broken outline"
    area: BaseGeometry = areas[0] if len(areas) == 1 else shapely.MultiPolygon(areas)
    return "broken outline" if area.is_empty else Outline(name, area)


def _ring(points: Any) -> np.ndarray:
    ring = np.asarray([[float(point[0]), float(point[1])] for point in points])
    if not np.isfinite(ring).all() or np.abs(ring).max() > 1e9 or len(np.unique(ring, axis=0)) < _POINTS:
        raise ValueError("a ring of three finite points is needed")
    return ring


def _collected(entries: Iterator[Outline | str | None]) -> RegionFile:
    outlines: list[Outline] = []
    skipped: dict[str, int] = {}
    for entry in entries:
        if isinstance(entry, Outline):
            outlines.append(entry)
        elif entry is not None:
            skipped[entry] = skipped.get(entry, 0) + 1
    return RegionFile(tuple(outlines), skipped)


class _Refused(Exception):
    pass


def _asap(data: bytes) -> RegionFile | str:
    """ASAP_Annotations/Annotations/Annotation[Type, PartOfGroup]/Coordinates/Coordinate[Order, X, Y].

    A document type declaration is refused: entities come from there (billion laughs, external files), and ASAP
    writes none.
    """
    found: list[tuple[dict[str, str], list[dict[str, str]]]] = []
    inside = [False]

    def begin(tag: str, attributes: dict[str, str]) -> None:
        if tag == "ASAP_Annotations":
            inside[0] = True
        elif tag == "Annotation":
            found.append((attributes, []))
        elif tag == "Coordinate" and found:
            found[-1][1].append(attributes)

    def refuse(*_: object) -> None:
        raise _Refused

    parser = expat.ParserCreate()
    parser.StartElementHandler = begin
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except _Refused:
        return "XML with a document type declaration, which may hide entities"
    except (expat.ExpatError, ValueError) as error:
        return f"not XML ({type(error).__name__})"
    return _collected(_annotation(*entry) for entry in found) if inside[0] else "XML, but not ASAP's"


def _annotation(attributes: dict[str, str], points: list[dict[str, str]]) -> Outline | str:
    if attributes.get("Type") in ("Dot", "PointSet", "Measurement"):
        return f"no area: {attributes['Type']}"
    try:
        ordered = sorted(points, key=lambda point: _number(point.get("Order", "0")))
        ring = [(_number(point["X"]), _number(point["Y"])) for point in ordered]
    except (KeyError, ValueError):
        return "broken outline"
    group = attributes.get("PartOfGroup", "").strip()
    return _outline(group if group and group != "None" else attributes.get("Name", "").strip() or "region", [[ring]])


def _number(text: str) -> float:
    """ASAP writes a decimal comma where the machine's language has one."""
    number = float(text.replace(",", "."))
    if not math.isfinite(number):
        raise ValueError(text)
    return number
