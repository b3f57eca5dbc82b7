"""The command line: one file per verb, each a thin call into one public function.

`main` is the entry point. Verbs import what they need when they run, so that `advassay --help` is instant.
"""

from advassay.cli.program import main

__all__ = ["main"]
