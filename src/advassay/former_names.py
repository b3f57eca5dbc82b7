"""Former names that still work: functions whose name is now that of a package."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any


def keep_callable(package: str, function: str, now: str) -> None:
    """Let `package(...)` call `function` ("module:name") as before, with a warning that says where it is `now`.

    Up to 0.1 `from advassay.study import run` gave a function, which is `advassay.study.run.runner.run` since.
    """

    class Former(ModuleType):
        def __call__(self, *arguments: Any, **more: Any) -> Any:
            warnings.warn(f"{package}(…) is now {now}(…).", DeprecationWarning, stacklevel=2)
            module, _, name = function.partition(":")
            call: Callable[..., Any] = getattr(import_module(module), name)
            return call(*arguments, **more)

    sys.modules[package].__class__ = Former
