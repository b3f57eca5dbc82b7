"""Walks a built site from its first page and names every broken link, and everything that is loaded from elsewhere.

    python docs/site/check_links.py build/site          a folder
    python docs/site/check_links.py http://127.0.0.1:8000/    a server

Standard library only. Exit code 1 where something is broken.
"""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import unquote, urldefrag, urljoin, urlsplit
from urllib.request import urlopen

LOADED = {("script", "src"), ("img", "src"), ("source", "src"), ("iframe", "src"), ("link", "href")}
"""(tag, attribute) of what a browser fetches by itself."""


class _Page(HTMLParser):
    """Links, anchors and loaded files of one page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[tuple[str, bool]] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            if value is not None and (name == "href" or (tag, name) in LOADED):
                self.links.append((value, (tag, name) in LOADED))


@dataclass
class Crawl:
    """What was found from a first page on."""

    pages: int = 0
    files: int = 0
    links: int = 0
    broken: list[str] = field(default_factory=list)
    """ "page: link", each once."""
    loaded_from_elsewhere: list[str] = field(default_factory=list)
    unreachable: list[str] = field(default_factory=list)
    """Pages of a folder that no page links."""


def crawl(site: str) -> Crawl:
    """Follow every link of the site at `site`, a folder or the address of a server, that stays in it."""
    folder = None if urlsplit(site).scheme.startswith("http") else Path(site).resolve()
    start = site if folder is None else f"{folder.as_uri()}/"
    found, anchors, wanted = Crawl(), {}, []  # type: ignore[var-annotated]
    first = urljoin(start, "index.html")
    seen, queue = {first}, deque([first])
    while queue:
        address = queue.popleft()
        content = _fetch(address)
        assert content is not None  # only what was fetched before is queued
        if not address.endswith(".html"):
            found.files += 1
            continue
        found.pages += 1
        page = _Page()
        page.feed(content.decode("utf-8"))
        anchors[address] = page.anchors
        for link, is_loaded in page.links:
            target, anchor = urldefrag(urljoin(address, link))
            if not target.startswith(start):
                if is_loaded and urlsplit(target).scheme in ("http", "https"):
                    found.loaded_from_elsewhere.append(f"{address}: {link}")
                elif urlsplit(target).scheme == "file":
                    found.broken.append(f"{address}: {link} (outside the site)")
                continue
            found.links += 1
            target = target + "index.html" if target.endswith("/") else target
            if target not in seen:
                if _fetch(target) is None:
                    found.broken.append(f"{address}: {link}")
                    continue
                seen.add(target)
                queue.append(target)
            if anchor:
                wanted.append((address, link, target, unquote(anchor)))
    found.broken += [
        f"{address}: {link} (no such anchor)"
        for address, link, target, anchor in wanted
        if target.endswith(".html") and anchor not in anchors[target] and not anchor.startswith("__")
    ]
    found.broken = list(dict.fromkeys(found.broken))
    if folder is not None:
        all_pages = {path.as_uri() for path in folder.rglob("*.html")} - {(folder / "404.html").as_uri()}
        found.unreachable = sorted(all_pages - seen)
    return found


def _fetch(address: str) -> bytes | None:
    """What stands there; None where nothing does."""
    try:
        if address.startswith("file:"):
            path = Path(unquote(urlsplit(address).path))
            return path.read_bytes() if path.is_file() else None
        with urlopen(address) as answer:
            return bytes(answer.read())
    except HTTPError:
        return None


def main(site: str) -> int:
    """Print what was found; 1 where a link is broken, something is loaded from elsewhere, or a page is not linked."""
    found = crawl(site)
    for title in ("broken", "loaded_from_elsewhere", "unreachable"):
        for line in getattr(found, title):
            print(f"{title.replace('_', ' ')}: {line}")
    print(
        f"{found.pages} pages, {found.files} files, {found.links} links: {len(found.broken)} broken, "
        f"{len(found.loaded_from_elsewhere)} loaded from elsewhere, {len(found.unreachable)} pages without a link"
    )
    return int(bool(found.broken or found.loaded_from_elsewhere or found.unreachable))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
