"""Who may ask: this machine's own pages. And what a browser may do with the answers.

A page of another site that is open in the same browser can send requests to a loopback address. It cannot set the
headers Host, Origin and Sec-Fetch-Site, so that these tell its requests apart; a name that another site resolves to
127.0.0.1 (DNS rebinding) shows in Host.
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy: nothing inline, nothing from elsewhere, nothing that frames."""
ALWAYS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
METHODS = ("GET", "HEAD")


def allowed_hosts(port: int) -> frozenset[str]:
    """Values of Host under which the server answers.

    >>> sorted(allowed_hosts(8080))
    ['127.0.0.1:8080', '[::1]:8080', 'localhost:8080']
    """
    return frozenset(f"{host}:{port}" for host in LOOPBACK)


class RequestChecks:
    """Refuses requests of other sites and methods that nothing here has; sets the headers of every answer."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # no web sockets here
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in ALWAYS.items():
                    headers[name] = value
            await send(message)

        refusal = self._refusal(scope)
        app: ASGIApp = self._app if refusal is None else PlainTextResponse(refusal, status_code=403)
        await app(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> str | None:
        """Why a request is not answered; None where it is."""
        headers = Headers(scope=scope)
        if scope["method"] not in METHODS:
            return "Only GET is answered here."
        if headers.get("host", "") not in self._hosts:
            return "This address is not the viewer's."
        origin = headers.get("origin")
        if origin is not None and origin not in {f"http://{host}" for host in self._hosts}:
            return "Requests of other sites are not answered."
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            navigation = headers.get("sec-fetch-mode") == "navigate" and not scope["path"].startswith("/api/")
            return None if navigation else "Requests of other sites are not answered."
        return None
