"""The vocabulary of one language, as its YAML file states it. Adding a language is adding a file.

Phrases are written in ordinary words of any form; the language's stemmer takes care of the others:

    pulmonary nodule        these two words in a row
    aorta|aortic            either word
    tubercul*               any word that begins so
    mild?                   a word that may be missing
    =ruled                  this form only, not its other forms
    aorta .. tortuous       up to `gap` other words between, in the same sentence (... up to 2 × gap)
    {x}, {x}*               cues: one of the words of set x, up to three of them; {year}: a year, 1900 to 2099
    {x}, {x}+, {x}?, {x}*   norm phrases: one of the words of set x, one or more, at most one, any number

The words of findings stand for all forms of themselves. The words of cues (context) stand for this form only:
"resolved" is not "resolving"; norm phrases accept no more than the endings in `inflections`.
"""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import yaml
from pydantic import Field, ValidationError, field_validator

from advassay.errors import SourceError
from advassay.spec.base_model import Frozen
from advassay.yaml_limits import load_limited

FINDINGS = (
    "pneumosclerosis",
    "emphysema",
    "fibrosis",
    "pneumonia",
    "focal_shadows",
    "bronchitis",
    "tuberculosis",
    "aortic_rotation",
)
"""Findings of the reference study, as columns: its seven, and the elongated or rotated aorta that X-AO needs."""

Phrases = tuple[str, ...]


class Cues(Frozen):
    """Words that change what is said of a finding, by where they stand."""

    before: Phrases = ()
    """Govern what follows them: "no evidence of"."""
    before_only: Phrases = ()
    """The same, but where nothing follows them they do not look back: "resolution of"."""
    before_near: Phrases = ()
    """Govern what follows them up to a comma or an "and": "is not"."""
    after: Phrases = ()
    """Govern what stands before them: "was not seen"."""
    closing: Phrases = ()
    """The same, where nothing follows them in their part of the sentence: "but possible"."""


class Times(Frozen):
    """When something was so: "not seen in March, present now"."""

    earlier: Phrases = ()
    """Adverbs of an earlier time, where a statement begins or ends with them, or beside what denies: "previously"."""
    exams: Phrases = ()
    """Name an earlier time where a statement begins or ends with them: "on the prior exam", "two years ago"."""
    within: Phrases = ()
    """Ignored words one of which stands before `exams`, if these do not begin a statement: "en" estudio previo; none =
    no such word is needed."""
    dated: Phrases = ()
    """The same as `exams`; a finding with nothing but such a date is history: "pneumonia in 2017"."""
    now: Phrases = ()
    """Name the time of this examination."""
    turns: Phrases = ()
    """Words between a statement about an earlier time and one about now: "but"."""
    compared: Phrases = ()
    """Words before an earlier time that compare with it: "as before"."""
    described: Phrases = ()
    """Words that an earlier time belongs to when it stands beside them: "previously described"."""
    denials: Phrases = ()
    """Words that deny the sight of a finding, not its existence: "no", but not "resolved"."""
    ended: Phrases = ()
    """Words by which a denial says that the finding was there: "no longer"."""
    affirms: Phrases = ()
    """Words that a statement may hold which says no more than "now it is there", besides those of `presence`."""
    lasting: Phrases = ()
    """Words of a sentence that say of a finding with a date that it is there still: "stable"."""


class Context(Frozen):
    """Cues and their scope, after NegEx (Chapman et al. 2001) and ConText (Harkema et al. 2009)."""

    sets: dict[str, Phrases] = {}
    """Words that cues name as {name}."""
    negation: Cues = Cues()
    uncertainty: Cues = Cues()
    undecided: Cues = Cues()
    """A negated exclusion ("cannot be ruled out"): uncertain, whatever else is said of the finding."""
    elsewhere: Cues = Cues()
    """The finding is not on this image: history, family, a question put to the radiologist. It counts as not stated."""
    pseudo: Phrases = ()
    """Contain a cue but are none: negated change ("no improvement in"), other times ("not seen on the prior exam")."""
    breaks: Phrases = ()
    """End every scope ("but")."""
    times: Times = Times()
    reach: int = Field(12, ge=1)
    """Words between a cue and a finding at most."""
    coordinators: Phrases = ()
    """ "and"."""
    alternators: Phrases = ()
    """ "or": make an enumeration of what a negation stands before, and a doubt of what stands beside a finding."""
    ungoverned: Phrases = ()
    """Words that make a statement of its own of what follows a comma or "and" ("no effusion, mild emphysema"; in
    Russian also nominatives), so that a negation before it does not govern it."""
    details: Phrases = ()
    """Words of place, side, number and size: the same, unless an enumeration with "or" follows."""
    qualities: Phrases = ()
    """Adjectives of findings: an "or" behind one, before the finding, makes no doubt ("acute or chronic bronchitis").
    """
    presence: Phrases = ()
    """Verbs of seeing: what follows "is seen and", or stands between a comma and "is seen", is its own statement."""
    genitive: bool = False
    """A denied noun has a form of its own (Russian), so that a negation after several of them governs them all, but
    for forms in `ungoverned`."""


