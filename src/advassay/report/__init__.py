"""Records → findings → figures, tables and one self-contained page. No torch.

Names are imported when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advassay.report.compare_page import write_comparison
    from advassay.report.comparing import Comparison, compare
    from advassay.report.findings import Findings, gather
    from advassay.report.write import write_report

_HOME = {
    "Comparison": "comparing",
    "Findings": "findings",
    "compare": "comparing",
    "gather": "findings",
    "write_comparison": "compare_page",
    "write_report": "write",
}

__all__ = ["Comparison", "Findings", "compare", "gather", "write_comparison", "write_report"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'advassay.report' has no attribute {name!r}")
    return getattr(import_module(f"advassay.report.{_HOME[name]}"), name)
