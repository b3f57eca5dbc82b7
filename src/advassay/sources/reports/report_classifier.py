"""One report → what it says of every finding, each decision with the phrase that made it."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

from advassay.sources.reports.markup import plain
from advassay.sources.reports.negation import Decision, Found, Scopes, Span
from advassay.sources.reports.phrase_matcher import Automaton, WholeSentence
from advassay.sources.reports.sections import Sections
from advassay.sources.reports.sentences import Sentence, Splitter
from advassay.sources.reports.temporality import Times
from advassay.sources.reports.vocabulary import FINDINGS, Finding, Vocabulary
from advassay.sources.reports.word_normaliser import Normaliser, is_number

_WORD = re.compile(r"[^\W\d_]+")

LABELS = ("norm", *FINDINGS)
"""Columns that a report gives."""


class Evidence(NamedTuple):
    """Why a label is what it is. It names entries of the vocabulary and places in the text, never the text itself.

    label; decision; entry: the phrase as the vocabulary writes it; cue: the cue that governs it, or None; field: which
    of the report's texts (0, 1, …); start, end: characters of the phrase in that text, end exclusive; cue_start,
    cue_end: of the cue, or None.
    """

    label: str
    decision: str
    entry: str
    cue: str | None
    field: int
    start: int
    end: int
    cue_start: int | None
    cue_end: int | None


class ReportLabels(NamedTuple):
    """decisions: one per name of LABELS (present | absent | uncertain | not stated); evidence: one for each that is
    stated."""

    decisions: tuple[str, ...]
    evidence: tuple[Evidence, ...]


class _Entry(NamedTuple):
    finding: str
    phrase: str
    says: Decision | None  # None: looks like the finding and is not


class ReportReader:
    """Reads reports with one vocabulary. Compiled once, then about 10⁴ short reports a second and core.

    >>> from advassay.sources.reports import load_vocabulary
    >>> reader = ReportReader(load_vocabulary("en"))
    >>> dict(zip(LABELS, reader.read(["Emphysema. No evidence of tuberculosis."]).decisions))["tuberculosis"]
    'absent'
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._words = Normaliser(
            vocabulary.stemmer,
            fold_accents=vocabulary.fold_accents,
            replace=vocabulary.replace,
            ignore=vocabulary.ignore,
            contractions=vocabulary.contractions,
            stemmed_text=vocabulary.stemmed_text,
        )
        self._splitter = Splitter(
            self._words,
            abbreviations=vocabulary.abbreviations,
            answers=vocabulary.answers,
            continues=vocabulary.continues,
        )
        self._sections = Sections(vocabulary.headings)
        self._lead_ins: Automaton[None] = Automaton(self._words, vocabulary.gap, exact=True)
        for phrase in vocabulary.headings.lead_ins:
            self._lead_ins.add(phrase, None)
        self._scopes = Scopes(vocabulary.context, self._words, vocabulary.gap)
        self._times = Times(vocabulary.context, self._words, vocabulary.gap)
        self._privatives = frozenset(self._words.fold(word) for word in vocabulary.privatives)
        self._keywords: Automaton[_Entry] = Automaton(self._words, vocabulary.gap)
        for name, finding in vocabulary.findings.items():
            for phrase, says in _phrases(finding):
                self._keywords.add(phrase, _Entry(name, phrase, says))
        self._same_shadow = {
            name: frozenset(self._words.fold(word) for word in finding.same_shadow)
            for name, finding in vocabulary.findings.items()
        }
        norm = vocabulary.norm
        self._norm_phrases = norm.phrases + norm.beside
        self._sufficient = len(norm.phrases)
        self._norm = WholeSentence(self._words, self._norm_phrases, norm.sets, norm.inflections)

    def read(self, texts: Sequence[str | None]) -> ReportLabels:
        """Labels of one report. texts: its fields in order (findings, impression, …); None where one is empty."""
        sentences = [(field, one) for field, text in enumerate(texts) if text for one in self._sentences(text)]
        stated: dict[str, Evidence] = {}
        for place, (field, sentence) in enumerate(sentences):
            following = sentences[place + 1][1] if sentences[place + 1 : place + 2] else None
            if following is not None and sentences[place + 1][0] != field:
                following = None
            for evidence in self._mentions(field, sentence, following):
                earlier = stated.get(evidence.label)
                if earlier is None or _STRENGTH[evidence.decision] > _STRENGTH[earlier.decision]:
                    stated[evidence.label] = evidence
        norm = self._read_norm(sentences, stated)
        if norm is not None:
            stated["norm"] = norm
        said = tuple(stated[label].decision if label in stated else Decision.not_stated.value for label in LABELS)
        return ReportLabels(said, tuple(stated[label] for label in LABELS if label in stated))

    def known_words(self, text: str) -> int:
        """How many words of a text the vocabulary knows, names of findings and function words alike."""
        return sum(self._knows(match[0]) for match in _WORD.finditer(plain(text)))

    def _knows(self, word: str) -> bool:
        raw, stem = self._words.known(word)
        return not stem or self._keywords.knows(raw, stem) or self._scopes.knows(raw, stem) or self._norm.knows(stem)

    def _sentences(self, text: str) -> list[Sentence]:
        """The sentences of a text that speak of this examination."""
        text = plain(text)
        kept = []
        for part in self._sections.parts(text):
            for number, sentence in enumerate(self._splitter.sentences(text, part.start, part.end)):
                aside = number == 0 if part.aside_until is None else sentence.starts[0] < part.aside_until
                if not aside and not any(first == 0 for first, _, _ in self._lead_ins.find(sentence)):
                    kept.append(sentence)
        return kept

    def _mentions(self, field: int, sentence: Sentence, following: Sentence | None) -> list[Evidence]:
        hits = list(self._keywords.find(sentence))
        if not hits:
            return []
        if following is not None and self._times.goes_on(sentence, following, self._scopes.cues):
            sentence = sentence.joined(following)
        cues = self._scopes.cues(sentence)
        hits = [hit for hit in hits if hit[2].says is not None or self._excludes(sentence, cues, hit[0], hit[1])]
        hits = _longest(hits)
        mentions = [(first, last) for first, last, _ in hits]
        cues = self._times.told(sentence, cues, mentions)
        found = (self._evidence(field, sentence, cues, mentions, *hit) for hit in hits)
        return [evidence for evidence in found if evidence is not None]

    def _excludes(self, sentence: Sentence, cues: Sequence[Found], first: int, last: int) -> bool:
        """Whether a phrase means what it says: not "non-calcified nodule", nor "calcified aorta and nodule"."""
        if first and sentence.raw[first - 1] in self._privatives:
            return False
        inside = any(
            first < found.first <= last and (found.cue.makes is Decision.absent or found.cue.breaks) for found in cues
        )
        return not inside and not self._scopes.crosses(sentence, first, last)

    def _evidence(
        self,
        field: int,
        sentence: Sentence,
        cues: Sequence[Found],
        mentions: Sequence[Span],
        first: int,
        last: int,
        entry: _Entry,
    ) -> Evidence | None:
        governing = self._scopes.governing(sentence, cues, (first, last), mentions)
        decision = _decide(entry.says, governing.cue.makes if governing else None)
        if decision is None:
            return None
        cue: tuple[str | None, int | None, int | None] = (None, None, None)
        if governing:
            cue = (governing.cue.entry, sentence.starts[governing.first], sentence.ends[governing.last])
        if decision is Decision.present:
            doubt = self._doubt(sentence, cues, entry.finding, first, last)
            if doubt is not None:
                decision, cue = Decision.uncertain, doubt
        place = (sentence.starts[first], sentence.ends[last])
        return Evidence(entry.finding, decision.value, entry.phrase, cue[0], field, *place, *cue[1:])

    def _doubt(
        self, sentence: Sentence, cues: Sequence[Found], finding: str, first: int, last: int
    ) -> tuple[str, int, int] | None:
        """What makes a doubt of a statement without a cue: a question mark, or an alternative beside the finding."""
        if sentence.question is not None:
            return "?", sentence.question, sentence.question + 1
        place = self._scopes.alternative(sentence, cues, (first, last), self._same_shadow[finding])
        return None if place is None else (sentence.raw[place], sentence.starts[place], sentence.ends[place])

    def _read_norm(self, sentences: list[tuple[int, Sentence]], stated: dict[str, Evidence]) -> Evidence | None:
        """Present: nothing but norm phrases. Absent or uncertain: a finding is."""
        for decision in (Decision.present, Decision.uncertain):
            against = next((one for one in stated.values() if one.decision == decision), None)
            if against is not None:
                says = Decision.absent if decision is Decision.present else Decision.uncertain
                return against._replace(label="norm", decision=says.value)
        return self._strict_norm(sentences)

    def _strict_norm(self, sentences: list[tuple[int, Sentence]]) -> Evidence | None:
        evidence = None
        for field, sentence in sentences:
            if all(map(is_number, sentence.stems)):  # the number of a list's item
                continue
            number = self._norm.match(sentence)
            if number is None or sentence.question is not None:
                return None
            if number < self._sufficient and evidence is None:
                place = (sentence.starts[0], sentence.ends[-1])
                entry = self._norm_phrases[number]
                evidence = Evidence("norm", Decision.present.value, entry, None, field, *place, None, None)
        return evidence


