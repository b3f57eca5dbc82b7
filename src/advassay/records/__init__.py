"""Trajectories → a folder that outlives the program, and back.

Write with `RunWriter`, read with `open_records`. Nothing here imports torch: a store made on a cluster opens on
a laptop. Names are imported when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advassay.records.gallery import Example, read_gallery, read_image, write_example, write_png
    from advassay.records.run_header import FORMAT_VERSION, Account, Point, RunHeader, Spent, attack_rules, run_identity
    from advassay.records.run_reader import RowIndex, Run, read_header
    from advassay.records.run_writer import RunWriter, compact
    from advassay.records.store_reader import Records, open_records, read_analysis, read_range_finding

_HOMES = {
    "run_header": (
        "Account",
        "FORMAT_VERSION",
        "Point",
        "RunHeader",
        "Spent",
        "attack_rules",
        "run_identity",
    ),
    "gallery": (
        "Example",
        "read_gallery",
        "read_image",
        "write_example",
        "write_png",
    ),
    "run_reader": (
        "RowIndex",
        "Run",
        "read_header",
    ),
    "store_reader": (
        "Records",
        "open_records",
        "read_analysis",
        "read_range_finding",
    ),
    "run_writer": (
        "RunWriter",
        "compact",
    ),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "FORMAT_VERSION",
    "Account",
    "Example",
    "Point",
    "Records",
    "RowIndex",
    "Run",
    "RunHeader",
    "RunWriter",
    "Spent",
    "attack_rules",
    "compact",
    "open_records",
    "read_analysis",
    "read_gallery",
    "read_header",
    "read_image",
    "read_range_finding",
    "run_identity",
    "write_example",
    "write_png",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'advassay.records' has no attribute {name!r}")
    return getattr(import_module(f"advassay.records.{_HOME[name]}"), name)
