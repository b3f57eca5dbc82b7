"""Serves the viewer: a port of the loopback interface, and a browser if one is wanted."""

from __future__ import annotations

import socket
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path

from advassay.errors import SpecError
from advassay.optional_libraries import require_library

HOST = "127.0.0.1"
"""The only address that is bound: nothing outside this machine can reach it."""


def serve(
    store: Path,
    *,
    port: int = 0,
    browser: bool = True,
    show_all_images: bool = False,
    tell: Callable[[str], None] = print,
) -> None:
    """Serve a store until interrupted (Ctrl-C).

    port             0 = any that is free
    browser          open the first page
    show_all_images  also images of cohorts whose study keeps no gallery (DICOM sources)
    tell             is told the address, once the port is bound

    Raises StoreError where `store` cannot be opened, SpecError where the port is taken, MissingLibraryError without the
    extra `view`.
    """
    for module in ("fastapi", "uvicorn"):
        require_library(module, "view")
    import uvicorn

    from advassay.viewer.opened_store import OpenedStore
    from advassay.viewer.request_checks import allowed_hosts
    from advassay.viewer.web_app import web_app

    opened = OpenedStore(store, show_all_images=show_all_images)
    listening = bound(port)
    own = int(listening.getsockname()[1])
    address = f"http://{HOST}:{own}/"
    app = web_app(opened, allowed_hosts(own))
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=2
    )
    tell(address)
    if browser:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    with listening:
        uvicorn.Server(config).run(sockets=[listening])


def bound(port: int) -> socket.socket:
    """A listening socket of the loopback interface. Raises SpecError where the port cannot be had."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen()
    except (OSError, OverflowError):
        listening.close()
        raise SpecError(
            f"--port: expected a free port, {port} cannot be bound.", "Leave it out for any that is free."
        ) from None
    return listening
