"""Records → findings → figures, tables and one self-contained page. No torch.

Names are imported when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advassay.report.comparison.comparison_page import write_comparison
    from advassay.report.comparison.store_comparison import Comparison, compare
    from advassay.report.data.findings import Findings, gather
    from advassay.report.output.write_report import write_report

_HOME = {
    "Comparison": "comparison.store_comparison",
    "Findings": "data.findings",
    "compare": "comparison.store_comparison",
    "gather": "data.findings",
    "write_comparison": "comparison.comparison_page",
    "write_report": "output.write_report",
}

__all__ = ["Comparison", "Findings", "compare", "gather", "write_comparison", "write_report"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'advassay.report' has no attribute {name!r}")
    return getattr(import_module(f"advassay.report.{_HOME[name]}"), name)
