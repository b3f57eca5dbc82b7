"""What is said of a finding where it is named: present, absent, uncertain, or nothing about this image.

The scopes follow NegEx (Chapman et al. 2001, doi:10.1006/jbin.2001.1029) and ConText (Harkema et al. 2009,
doi:10.1016/j.jbi.2009.05.002): a cue governs the words after (or before) it up to the sentence's end, a breaking word
or `reach` words; where several cues govern a mention, the nearest one counts. Beyond them: a statement of its own after
a comma or "and" is out of scope, what ends its part of a sentence looks back ("pneumonia: no"), a negated exclusion is
a doubt whatever else is said, and a statement that rules out beats a doubt before the finding.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from advassay.sources.reports.phrase_matcher import Automaton
from advassay.sources.reports.sentences import Sentence
from advassay.sources.reports.vocabulary import Context
from advassay.sources.reports.word_normaliser import Normaliser


class Decision(StrEnum):
    """Result per finding and report. `not_stated` of a cue: not on this image; such mentions do not count."""

    present = "present"
    absent = "absent"
    uncertain = "uncertain"
    not_stated = "not stated"


@dataclass(frozen=True, slots=True)
class Cue:
    """A phrase of the vocabulary's context. makes: the decision for what it governs; not_stated = not on this image;
    None = governs nothing. forward: governs what follows. turns: looks back where nothing follows. near: governs up to
    a comma or "and" only. settles: whatever other cues say. breaks: ends the scopes of others. closes: is one only
    where nothing follows it in its part of the sentence."""

    entry: str
    makes: Decision | None = None
    forward: bool = True
    turns: bool = False
    near: bool = False
    settles: bool = False
    breaks: bool = False
    closes: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """A cue in a sentence: first and last word."""

    cue: Cue
    first: int
    last: int


Span = tuple[int, int]
"""First and last word of a mention."""


class Scopes:
    """Finds the cues of a sentence and says which of them governs a mention."""

    def __init__(self, context: Context, normaliser: Normaliser, gap: int) -> None:
        def forms(words: Sequence[str]) -> frozenset[str]:
            return frozenset(form for word in words for form in (normaliser.fold(word), *normaliser.forms(word)))

        self._reach = context.reach
        self._coordinators, self._alternators = forms(context.coordinators), forms(context.alternators)
        self._ungoverned, self._details = forms(context.ungoverned), forms(context.details)
        self._qualities = forms(context.qualities)
        self._presence = forms(context.presence)
        self._genitive = context.genitive
        self._automaton: Automaton[Cue] = Automaton(normaliser, gap, exact=True, sets=context.sets)
        for cue in _cues(context):
            self._automaton.add(cue.entry, cue)

    def knows(self, raw: str, stem: str) -> bool:
        """Whether a word is one of the cues'."""
        return (
            self._automaton.knows(raw, stem)
            or raw in self._ungoverned
            or raw in self._details
            or raw in self._coordinators
            or raw in self._alternators
        )

    def cues(self, sentence: Sentence) -> list[Found]:
        """The cues of a sentence, from left to right; of overlapping ones the longest that begins first."""
        hits = [
            hit
            for hit in self._automaton.find(sentence)
            if self._is_one(sentence, *hit) and not (hit[2].closes and not ends_part(sentence, hit[1]))
        ]
        kept: list[Found] = []
        for first, last, cue in sorted(hits, key=lambda hit: (hit[0], -hit[1])):
            if not kept or first > kept[-1].last or (first, last) == (kept[-1].first, kept[-1].last):
                kept.append(Found(cue, first, last))
        return [_as_it_looks(found, sentence) for found in kept]

    def _is_one(self, sentence: Sentence, first: int, last: int, cue: Cue) -> bool:
        """Whether the words of a cue belong together; a list may stand between: "no mass or fluid to suggest"."""
        joints = {self._joint(sentence, place) for place in range(first + 1, last + 1)} - {None}
        if cue.makes is None and not self._alternators.isdisjoint(cue.entry.split()):
            return True  # "neither improvement nor worsening": the joint is a word of the cue
        listed = "or" in joints and "and" not in joints
        return not joints or (listed and (cue.makes is Decision.absent or cue.settles))

    def crosses(self, sentence: Sentence, first: int, last: int) -> bool:
        """Whether a comma or an "and" stands between two words."""
        return any(self._joint(sentence, place) in ("and", ",") for place in range(first + 1, last + 1))

    def governing(
        self, sentence: Sentence, cues: Sequence[Found], mention: Span, mentions: Sequence[Span]
    ) -> Found | None:
        """The cue that decides about a mention: one that settles it, else what rules it out afterwards, else the
        nearest of those whose scope holds it. cues and mentions: all of the sentence, from left to right."""
        low, high = mention[0] - self._reach - _LONGEST, mention[1] + self._reach + _LONGEST
        cues = cues[bisect_left(cues, low, key=_first_of) : bisect_right(cues, high, key=_first_of)]
        mentions = mentions[bisect_left(mentions, (low,)) : bisect_right(mentions, (high,))]
        holding = [
            (not found.cue.settles, found.cue.forward or found.cue.makes is not Decision.absent, distance, found)
            for found in cues
            if found.cue.makes is not None
            and (distance := self._distance(sentence, cues, found, mention, mentions)) is not None
        ]
        return min(holding, key=lambda one: (*one[:3], _ORDER[one[3].cue.makes]))[3] if holding else None

    def alternative(self, sentence: Sentence, cues: Sequence[Found], mention: Span, same: frozenset[str]) -> int | None:
        """The word "or" that makes a mention one of two possibilities. cues: all of the sentence; an "or" inside one
        that governs nothing makes none. same: words beside it that make none."""
        first, last = mention
        for place in (first - 1, first - 2, last + 1):
            if not 0 < place < len(sentence.raw) - 1 or sentence.raw[place] not in self._alternators:
                continue
            if sentence.segments[place] != sentence.segments[first]:
                continue
            if any(one.cue.makes is None and one.first <= place < one.last for one in cues):
                continue
            if place < first and sentence.raw[place - 1] in self._qualities:
                continue  # "residual or recurrent pneumonia"
            beside = sentence.raw[place - 1], sentence.raw[place + 1]
            other = sentence.raw[place + 1 : place + 4] if place > last else sentence.raw[max(place - 3, 0) : place]
            if not any(word in self._details or word in self._coordinators or word.isdigit() for word in beside):
                return None if same.intersection(other) else place
        return None

    def _distance(
        self, sentence: Sentence, cues: Sequence[Found], found: Found, mention: Span, mentions: Sequence[Span]
    ) -> int | None:
        """Words between cue and mention; None if the mention is on the cue's other side, too far or cut off."""
        first, last = mention
        if found.cue.forward:
            distance = max(first - found.last - 1, 0)
            holds = found.first < last and distance < self._reach and self._reaches(sentence, cues, found, mention)
        else:
            distance = max(found.first - last - 1, 0)
            reach = self._reach // 2 if found.cue.turns else self._reach  # a stray word at the end governs less
            holds = (
                found.last > first and distance < reach and self._looks_back(sentence, cues, found, mention, mentions)
            )
        return distance if holds else None

    def _reaches(self, sentence: Sentence, cues: Sequence[Found], found: Found, mention: Span) -> bool:
        """Whether a cue that looks ahead governs a mention."""
        first, last = mention
        if any(found.last < other.first < last for other in cues if other.cue.breaks):
            return False
        answered = sentence.colons[found.first] and last + 1 < len(sentence.raw) and sentence.colons[last + 1]
        if answered and sentence.segments[found.first] == sentence.segments[last + 1]:
            return False  # "effusion: no emphysema: mild": the name of the next field
        # "probably, pneumonia": the comma belongs to the cue
        parenthetic = found.cue.makes is Decision.uncertain and self._joint(sentence, found.last + 1) == ","
        for place in range(found.last + 1 + parenthetic, first + 1):
            joint = self._joint(sentence, place)
            if joint is None:
                continue
            if found.cue.near and joint != "or":
                return False
            if joint != "or" and self._states(sentence, place, mention):
                return False
        return True

    def _states(self, sentence: Sentence, start: int, mention: Span) -> bool:
        """Whether the item of a list from word `start` on is a statement of its own."""
        end = start + 1
        while end < len(sentence.raw) and self._joint(sentence, end) is None:
            end += 1
        end = max(end, mention[1] + 1 if start <= mention[0] < end else end)
        words = {*sentence.raw[start:end], *(lead for leads in sentence.leads[start:end] for lead in leads)}
        if not self._ungoverned.isdisjoint(words):
            return True
        listed = range(start, min(start + 2 * self._reach, len(sentence.raw)))
        if any(self._joint(sentence, place) == "or" for place in listed):
            return False
        if not self._details.isdisjoint(words) or sentence.raw[start - 1] in self._presence:
            return True
        seen = (place for place in range(start, end) if sentence.raw[place] in self._presence)
        return any(place == start or sentence.leads[place] for place in seen)

    def _looks_back(
        self, sentence: Sentence, cues: Sequence[Found], found: Found, mention: Span, mentions: Sequence[Span]
    ) -> bool:
        """Whether a cue that looks back governs a mention: in its part of the sentence, or alone in the next one."""
        first, last = mention
        between = [other for other in cues if other.cue.breaks and last < other.first < found.first]
        ends = ends_part(sentence, found.last)
        elliptic = (found.cue.settles or ends) and all(other.last + 1 == found.first for other in between)
        if between and not elliptic:  # "emphysema with an effusion that was not seen" but "unlikely but not excluded"
            return False
        begins = found.first
        while begins > last and sentence.segments[begins - 1] == sentence.segments[found.first]:
            begins -= 1
        if begins <= last:  # the same part
            return not any(
                self._joint(sentence, place) == "and" and sentence.raw[place - 1] in self._presence
                for place in range(last + 2, found.first)
            )
        own = range(begins, found.first)
        alone = all(any(other.first <= place <= other.last for other in cues) for place in own)
        if alone and not any(last < other[0] < found.first for other in mentions):
            return True  # "pneumonia, no", "unlikely, but not excluded"
        if found.cue.makes is not Decision.absent:
            return False
        if ends and self._answers_list(sentence, cues, found, mentions):
            return True
        if self._genitive:
            return self._ungoverned.isdisjoint(sentence.raw[first : found.first])
        return any(self._joint(sentence, place) == "or" for place in own) and not self._states(sentence, first, mention)

    def _answers_list(self, sentence: Sentence, cues: Sequence[Found], found: Found, mentions: Sequence[Span]) -> bool:
        """Whether a cue answers a list of nothing but findings: "pneumonia, emphysema, nodules: none"."""
        if not sentence.colons[found.first] or any(sentence.colons[: found.first]):
            return False
        if any(other.first < found.first for other in cues):
            return False
        named = {place for first, last in mentions for place in range(first, last + 1)}
        return named.issuperset(range(found.first))

    def _joint(self, sentence: Sentence, place: int) -> str | None:
        """What joins a word to those before it: "or", "and", "," or nothing."""
        leads, raw = sentence.leads[place], sentence.raw
        around = (*leads, raw[place], raw[place - 1]) if place else leads
        if not self._alternators.isdisjoint(around):
            return "or"
        if place and sentence.segments[place] != sentence.segments[place - 1]:
            return ","
        return None if self._coordinators.isdisjoint(around) else "and"