_STRENGTH = {Decision.absent.value: 1, Decision.uncertain.value: 2, Decision.present.value: 3}


def _phrases(finding: Finding) -> list[tuple[str, Decision | None]]:
    return [
        *((phrase, Decision.present) for phrase in finding.keywords),
        *((phrase, Decision.uncertain) for phrase in finding.uncertain),
        *((phrase, Decision.absent) for phrase in finding.absent),
        *((phrase, None) for phrase in finding.not_this),
    ]


_LONGEST = 60
"""More words than any phrase has, with what its gaps skip."""


def _longest(hits: list[tuple[int, int, _Entry]]) -> list[tuple[int, int, _Entry]]:
    """Of hits from left to right: mentions that are not inside a longer one of the same finding; of equal ones, that of
    the later kind in `Finding`."""
    kept = []
    for place, (first, last, entry) in enumerate(hits):
        near = bisect_left(hits, first - _LONGEST, key=itemgetter(0)), bisect_right(hits, first, key=itemgetter(0))
        covered = any(
            other.finding == entry.finding
            and last <= end
            and (end - start > last - first or (number > place and (start, end) == (first, last)))
            for number, (start, end, other) in enumerate(hits[slice(*near)], near[0])
        )
        if not covered and entry.says is not None:
            kept.append((first, last, entry))
    return kept


def _decide(says: Decision | None, cue: Decision | None) -> Decision | None:
    """What a phrase under a cue says; None: nothing about this image."""
    if cue is Decision.not_stated or says is None:
        return None
    return says if says is Decision.absent or cue is None else cue
