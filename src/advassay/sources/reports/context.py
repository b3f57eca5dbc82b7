"""What is said of a finding where it is named: present, absent, uncertain, or nothing about this image.

The scopes follow NegEx (Chapman et al. 2001, doi:10.1006/jbin.2001.1029) and ConText (Harkema et al. 2009,
doi:10.1016/j.jbi.2009.05.002): a cue governs the words after (or before) it up to the sentence's end, a breaking word
or `reach` words; where several cues govern a mention, the nearest one counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from advassay.sources.reports.phrases import Automaton
from advassay.sources.reports.vocabulary import Context
from advassay.sources.reports.words import Normaliser, Sentence


class Decision(StrEnum):
    """Result per finding and report. `elsewhere` is internal: such mentions do not count."""

    present = "present"
    absent = "absent"
    uncertain = "uncertain"
    not_stated = "not stated"


@dataclass(frozen=True, slots=True)
class Cue:
    """A phrase of the vocabulary's context. makes: the decision for what it governs; not_stated = not on this image;
    None = governs nothing. forward: governs what follows. breaks: ends the scopes of others."""

    entry: str
    makes: Decision | None = None
    forward: bool = True
    breaks: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """A cue in a sentence: first and last word."""

    cue: Cue
    first: int
    last: int


class Scopes:
    """Finds the cues of a sentence and says which of them governs a mention."""

    def __init__(self, context: Context, normaliser: Normaliser, gap: int) -> None:
        self._reach = context.reach
        self._ungoverned = frozenset(normaliser.fold(word) for word in context.ungoverned)
        self._automaton: Automaton[Cue] = Automaton(normaliser, gap)
        for cue in _cues(context):
            self._automaton.add(cue.entry, cue)

    def cues(self, sentence: Sentence) -> list[Found]:
        """The cues of a sentence, from left to right; of overlapping ones the longest that begins first."""
        found = sorted(self._automaton.find(sentence), key=lambda hit: (hit[0], -hit[1]))
        kept: list[Found] = []
        for first, last, cue in found:
            if not kept or first > kept[-1].last or (first, last) == (kept[-1].first, kept[-1].last):
                kept.append(Found(cue, first, last))
        return [found for found in kept if not _only_looks_back(found, kept, sentence)]

    def governing(self, sentence: Sentence, cues: list[Found], first: int, last: int) -> Found | None:
        """The nearest cue whose scope holds the mention from word `first` to word `last`."""
        breaks = [found.first for found in cues if found.cue.breaks]
        holding = [
            (distance, found)
            for found in cues
            if found.cue.makes is not None
            and (distance := self._distance(found, first, last, breaks)) is not None
            and not self._cut_by_comma(sentence, found, first, last)
        ]
        return min(holding, key=lambda pair: (pair[0], _ORDER[pair[1].cue.makes]))[1] if holding else None

    def _distance(self, found: Found, first: int, last: int, breaks: list[int]) -> int | None:
        """Words between cue and mention; None if the mention is on the cue's other side, too far or cut off."""
        if found.cue.forward:
            distance, low, high = first - found.last - 1, found.last, last
            applies = found.first < last
        else:
            distance, low, high = found.first - last - 1, first, found.first
            applies = found.last > first
        if not applies or distance >= self._reach or any(low < place < high for place in breaks):
            return None
        return max(distance, 0)

    def _cut_by_comma(self, sentence: Sentence, found: Found, first: int, last: int) -> bool:
        """A cue that looks back stops at a comma; one that looks ahead, at a comma before an ungoverned form."""
        if not found.cue.forward:
            return sentence.segments[found.first] != sentence.segments[last]
        if sentence.segments[found.last] == sentence.segments[first]:
            return False
        return not self._ungoverned.isdisjoint(sentence.raw[first : last + 1])


def _only_looks_back(found: Found, others: list[Found], sentence: Sentence) -> bool:
    """Whether a cue that can look both ways ends its part of the sentence: "no foci are seen, emphysema"."""
    after = found.last + 1
    ends = after == len(sentence.stems) or sentence.segments[after] != sentence.segments[found.last]
    return (
        ends
        and found.cue.forward
        and any(not other.cue.forward and (other.first, other.last) == (found.first, found.last) for other in others)
    )


_ORDER = {Decision.absent: 0, Decision.uncertain: 1, Decision.not_stated: 2, None: 3}
"""Which of two equally near cues counts."""


def _cues(context: Context) -> list[Cue]:
    kinds = (
        (context.negation, Decision.absent),
        (context.uncertainty, Decision.uncertain),
        (context.elsewhere, Decision.not_stated),
    )
    governing = [
        Cue(entry, makes, forward)
        for cues, makes in kinds
        for forward, entries in ((True, cues.before), (False, cues.after))
        for entry in entries
    ]
    return [
        *governing,
        *(Cue(entry) for entry in context.pseudo),
        *(Cue(entry, breaks=True) for entry in context.breaks),
    ]
