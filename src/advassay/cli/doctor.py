"""`advassay doctor`: is this machine ready, and with what."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from advassay.cli import options
from advassay.cli.error_handling import cli_errors

COLUMNS = {
    "what": "what was checked",
    "found": "what was found",
    "ok": "true: fine; false: something will not work; null: optional and absent",
    "hint": "what to do about it; empty where nothing is to be done",
}
"""Columns of `doctor --json`."""

Store = Annotated[Path, typer.Option("--store", metavar="FOLDER", help="Folder whose disk is checked.")]


@cli_errors
def doctor(data: options.Data = None, store: Store = Path("runs"), as_json: options.Json = False) -> None:
    """Check what works here: extras installed, versions, processor, GPU, memory, data folder, disk.

    A line for each extra says what it is for and, where it is missing, how to install it. Exit code 1 where something
    will not work.

    Example:

        advassay doctor --data "$ADVASSAY_DATA"
    """
    import json
    from dataclasses import asdict

    from advassay.cli.doctor_checks import checks

    found = checks(data, store)
    if as_json:
        print(json.dumps([asdict(check) for check in found], indent=2))
    else:
        for check in found:
            mark = {True: "ok", False: "PROBLEM", None: "-"}[check.ok]
            print(f"{mark:8}{check.what:18}{check.found}" + (f"  ({check.hint})" if check.hint else ""))
    if any(check.ok is False for check in found):
        raise typer.Exit(1)
