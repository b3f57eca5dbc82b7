"""Statements about an earlier time: "no nodule in March, now a nodule", "pneumonia in 2017".

A denial of an earlier time does not deny the finding on this image. ConText (Harkema et al. 2009) sets aside what is
historical; it has no rule for a denial that is.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from advassay.sources.reports.negation import Cue, Decision, Found, Span, ends_part
from advassay.sources.reports.phrase_matcher import Automaton
from advassay.sources.reports.sentences import Sentence
from advassay.sources.reports.vocabulary import Context
from advassay.sources.reports.word_normaliser import Normaliser, is_number

_EARLIER, _EXAM, _DATED, _NOW, _TURN = "earlier", "exam", "dated", "now", "turn"
_PAST = (_EARLIER, _EXAM, _DATED)
_FAR = 4
"""Words between a finding and its date at most."""
_LONGEST = 60
"""More words than any cue has, with what its gaps skip."""
_AROUND = 25
"""Words before and after a date in which one may say that the finding is there still."""
_TAIL = 12
"""Words of a statement that says no more than "now it is there" at most."""


class _Time(NamedTuple):
    """Words that name a time, or stand between two statements: first and last word, entry of the vocabulary, kind."""

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
        if all(one.kind not in _PAST for one in times):
            return cues
        telling = _Telling(sentence, cues, [one.first for one in cues], mentions, times, _begins(sentence, times))
        edits: dict[int, list[Found]] = {}  # place of a cue in `cues` → what it is read as
        statements: dict[Span, tuple[list[int], bool]] = {}
        added: list[Found] = []
        for time in times:
            if time.kind in _PAST:
                self._tell(telling, time, edits, added, statements)
        kept = (changed for place, one in enumerate(cues) for changed in edits.get(place, (one,)))
        return sorted([*kept, *added], key=_first_of)

    def goes_on(self, sentence: Sentence, following: Sentence, find: Callable[[Sentence], list[Found]]) -> bool:
        """Whether the next sentence says no more than that now it is there: "No nodule in March. It is seen now.".

        find: finds the cues of a sentence.
        """
        if len(following.raw) > _TAIL or not any(one.kind in _PAST for one in self._times(sentence)):
            return False
        times = self._times(following)
        if not any(one.kind == _NOW for one in times):
            return False
        cues = find(following)
        telling = _Telling(following, cues, [one.first for one in cues], (), times, [])
        return self._tail(telling, 0) in (Decision.present, Decision.uncertain)

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

    def _tell(
        self,
        telling: _Telling,
        time: _Time,
        edits: dict[int, list[Found]],
        added: list[Found],
        statements: dict[Span, tuple[list[int], bool]],
    ) -> None:
        """Notes how the cues of the statement that a time stands in are to be read.

        statements: of those met before, the places of the cues that deny in them, and whether one denies the past.
        """
        sentence, cues = telling.sentence, telling.cues
        begin, end = telling.statement(time)
        if (begin, end) not in statements:
            own = [place for place in telling.cues_in(begin, end) if cues[place].last < end]
            denying = [place for place in own if self._denies(sentence, cues[place])]
            statements[begin, end] = denying, any(self._is_past_denial(sentence, cues[place]) for place in own)
        inside, past = statements[begin, end]
        dates = [
            place
            for place in telling.cues_in(time.first, time.last + 1)
            if cues[place].cue.makes is Decision.not_stated and cues[place].last <= time.last
        ]
        if not inside:
            if past:
                edits.update((place, []) for place in dates)  # "was not seen two years ago"
            elif end < len(sentence.raw) and self._tail(telling, end) is Decision.absent:
                gone = Cue(time.entry, Decision.absent)  # "a nodule before, now absent"
                added.extend(Found(replace(gone, forward=forward), time.first, time.last) for forward in (True, False))
            elif time.kind == _DATED:
                added.extend(self._history(telling, time, end))
            return
        near = telling.cues_in(max(begin, time.first - _LONGEST), min(time.last + 2, end))
        denials = [cues[place] for place in near if place in edits or self._denies(sentence, cues[place])]
        if self._is_in_the_middle(denials, time, begin, end) or self._belongs_elsewhere(telling, denials, time):
            return
        tail = self._tail(telling, end)
        if tail is Decision.absent:
            return  # "not seen before, not seen now"
        edits.update((place, []) for place in dates)
        if inside[0] in edits:
            return  # told by another time of the same statement
        for place in inside:
            one = cues[place]
            if tail is not None:
                edits[place] = [replace(one, cue=replace(one.cue, makes=tail))]
            else:
                told = replace(one, cue=replace(one.cue, makes=Decision.not_stated))
                edits[place] = [told] if one.cue.forward or one.cue.turns else []
        if end < len(sentence.raw):
            added.append(Found(Cue(time.entry, breaks=True), end - 1, end - 1))

    def _denies(self, sentence: Sentence, found: Found) -> bool:
        words = sentence.raw[found.first : found.last + 1]
        denies = found.cue.makes is Decision.absent and not self._denials.isdisjoint(words)
        return denies and self._ended.isdisjoint(words)

    def _is_past_denial(self, sentence: Sentence, found: Found) -> bool:
        """Whether a cue that governs nothing denies: "was not seen on the prior exam"."""
        words = sentence.raw[found.first : found.last + 1]
        return found.cue.makes is None and not found.cue.breaks and not self._denials.isdisjoint(words)

    def _is_in_the_middle(self, denials: Sequence[Found], time: _Time, begin: int, end: int) -> bool:
        """Whether a time stands neither at the beginning nor at the end, nor as an adverb beside what denies: "the
        nodule of 2012 is not seen"."""
        beside = any(one.first == time.last + 1 or one.last == time.first - 1 for one in denials)
        return begin < time.first and time.last + 1 < end and not (beside and time.kind == _EARLIER)

    def _belongs_elsewhere(self, telling: _Telling, denials: Sequence[Found], time: _Time) -> bool:
        """Whether a time belongs to the word beside it: "as before", "previously described"."""
        sentence, (begin, end) = telling.sentence, telling.statement(time)
        needs = self._within if time.kind == _EXAM and time.first != begin else None
        if needs and needs.isdisjoint(sentence.leads[time.first]):
            return True  # "for comparison with the prior exam"
        if time.last + 1 < end and sentence.raw[time.last + 1] in self._described:
            return True
        if not time.first:
            return False
        word, leads = sentence.raw[time.first - 1], sentence.leads[time.first - 1]
        if word in self._compared:
            return True
        denied = any(one.first <= time.first - 1 <= one.last for one in denials)
        return word in self._described and not leads and not denied  # "the nodule seen before", but "was seen before"

    def _history(self, telling: _Telling, time: _Time, end: int) -> list[Found]:
        """The cue that a date is for the finding beside it: "pneumonia of the right lung in 2017"."""
        sentence = telling.sentence
        around = sentence.raw[max(time.first - _AROUND, 0) : time.last + 1 + _AROUND]
        if not self._lasting.isdisjoint(around) or self._tail(telling, end) is not None:
            return []
        cue = Cue("{year}", Decision.not_stated, near=True)
        next_one = bisect_left(telling.mentions, (time.last + 1,))
        begins_part = not time.first or ends_part(sentence, time.first - 1)
        if begins_part and any(first <= time.last + 2 for first, _ in telling.mentions[next_one : next_one + 1]):
            return [Found(cue, time.first, time.last)]
        last = max((last for _, last in telling.mentions[:next_one][-2:] if last < time.first), default=None)
        if last is None or time.first - last > _FAR or sentence.segments[last] != sentence.segments[time.first]:
            return []
        if not self._presence.isdisjoint(sentence.raw[last + 1 : time.first]):
            return []
        return [Found(replace(cue, forward=False), time.first, time.last)]

    def _tail(self, telling: _Telling, start: int) -> Decision | None:
        """What a sentence says from word `start` on, if it is no more than that the finding is, may be or is not
        there now; None if it is more, or nothing."""
        words = range(start, len(telling.sentence.raw))
        if not 0 < len(words) <= _TAIL:
            return None
        own = {}
        for place in telling.cues_in(start, len(telling.sentence.raw)):
            one = telling.cues[place]
            if one.cue.makes in (Decision.absent, Decision.uncertain):
                own.update({word: one.cue.makes for word in range(one.first, one.last + 1)})
        late = bisect_left(telling.times, start, key=lambda one: one.first)
        now = {
            place
            for one in telling.times[late:]
            if one.kind in (_NOW, _TURN)
            for place in range(one.first, one.last + 1)
        }
        raw = telling.sentence.raw
        if not all(word in own or word in now or raw[word] in self._affirms for word in words):
            return None
        made = {own[word] for word in words if word in own}
        if made:
            return Decision.absent if Decision.absent in made else Decision.uncertain
        return Decision.present


