"""Serves the viewer: a port of the loopback interface, and a browser if one is wanted."""

from __future__ import annotations

import ipaddress
import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path

from advassay.errors import SpecError
from advassay.optional_libraries import require_library

HOST = "127.0.0.1"
"""The address that is bound unless another is given: nothing outside this machine can reach it."""


def serve(
    store: Path,
    *,
    host: str | None = None,
    port: int = 0,
    browser: bool = True,
    show_all_images: bool = False,
    compare_with: Path | None = None,
    readers: int | None = None,
    seed: int = 0,
    tell: Callable[[str], None] = print,
) -> None:
    """Serve a store until interrupted (Ctrl-C).

    host             another address of this machine than 127.0.0.1, as IPv4; every request must then bring a random
                     token, which the address that is told holds
    port             0 = any that is free
    browser          open the first page
    show_all_images  also images of cohorts whose study keeps no gallery (DICOM sources)
    compare_with     another store, whose records of the same images are offered beside
    readers, seed    hold a blind reader study with so many images of each cohort, drawn by the seed, and show nothing
                     else; the answers are written to STORE/reader_study
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

    elsewhere = None if host is None else checked_host(host)
    opened = OpenedStore(store, show_all_images=show_all_images)
    other = None if compare_with is None else OpenedStore(compare_with, show_all_images=show_all_images)
    listening = bound(port, elsewhere or HOST)
    own = int(listening.getsockname()[1])
    token = None if elsewhere is None else secrets.token_urlsafe(32)
    address = f"http://{elsewhere or HOST}:{own}/" + (f"?token={token}" if token else "")
    app = web_app(opened, allowed_hosts(own, elsewhere), token=token, other=other, readers=readers, seed=seed)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=2
    )
    tell(address)
    if browser:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    with listening:
        uvicorn.Server(config).run(sockets=[listening])


def checked_host(host: str) -> str | None:
    """The address to bind, None for 127.0.0.1; a single one, since it is compared with the header
    Host. Raises SpecError for a name, and for the address that stands for all.

    >>> checked_host("192.0.2.7"), checked_host("127.0.0.1")
    ('192.0.2.7', None)
    """
    try:
        address = ipaddress.IPv4Address(host)
    except ValueError:
        address = None
    if address is None or address.is_unspecified or address.is_multicast:
        raise SpecError(f"--host: expected one IPv4 address of this machine, got {host!r}.", "For example 192.0.2.7.")
    return None if str(address) == HOST else str(address)


def bound(port: int, host: str = HOST) -> socket.socket:
    """A listening socket, of the loopback interface unless told otherwise. Raises SpecError where it cannot be had."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()
    except (OSError, OverflowError):
        listening.close()
        where = "" if host == HOST else f" at {host}"
        raise SpecError(
            f"--port: expected a free port, {port} cannot be bound{where}.", "Leave it out for any that is free."
        ) from None
    return listening
