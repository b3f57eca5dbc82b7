"""The repository as a site: pages outside docs/, links that hold in both views, and the parts of the menu that grow.

A hook of MkDocs. Every page is written for the view of its file in the repository; its relative links are turned here
into links between pages of the site. A link to what the repository does not hold ends the build.
"""

from __future__ import annotations

import ast
import json
import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PROJECT = {
    "README.md": "project/README.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "benchmarks/README.md": "project/benchmarks.md",
    "src/advassay/records/FORMAT.md": "format.md",
}
"""Page of the repository → page of the site."""
LINK = re.compile(r"(!?\[(?:[^\[\]]|\[[^\]]*\])*\]\()([^)\s]+)(\))")
FENCE = re.compile(r"^(```|~~~)", re.MULTILINE)
OUTSIDE = re.compile(r"^(https?:|mailto:|#)")
API_ENTRY = re.compile(r"^- `advassay\.([\w.]+)`:.*(?:\n  .*)*\n?", re.MULTILINE)

_site_of: dict[str, str] = {}
"""Path in the repository → path in the site's sources."""


def on_config(config: Any) -> Any:
    """Fill the menu: verbs, results, rooms."""
    filled = {
        "CLI": ["cli/README.md", *_linked("docs/cli/README.md", "cli/")],
        "API": ["api/README.md", *_linked("docs/api/README.md", "api/")],
        "RESULTS": ["results/README.md", *_linked("docs/results/README.md", "results/")],
        "PROJECT": [
            *(site for page, site in PROJECT.items() if page != "src/advassay/records/FORMAT.md"),
            {"Rooms": _rooms()},
            {"Studies": _studies()},
        ],
    }
    for entry in config["nav"]:
        for title, value in entry.items():
            if isinstance(value, str) and value in filled:
                entry[title] = filled[value]
    return config


def _linked(page: str, folder: str) -> list[str]:
    """The pages that an index links, in its order."""
    targets = [match[2] for match in LINK.finditer((ROOT / page).read_text(encoding="utf-8"))]
    return list(dict.fromkeys(folder + target for target in targets if re.fullmatch(r"[\w-]+\.md", target)))


def _rooms() -> list[str]:
    return [_room_page(path) for path in _room_readmes()]


def _room_readmes() -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "src" / "advassay").rglob("README.md"))


def _room_page(path: str) -> str:
    return f"project/rooms/{path.removeprefix('src/advassay/').removesuffix('/README.md').replace('/', '-')}.md"


def _studies() -> list[str]:
    return [f"project/studies/{path.stem}.md" for path in sorted((ROOT / "studies").glob("*.yaml"))]


def on_files(files: Files, config: Any) -> Files:
    """Add what lies outside docs/: pages, studies, notebooks as pages, and files that pages link."""
    _site_of.clear()
    for file in files:
        _site_of[f"docs/{file.src_uri}"] = file.src_uri
    for path in _room_readmes():
        _add(files, config, path, _room_page(path))
    for path, site in PROJECT.items():
        _add(files, config, path, site)
    for study in sorted((ROOT / "studies").glob("*.yaml")):
        text = f"# studies/{study.name}\n\n```yaml\n{study.read_text(encoding='utf-8')}```\n"
        _add(files, config, f"studies/{study.name}", f"project/studies/{study.stem}.md", text)
    for notebook in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        _add(files, config, f"docs/notebooks/{notebook.name}", f"notebooks/{notebook.stem}.md", _as_page(notebook))
    for file in [file for file in files if file.is_documentation_page()]:
        for target in _targets(_repository_path(file.src_uri), file.content_string):
            if target not in _site_of and (ROOT / target).is_file():
                _add(files, config, target, f"repository/{target}")
    return files


def _add(files: Files, config: Any, path: str, site: str, content: str | None = None) -> None:
    if existing := files.get_file_from_path(site):
        files.remove(existing)
    made = (
        File.generated(config, site, content=content)
        if content is not None
        else File.generated(config, site, abs_src_path=str(ROOT / path))
    )
    files.append(made)
    _site_of[path] = site


def _as_page(notebook: Path) -> str:
    """A notebook as Markdown: its text, and its code in blocks."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    texts = [("".join(cell["source"]), cell["cell_type"]) for cell in cells]
    return "\n\n".join(text if kind == "markdown" else f"```python\n{text}\n```" for text, kind in texts) + "\n"


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Links between files of the repository → links between pages; entries of the API → their reference."""
    here = page.file.src_uri
    path = _repository_path(here)
    text = _outside_code(markdown, lambda part: LINK.sub(lambda match: _relinked(match, path, here), part))
    return API_ENTRY.sub(_reference, text) if here.startswith("api/") else text


def _repository_path(site: str) -> str:
    return next((path for path, one in _site_of.items() if one == site), f"docs/{site}")


def _targets(path: str, markdown: str) -> Iterator[str]:
    """Paths in the repository that a page links."""
    found: list[str] = []
    _outside_code(markdown, lambda part: found.extend(match[2] for match in LINK.finditer(part)) or part)
    for link in found:
        if not OUTSIDE.match(link):
            yield posixpath.normpath(posixpath.join(posixpath.dirname(path), link.partition("#")[0]))


def _outside_code(markdown: str, change: Any) -> str:
    """`change` applied to what is not a fenced block."""
    parts = re.split(r"(^```.*?^```[ \t]*$)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if i % 2 else change(part) for i, part in enumerate(parts))


def _relinked(match: re.Match[str], path: str, here: str) -> str:
    link = match[2]
    if OUTSIDE.match(link):
        return match[0]
    target, mark, anchor = link.partition("#")
    wanted = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    site = _site_of.get(wanted) or _site_of.get(f"{wanted}/README.md")
    if site is None:
        raise PluginError(f"{path}: link to {link}, but the site has no page {wanted}")
    return match[1] + os.path.relpath(site, posixpath.dirname(here) or ".") + mark + anchor + match[3]


def _reference(match: re.Match[str]) -> str:
    """The place of a listed name → the directive that writes its reference."""
    name = match[1]
    return f"::: {_defined_at(name)}\n    options:\n      heading: advassay.{name}\n      toc_label: {name}\n\n"


def _defined_at(name: str) -> str:
    """Dotted path of the module that defines a public name, followed through the stubs.

    `success_curve` is advassay.analysis.success_curves.success_curve.
    """
    *packages, last = name.split(".")
    module = ".".join(["advassay", *packages])
    while True:
        folder = ROOT / "src" / module.replace(".", "/")
        stub = next((path for path in (folder / "__init__.pyi", folder / "__init__.py") if path.is_file()), None)
        if stub is None:
            return f"{module}.{last}"
        for node in ast.walk(ast.parse(stub.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and any((one.asname or one.name) == last for one in node.names):
                module = f"{module}.{node.module}" if node.level else str(node.module)
                break
        else:
            return f"{module}.{last}"


def on_post_page(output: str, page: Page, config: Any) -> str:
    """The search dialog has no name for screen readers in the theme's template."""
    unnamed = 'data-md-component="search" role="dialog"'
    return output.replace(f"{unnamed}>", f'{unnamed} aria-label="Search">')