class _Telling(NamedTuple):
    """A sentence with what was found in it; firsts: of the cues; begins: the first word of each statement."""

    sentence: Sentence
    cues: Sequence[Found]
    firsts: Sequence[int]
    mentions: Sequence[Span]
    times: Sequence[_Time]
    begins: Sequence[int]

    def cues_in(self, begin: int, end: int) -> range:
        """Places of the cues whose first word is one of raw[begin:end]."""
        return range(bisect_left(self.firsts, begin), bisect_left(self.firsts, end))

    def statement(self, time: _Time) -> Span:
        """First word and end (exclusive) of the statement that a time stands in."""
        own, after = bisect_right(self.begins, time.first) - 1, bisect_left(self.begins, time.last + 1)
        begin, end = self.begins[own], self._begin(after)
        if not own and (begin, end) == (time.first, time.last + 1):
            end = self._begin(after + 1)  # "previously, no nodule"
        return begin, end

    def _begin(self, number: int) -> int:
        return self.begins[number] if number < len(self.begins) else len(self.sentence.raw)


def _begins(sentence: Sentence, times: Sequence[_Time]) -> list[int]:
    """Where each statement begins: each part of the sentence, and each "now" or "but"."""
    begins = {one.first for one in times if one.kind in (_NOW, _TURN)}
    begins.update(place for place in range(len(sentence.raw)) if not place or ends_part(sentence, place - 1))
    return sorted(begins)


def _first_of(found: Found) -> int:
    return found.first
