"""Records → findings → figures, tables and one self-contained page. No torch.

Names are imported when first used. The package can be called: `advassay.report(store)` writes the report of a store,
also after something has imported this package.
"""

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from advassay.optional_libraries import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)


class _Callable(ModuleType):
    """Python sets the attribute `report` of `advassay` to this package once it is imported; so it has to be callable
    for `advassay.report` to be the function that the stub declares."""

    def __call__(
        self,
        store: str | os.PathLike[str],
        output: str | os.PathLike[str] | None = None,
        format: str = "html",
        **more: Any,
    ) -> Path:
        """Write the report of a store and return its path: one page that opens offline, figures and tables beside it.

        Arguments as `advassay.workflows.study_calls.report`, which type checkers see.
        """
        from advassay.report.output.write_report import write_report

        return write_report(Path(store), None if output is None else Path(output), format, **more)  # type: ignore[arg-type]


sys.modules[__name__].__class__ = _Callable