def _as_it_looks(found: Found, sentence: Sentence) -> Found:
    """A cue that ends its part of the sentence looks back: "emphysema: no", "no foci are seen, emphysema"."""
    if not (ends_part(sentence, found.last) and found.cue.turns and found.first):
        return found
    return replace(found, cue=replace(found.cue, forward=False))


def ends_part(sentence: Sentence, place: int) -> bool:
    """Whether a word is the last of its part of the sentence."""
    return place + 1 == len(sentence.raw) or sentence.segments[place + 1] != sentence.segments[place]


def _first_of(found: Found) -> int:
    return found.first


_LONGEST = 60
"""More words than any cue has, with what its gaps skip."""

_ORDER = {Decision.present: 0, Decision.absent: 1, Decision.uncertain: 2, Decision.not_stated: 3, None: 4}
"""Which of two equally near cues counts."""


def _cues(context: Context) -> list[Cue]:
    kinds = (
        (context.negation, Decision.absent, False),
        (context.uncertainty, Decision.uncertain, False),
        (context.undecided, Decision.uncertain, True),
        (context.elsewhere, Decision.not_stated, False),
    )
    governing = [
        Cue(entry, makes, forward, turns and makes is not Decision.not_stated, near, settles)
        for cues, makes, settles in kinds
        for forward, turns, near, entries in (
            (True, True, False, cues.before),
            (True, False, False, cues.before_only),
            (True, True, True, cues.before_near),
            (False, False, False, cues.after),
        )
        for entry in entries
    ]
    closing = [
        Cue(entry, makes, False, settles=settles, closes=True)
        for cues, makes, settles in kinds
        for entry in cues.closing
    ]
    return [
        *governing,
        *closing,
        *(Cue(entry) for entry in context.pseudo),
        *(Cue(entry, breaks=True) for entry in context.breaks),
    ]
