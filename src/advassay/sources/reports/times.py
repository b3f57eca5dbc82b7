"""Statements about an earlier time: "no nodule in March, now a nodule", "pneumonia in 2017".

A denial of an earlier time does not deny the finding on this image. ConText (Harkema et al. 2009) sets aside what is
historical; it has no rule for a denial that is.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from advassay.sources.reports.context import Cue, Decision, Found, Span, ends_part
from advassay.sources.reports.phrases import Automaton
from advassay.sources.reports.sentences import Sentence
from advassay.sources.reports.vocabulary import Context
from advassay.sources.reports.words import Normaliser, is_number

_EARLIER, _EXAM, _DATED, _NOW, _TURN = "earlier", "exam", "dated", "now", "turn"
_PAST = (_EARLIER, _EXAM, _DATED)
_FAR = 4
"""Words between a finding and its date at most."""


class _Time(NamedTuple):
    """Words that name a time, or stand between two statements; statement: first word and end (exclusive) of theirs."""

    first: int
    last: int
    entry: str
    kind: str


class Times:
    """Says of the cues of a sentence which ones speak of an earlier time."""

    def __init__(self, context: Context, normaliser: Normaliser, gap: int) -> None:
        def forms(words: Sequence[str]) -> frozenset[str]:
            return frozenset(form for word in words for form in (normaliser.fold(word), *normaliser.forms(word)))

        times = context.times
        self._phrases: Automaton[tuple[str, str]] = Automaton(normaliser, gap, exact=True, sets=context.sets)
        for kind, entries in (
            (_EARLIER, times.earlier),
            (_EXAM, times.exams),
            (_DATED, times.dated),
            (_NOW, times.now),
            (_TURN, times.turns),
        ):
            for entry in entries:
                self._phrases.add(entry, (entry, kind))
        self._within = frozenset(normaliser.fold(word) for word in times.within)
        self._compared, self._described = forms(times.compared), forms(times.described)
        self._denials, self._ended = forms(times.denials), forms(times.ended)
        self._presence, self._lasting = forms(context.presence), forms(times.lasting)
        self._affirms = forms((*times.affirms, *context.coordinators)) | self._presence

    def told(self, sentence: Sentence, cues: list[Found], mentions: Sequence[Span]) -> list[Found]:
        """`cues` as they are to be read where the sentence speaks of an earlier time.

        What was not there before is there now if the rest of the sentence says no more than that ("absent in March,
        now present"), or if it is named before it is denied ("a nodule, not present in 2012"); else it is not stated.
        A finding with nothing but a date is history. cues, mentions: all of the sentence, from left to right.
        """
        times = self._times(sentence)
        for time in times:
            if time.kind in _PAST:
                cues = self._as_told(sentence, cues, mentions, times, time)
        return cues

    def goes_on(self, sentence: Sentence, following: Sentence, find: Callable[[Sentence], list[Found]]) -> bool:
        """Whether the next sentence says no more than that now it is there: "No nodule in March. It is seen now.".

        find: finds the cues of a sentence.
        """
        if not any(one.kind in _PAST for one in self._times(sentence)):
            return False
        if not any(one.kind == _NOW for one in self._times(following)):
            return False
        return self._tail(following, find(following), 0) in (Decision.present, Decision.uncertain)

    def _times(self, sentence: Sentence) -> list[_Time]:
        """The times of a sentence, from left to right; of overlapping ones the longest that begins first."""
        hits = [
            _Time(first, last, *tag)
            for first, last, tag in self._phrases.find(sentence)
            if not (tag[1] != _NOW and first and is_number(sentence.raw[first - 1]))  # "15.10.2010" may be today
        ]
        kept: list[_Time] = []
        for one in sorted(hits, key=lambda one: (one.first, -one.last)):
            if not kept or one.first > kept[-1].last:
                kept.append(one)
        return kept

    def _as_told(
        self, sentence: Sentence, cues: list[Found], mentions: Sequence[Span], times: Sequence[_Time], time: _Time
    ) -> list[Found]:
        begin, end = self._statement(sentence, times, time)
        inside = [one for one in cues if begin <= one.first and one.last < end and self._denies(sentence, one)]
        if not inside:
            if any(begin <= one.first < end and self._is_past_denial(sentence, one) for one in cues):
                return _without_dates(cues, time)  # "was not seen two years ago"
            if self._tail(sentence, cues, end) is Decision.absent and end < len(sentence.raw):
                gone = Cue(time.entry, Decision.absent)  # "a nodule before, now absent"
                both = (Found(replace(gone, forward=forward), time.first, time.last) for forward in (True, False))
                return sorted([*cues, *both], key=_first_of)
            history = self._history(sentence, cues, mentions, time, end) if time.kind == _DATED else None
            return sorted([*cues, history], key=_first_of) if history else cues
        beside = any(one.first == time.last + 1 or one.last == time.first - 1 for one in inside)
        if begin < time.first and time.last + 1 < end and not (beside and time.kind == _EARLIER):
            return cues  # neither at the beginning nor at the end: "the nodule of 2012 is not seen"
        if time.kind == _EXAM and self._within and time.first != begin:
            if self._within.isdisjoint(sentence.leads[time.first]):
                return cues  # "for comparison with the prior exam"
        if self._belongs_elsewhere(sentence, inside, time, end):
            return cues
        tail = self._tail(sentence, cues, end)
        if tail is Decision.absent:
            return cues  # "not seen before, not seen now"
        kept = [one for one in _without_dates(cues, time) if one not in inside]
        for one in inside:
            if tail is not None:
                kept.append(replace(one, cue=replace(one.cue, makes=tail)))
            elif one.cue.forward or one.cue.turns:
                kept.append(replace(one, cue=replace(one.cue, makes=Decision.not_stated)))
        if end < len(sentence.raw):
            kept.append(Found(Cue(time.entry, breaks=True), end - 1, end - 1))
        return sorted(kept, key=_first_of)

    def _statement(self, sentence: Sentence, times: Sequence[_Time], time: _Time) -> Span:
        """First word and end (exclusive) of the statement that a time stands in: a part of the sentence, or what
        stands between a "now" or "but" and the next one."""
        begins = sorted(
            {one.first for one in times if one.kind in (_NOW, _TURN)}
            | {place for place in range(len(sentence.raw)) if not place or ends_part(sentence, place - 1)}
        )
        own = bisect_right(begins, time.first) - 1
        after = bisect_left(begins, time.last + 1)
        if begins[own] == time.first and after < len(begins) and begins[after] == time.last + 1 and not own:
            after += 1  # "previously, no nodule"
        return begins[own], begins[after] if after < len(begins) else len(sentence.raw)

    def _denies(self, sentence: Sentence, found: Found) -> bool:
        words = sentence.raw[found.first : found.last + 1]
        denies = found.cue.makes is Decision.absent and not self._denials.isdisjoint(words)
        return denies and self._ended.isdisjoint(words)

    def _is_past_denial(self, sentence: Sentence, found: Found) -> bool:
        """Whether a cue that governs nothing denies: "was not seen on the prior exam"."""
        words = sentence.raw[found.first : found.last + 1]
        return found.cue.makes is None and not found.cue.breaks and not self._denials.isdisjoint(words)

    def _belongs_elsewhere(self, sentence: Sentence, inside: Sequence[Found], time: _Time, end: int) -> bool:
        """Whether a time belongs to the word beside it: "as before", "previously described"."""
        if time.last + 1 < end and sentence.raw[time.last + 1] in self._described:
            return True
        if not time.first:
            return False
        word, leads = sentence.raw[time.first - 1], sentence.leads[time.first - 1]
        if word in self._compared:
            return True
        denied = any(one.first <= time.first - 1 <= one.last for one in inside)
        return word in self._described and not leads and not denied  # "the nodule seen before", but "was seen before"

    def _history(
        self, sentence: Sentence, cues: Sequence[Found], mentions: Sequence[Span], time: _Time, end: int
    ) -> Found | None:
        """The cue that a date is for the finding beside it: "pneumonia of the right lung in 2017"."""
        if not self._lasting.isdisjoint(sentence.raw) or self._tail(sentence, cues, end) is not None:
            return None
        cue = Cue("{year}", Decision.not_stated, near=True)
        begins_part = not time.first or ends_part(sentence, time.first - 1)
        if begins_part and any(time.last < first <= time.last + 2 for first, _ in mentions):
            return Found(cue, time.first, time.last)
        last = max((last for _, last in mentions if last < time.first), default=None)
        if last is None or time.first - last > _FAR or sentence.segments[last] != sentence.segments[time.first]:
            return None
        if not self._presence.isdisjoint(sentence.raw[last + 1 : time.first]):
            return None
        return Found(replace(cue, forward=False), time.first, time.last)

    def _tail(self, sentence: Sentence, cues: Sequence[Found], start: int) -> Decision | None:
        """What a sentence says from word `start` on, if it is no more than that the finding is, may be or is not
        there now; None if it is more, or nothing."""
        own = {}
        for one in cues:
            if one.first >= start and one.cue.makes in (Decision.absent, Decision.uncertain):
                own.update({place: one.cue.makes for place in range(one.first, one.last + 1)})
        named = self._times(sentence)
        now = {place for one in named if one.kind in (_NOW, _TURN) for place in range(one.first, one.last + 1)}
        words = range(start, len(sentence.raw))
        if not all(place in own or place in now or sentence.raw[place] in self._affirms for place in words):
            return None
        made = {own[place] for place in words if place in own}
        if made:
            return Decision.absent if Decision.absent in made else Decision.uncertain
        return Decision.present if len(words) > 0 else None


def _without_dates(cues: Sequence[Found], time: _Time) -> list[Found]:
    """`cues` without those that make history of what a time stands beside."""
    words = range(time.first, time.last + 1)
    return [one for one in cues if one.cue.makes is not Decision.not_stated or one.last not in words]


def _first_of(found: Found) -> int:
    return found.first
