"""The answer about several cohorts: what they have in common in sentences, then each in one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from advassay.report.data.headlines import Headline
from advassay.report.data.units import images_of, level_text, scale, unit_text
from advassay.report.text.number_format import listed, percent

if TYPE_CHECKING:
    from advassay.report.data.findings import Findings


def several_cohorts(findings: Findings, lines: Sequence[Headline]) -> Iterator[str]:
    """Where half of the images are lost over all cohorts; what the attack does beside noise of the same size."""
    yield _half(findings, lines)
    yield from _beside_noise(findings, lines)
    yield from _stronger(findings)


def _half(findings: Findings, lines: Sequence[Headline]) -> str:
    """The range of ε50 over cohorts, and the cohorts of which only is known on which side of the grid it lies."""
    unit, sides = unit_text(findings), {side: _on(lines, side) for side in ("inside", "below", "above", "unknown")}
    told = []
    if known := [line for line in sides["inside"] if line.epsilon50["estimate"] is not None]:
        known.sort(key=lambda line: line.epsilon50["estimate"])
        least, most = known[0], known[-1]
        if least is most:
            told.append(f"by a change of at most {half_text(findings, least)} {unit} in {least.cohort}")
        else:
            told.append(
                f"by a change of {_size(findings, least)} to {_size(findings, most)} {unit}: the smallest in "
                f"{least.cohort}, the largest in {most.cohort}"
            )
    if between := [line for line in sides["inside"] if line.epsilon50["estimate"] is None]:
        told += [f"by a change of {half_text(findings, line)} {unit} in {line.cohort}" for line in between]
    if sides["below"]:
        smallest = max(line.epsilon50["smallest"] for line in sides["below"]) * scale(findings)
        told.append(
            f"already by the smallest change that was tried ({smallest:.3g} {unit}) in {_named(sides['below'])}"
        )
    if sides["above"]:
        largest = min(line.epsilon50["largest"] for line in sides["above"]) * scale(findings)
        told.append(f"not even by the largest change that was tried ({largest:.3g} {unit}) in {_named(sides['above'])}")
    few = f" Of {_named(sides['unknown'])} too few images are classified correctly to say." if sides["unknown"] else ""
    if not told:
        return few.strip()
    return f"Half of the images that the networks classify correctly are misclassified {'; '.join(told)}.{few}"


def half_text(findings: Findings, line: Headline) -> str:
    """ε50 of one cohort with its interval, in the unit of the page."""
    return str(line.epsilon50["text_255"] if scale(findings) == 255 else line.epsilon50["text"])


def _size(findings: Findings, line: Headline) -> str:
    return f"{line.epsilon50['estimate'] * scale(findings):.2g}"


def _on(lines: Sequence[Headline], side: str) -> list[Headline]:
    return [line for line in lines if line.epsilon50["side"] == side]


def _named(lines: Sequence[Headline]) -> str:
    return listed([line.cohort for line in lines])


def _beside_noise(findings: Findings, lines: Sequence[Headline]) -> Iterator[str]:
    """How many images the attack of the shown amplitude turns, and how many noise of that size does."""
    rates = [line.success.value for line in lines if line.success.value is not None]
    if not rates:
        return
    low, high = percent(min(rates), 0), percent(max(rates), 0)
    reach = low if low == high else f"{low} to {high}"
    noise = [line.noise for line in lines if line.noise is not None]
    beside = ""
    if noise:
        misclassified, n = (sum(counts) for counts in zip(*noise, strict=True))
        none = "none" if misclassified == 0 else str(misclassified)
        beside = f" Random noise of the same size misclassifies {none} of {n} images that were tried."
    yield f"At {level_text(findings, findings.epsilon)} the attack misclassifies {reach} of them, by cohort.{beside}"


def _stronger(findings: Findings) -> Iterator[str]:
    """What a stronger attack still finds, over all cohorts."""
    checked = [header.controls.cross_check for header in findings.headers() if header.controls is not None]
    worst = [max(found.values(), key=lambda counts: counts["missed"]) for found in checked if found]
    if not worst:
        return
    missed, images = sum(counts["missed"] for counts in worst), sum(counts["images"] for counts in worst)
    if missed:
        yield f"A stronger attack, tried on {images} of the images, misclassifies up to {missed} more."
    else:
        yield f"A stronger attack, tried on {images} of the images, misclassifies no more of them."


def headline_text(findings: Findings, line: Headline) -> str:
    """One cohort in a sentence or two, for documents without the page's table."""
    found, unit = line.epsilon50, unit_text(findings)
    halves = {
        "inside": f"half of the images are misclassified at {half_text(findings, line)} {unit}",
        "below": f"more than half of the images are misclassified at the smallest change that was tried "
        f"({found['smallest'] * scale(findings):.3g} {unit})",
        "above": f"half of the images or more withstand the largest change that was tried "
        f"({found['largest'] * scale(findings):.3g} {unit})",
        "unknown": "too few images are classified correctly to say",
    }
    scores = "; ".join(f"{score.name} {score.clean} → {score.attacked}" for score in line.scores)
    noise = f"; noise of the same size misclassifies {line.noise[0]} of {line.noise[1]} images" if line.noise else ""
    title = f" ({line.title})" if line.title else ""
    return (
        f"{line.cohort}{title}: {halves[found['side']]} ({images_of(found)}). "
        f"At {level_text(findings, findings.epsilon)}: {scores}{noise}."
    )
