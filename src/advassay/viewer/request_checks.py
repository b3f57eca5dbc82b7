"""Who may ask: this machine's own pages. And what a browser may do with the answers.

A page of another site that is open in the same browser can send requests to a loopback address. It cannot set the
headers Host, Origin and Sec-Fetch-Site, so that these tell its requests apart; a name that another site resolves to
127.0.0.1 (DNS rebinding) shows in Host. On another address than loopback every request must bring a token too: once in
the first address, then as a cookie.
"""

from __future__ import annotations

import logging
import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
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
WRITES = "/api/reader/"
"""Beginning of the addresses that take a POST: a reader study's sessions and answers."""
LONGEST_BODY = 16_384
"""Bytes of a request."""
COOKIE = "advassay_viewer"


def allowed_hosts(port: int, host: str | None = None) -> frozenset[str]:
    """Values of Host under which the server answers; `host`: the other address that it is bound to.

    >>> sorted(allowed_hosts(8080))
    ['127.0.0.1:8080', '[::1]:8080', 'localhost:8080']
    >>> sorted(allowed_hosts(8080, "192.0.2.7"))
    ['192.0.2.7:8080']
    """
    return frozenset(f"{name}:{port}" for name in (LOOPBACK if host is None else (host,)))


class RequestChecks:
    """Refuses requests of other sites, without the token, and with methods that nothing here has; sets the headers of
    every answer."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str], token: str | None = None) -> None:
        self._app, self._hosts, self._token = app, hosts, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # no web sockets here
            return
        begun = False

        async def with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                for name, value in ALWAYS.items():
                    headers[name] = value
            await send(message)

        refusal = self._refusal(scope) or self._without_token(scope)
        try:
            await (refusal or self._app)(scope, receive, with_headers)
        except Exception as error:  # of one answer; its text may hold what is nobody else's business
            if begun:
                raise
            kind = type(error).__name__
            logging.getLogger("uvicorn.error").error("%s while %s was answered", kind, scope["path"])
            answer = JSONResponse({"error": f"This could not be answered ({kind})."}, status_code=500)
            await answer(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        """The answer to a request that comes from elsewhere, or asks for what there is not; None where it may go on."""
        reason = self._reason(scope)
        return None if reason is None else PlainTextResponse(reason, status_code=403)

    def _reason(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        own = {f"http://{host}" for host in self._hosts}
        origin = headers.get("origin")
        if headers.get("host", "") not in self._hosts:
            return "This address is not the viewer's."
        if origin is not None and origin not in own:
            return "Requests of other sites are not answered."
        if scope["method"] == "POST" and scope["path"].startswith(WRITES):
            length = headers.get("content-length", "")
            if origin is None or headers.get("content-type") != "application/json":
                return "Answers are sent by the viewer's own pages, as application/json."
            if not length.isdigit() or int(length) > LONGEST_BODY:
                return f"A request holds at most {LONGEST_BODY} bytes."
        elif scope["method"] not in METHODS:
            return "Only GET is answered here."
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            navigation = headers.get("sec-fetch-mode") == "navigate" and not scope["path"].startswith("/api/")
            return None if navigation else "Requests of other sites are not answered."
        return None

    def _without_token(self, scope: Scope) -> Response | None:
        """Where a token is needed: the answer to who does not bring it, and to who brings it in the address."""
        if self._token is None:
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"))
        if self._is_token(dict(query).get("token", "")):
            rest = urlencode([(name, value) for name, value in query if name != "token"])
            # A path beginning with // would name another host.
            onward = RedirectResponse("/" + scope["path"].lstrip("/") + (f"?{rest}" if rest else ""), status_code=303)
            onward.set_cookie(COOKIE, self._token, httponly=True, samesite="strict")
            return onward
        try:
            brought = SimpleCookie(Headers(scope=scope).get("cookie", "")).get(COOKIE)
        except CookieError:
            brought = None
        if brought is not None and self._is_token(brought.value):
            return None
        return PlainTextResponse("Open the address that the viewer printed: it holds the token.", status_code=401)

    def _is_token(self, text: str) -> bool:
        return secrets.compare_digest(text.encode(), (self._token or "").encode())
