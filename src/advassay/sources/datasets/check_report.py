"""What a check found: one line a fact, and a verdict over all of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["ok", "missing", "differs", "note"]
Verdict = Literal["as published", "altered", "a part of it", "another layout", "not found"]


@dataclass(frozen=True)
class Finding:
    """One fact about a folder. `datasets check --json` prints these fields."""

    status: Status
    """ok; missing: the published set has it and this folder has not; differs: it is there and not as published; note:
    good to know."""
    about: Literal["files", "checksums", "columns", "images", "classes", "layout", "size", "tables"]
    what: str
    found: str
    published: str = ""
    """What the published set has; empty where that is not stated."""
    lacking: int = 0
    """Of a number that is too small, but not 0: how many fewer there are than published."""


@dataclass(frozen=True)
class Check:
    """A folder against a recipe."""

    recipe: str
    images: int
    """Images (or slides) of the set in the folder."""
    published: int | None
    """Images of the published set; null where sources differ."""
    findings: tuple[Finding, ...]

    @property
    def missing(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.status == "missing")

    @property
    def short(self) -> tuple[Finding, ...]:
        """Numbers that are smaller than published, but not 0."""
        return tuple(finding for finding in self.findings if finding.lacking)

    @property
    def complete(self) -> bool:
        """Whether nothing of the published set is missing or short."""
        return not (self.missing or self.short)

    @property
    def verdict(self) -> Verdict:
        """The folder in a word."""
        if not self.images:
            return "not found"
        if any(finding.status == "differs" and finding.about in ("layout", "size") for finding in self.findings):
            return "another layout"
        if not self.complete:
            return "a part of it"
        return "altered" if any(finding.status == "differs" for finding in self.findings) else "as published"

    def sentence(self) -> str:
        """The verdict for a person."""
        of = f" of {self.published:,}" if self.published else ""
        fewer = self.published is not None and self.images < self.published
        share = f"{self.images:,}{of} images"
        match self.verdict:
            case "not found":
                return f"No image of {self.recipe} was found here."
            case "another layout":
                kind = "a sample of the set" if fewer else "the set"
                return f"This is {kind} in another layout than published: {share}. What the recipe reads is listed."
            case "a part of it":
                return f"This is a part of the set, laid out as published: {share}."
            case "altered":
                return f"This is the set in size, but not as published: {share}; see what differs."
            case _:
                return f"This is the set as published, as far as can be seen: {share}."

    def as_data(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "recipe": self.recipe,
            "verdict": self.verdict,
            "images": self.images,
            "published": self.published,
            "missing": len(self.missing),
            "short": len(self.short),
            "findings": [asdict(finding) for finding in self.findings],
        }


def counted(about: Literal["images", "classes", "files"], what: str, found: int, published: int | None) -> Finding:
    """A number against the published one: none is missing, fewer or more differ.

    >>> counted("images", "images", 0, 4).status, counted("images", "images", 3, 4).found
    ('missing', '3 of 4')
    >>> counted("images", "images", 3, 4).status, counted("images", "images", 5, 4).status
    ('differs', 'differs')
    """
    if published is None:
        return Finding("ok" if found else "missing", about, what, f"{found:,}")
    status: Status = "ok" if found == published else "differs" if found else "missing"
    lacking = max(0, published - found) if found else 0
    said = f"{found:,} of {published:,}" if lacking else f"{found:,}"
    return Finding(status, about, what, said, f"{published:,}", lacking)
