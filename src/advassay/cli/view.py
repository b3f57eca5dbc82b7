"""`advassay view`: a store's images in a browser, on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from advassay.cli import options
from advassay.cli.error_handling import cli_errors

Port = Annotated[
    int, typer.Option("--port", min=0, max=65535, metavar="N", help="Port of 127.0.0.1; any free one if not given.")
]
Host = Annotated[
    str | None,
    typer.Option(
        "--host",
        metavar="ADDRESS",
        help="Answer at this IPv4 address of the machine instead, and only to browsers that open the printed address, which holds a token.",
    ),
]
Browser = Annotated[bool, typer.Option("--browser/--no-browser", help="Open the first page in a browser.")]
AllImages = Annotated[
    bool,
    typer.Option(
        "--show-all-images",
        help="Show images of cohorts too whose study keeps none for figures (DICOM sources, gallery: false).",
    ),
]


@cli_errors
def view(
    store: options.StoreArgument, port: Port = 0, host: Host = None, browser: Browser = True,
    show_all_images: AllImages = False,
) -> None:  # fmt: skip
    """Look at a store in a browser: the findings, a table of all attacked images, and each image beside its attack.

    Attacked images are recomputed with the stored network and shown only where all logits equal the stored ones.
    Answers on this machine alone (127.0.0.1); prints the address; Ctrl-C ends it. Recomputing needs the extra `run`.

    Example:

        advassay view runs/demo
    """
    from advassay.viewer import serve

    options.tune_for("cpu", verbose=False)  # the same arithmetic as the verbs that attacked the images
    serve(store, host=host, port=port, browser=browser, show_all_images=show_all_images)