class Headings(Frozen):
    """Headings that divide a report, in the words that stand before a colon or alone on a line."""

    aside: Phrases = ()
    """What follows is not a finding of this examination: history, indication, comparison, technique."""
    findings: Phrases = ()
    conclusion: Phrases = ()
    organs: Phrases = ()
    """Part of what they head: "Aorta: tortuous"."""
    lead_ins: Phrases = ()
    """Set the sentence aside that they begin, without a colon."""


class Finding(Frozen):
    """What names a finding, and what only looks like it."""

    keywords: Phrases = Field(min_length=1)
    uncertain: Phrases = ()
    """Keywords that say no more than "perhaps"."""
    absent: Phrases = ()
    """Phrases that deny the finding by themselves."""
    same_shadow: Phrases = ()
    """Words for another name of the same shadow: beside them "or" makes no doubt ("scarring or atelectasis")."""
    not_this: Phrases = ()
    """Longer phrases that contain a keyword and mean something else ("subcutaneous emphysema"). Their words skipped by
    `..` hold no "and", comma, preposition that breaks, or negation: "non-calcified nodule" is a nodule."""


class Norm(Frozen):
    """The strict norm: every sentence of the report is one of these phrases, and at least one is in `phrases`."""

    sets: dict[str, Phrases] = {}
    phrases: Phrases = Field(min_length=1)
    beside: Phrases = ()
    """Say nothing abnormal, but do not make a norm by themselves ("two views of the chest")."""
    inflections: Phrases = ()
    """Endings by which a word may differ from the vocabulary's; none = every form of the same stem."""


class Vocabulary(Frozen):
    """How reports of one language are read."""

    language: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    stemmer: str | None = None
    """Snowball algorithm; not given = words compare as written."""
    fold_accents: bool = False
    replace: dict[str, str] = {}
    """Single characters that stand for others."""
    ignore: Phrases = ()
    contractions: dict[str, str] = {}
    """Endings of words with an apostrophe, and what such a word is read as: n't → not."""
    stemmed_text: bool = False
    """Texts may hold stems instead of words."""
    abbreviations: Phrases = ()
    """Words whose full stop ends no sentence before a small letter."""
    answers: Phrases = ()
    """Words that answer a question mark before them: "Pneumonia? No."."""
    continues: Phrases = ()
    """Words that end no line of their own: what follows a line break after them goes on."""
    privatives: Phrases = ()
    """Words that turn the word after them into its opposite: "non" calcified."""
    headings: Headings = Headings()
    gap: int = Field(4, ge=0)
    """Words that `..` may skip."""
    context: Context = Context()
    findings: dict[str, Finding]
    norm: Norm

    @field_validator("findings")
    @classmethod
    def _known(cls, value: dict[str, Finding]) -> dict[str, Finding]:
        if unknown := set(value) - set(FINDINGS):
            raise ValueError(f"findings: names out of {list(FINDINGS)}, got {sorted(unknown)}")
        return value

    @field_validator("replace")
    @classmethod
    def _single(cls, value: dict[str, str]) -> dict[str, str]:
        if long := [sign for sign in value if len(sign) != 1]:
            raise ValueError(f"replace: single characters are replaced, got {long}")
        return value


def languages() -> list[str]:
    """Languages that are shipped.

    >>> languages()
    ['en', 'es', 'ru']
    """
    return sorted(file.name.removesuffix(".yaml") for file in _shipped().iterdir() if file.name.endswith(".yaml"))


def load_vocabulary(language: str | Path) -> Vocabulary:
    """The vocabulary of a shipped language ("en"), or of a YAML file.

    Raises SourceError for an unknown language or a file that is not a vocabulary.
    """
    name = str(language)
    if name in languages():
        return _parse(name, (_shipped() / f"{name}.yaml").read_text(encoding="utf-8"))
    path = Path(name)
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        raise SourceError(
            f"language: expected one of {languages()} or an existing vocabulary file (.yaml), got {name!r}.",
            "Copy the vocabulary of a shipped language and translate it.",
        )
    try:
        return _parse(name, path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"language: expected a readable UTF-8 file, got {name}.", str(error)) from error


def _shipped() -> Traversable:
    return resources.files("advassay.sources.reports") / "vocabularies"


def _parse(name: str, text: str) -> Vocabulary:
    try:
        # BaseLoader makes every scalar text: "no" and "on" are words here, not false and true
        return Vocabulary.model_validate(load_limited(text, yaml.BaseLoader))
    except ValidationError as error:
        broken = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:3])
        raise SourceError(
            f"language: {name} is no vocabulary: {broken}.", "See the shipped ones for the form."
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise SourceError(
            f"language: {name} is no vocabulary: it is not readable as YAML{where}.",
            "See the shipped ones for the form.",
        ) from None
