"""Chart data as the page carries it: each set once, as columns and rows, shared by the wide and the narrow drawing."""

from __future__ import annotations

import json
from typing import Any


def packed(specs: dict[str, dict[str, Any]]) -> str:
    """JSON {"datasets": {name: {"columns", "rows"}}, name: specification …}; inline values become named data.

    The page's script puts the sets back as Vega-Lite's top-level `datasets`.

    >>> data = {"values": [{"x": 1, "y": None}, {"x": 2, "y": 3}]}
    >>> print(packed({"wide": {"data": data}, "narrow": {"data": data}}))
    {"datasets":{"d0":{"columns":["x","y"],"rows":[[1,null],[2,3]]}},"wide":{"data":{"name":"d0"}},"narrow":{"data":{"name":"d0"}}}
    """
    names: dict[str, str] = {}
    named = {key: _named(spec, names) for key, spec in specs.items()}
    sets = {name: json.loads(text) for text, name in names.items()}
    return _text({"datasets": sets} | named)


def _named(node: Any, names: dict[str, str]) -> Any:
    """`node` with every {"values": [row, …]} replaced by {"name": …}; `names`: packed rows as text → name."""
    if isinstance(node, list):
        return [_named(part, names) for part in node]
    if not isinstance(node, dict):
        return node
    rows = node.get("values")
    if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows):
        columns = list(dict.fromkeys(key for row in rows for key in row))
        text = _text({"columns": columns, "rows": [[row.get(column) for column in columns] for row in rows]})
        return {"name": names.setdefault(text, f"d{len(names)}")}
    return {key: _named(value, names) for key, value in node.items()}


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
