"""Markup, entities and escaped line breaks → plain text of the same length, so that places in it stay true."""

from __future__ import annotations

import html
import re

_SOFT_HYPHEN = "\u00ad"
"""Joins what stands on both sides of it: the tokenizer takes it for a letter and drops it."""
_BLOCKS = re.compile(
    r"address|article|blockquote|body|br|caption|center|d[dlt]|div|fieldset|footer|form|h[1-6r]|head|header|html|li|main"
    r"|ol|option|p|pre|section|table|tbody|td|tfoot|th|thead|title|tr|ul",
    re.IGNORECASE,
)
"""Names of HTML elements that begin a line of their own."""
_BREAKS = frozenset("\n\r\u0085\u2028\u2029\x0b\x0c\x1c\x1d\x1e")

_MARKUP = re.compile(
    r"(?P<comment><!--.*?-->|<!\[CDATA\[|\]\]>|<[!?][^<>]{0,200}>)"
    r"|(?:<|&(?:amp;)*lt;)/?(?P<tag>[A-Za-z][A-Za-z0-9:]{0,20})(?:\s[^<>]{0,300}?|\s*/?)(?:>|&(?:amp;)*gt;)"
    r"|&(?:amp;)*(?P<entity>#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});"
    # \n that was escaped, HL7's \.br\ and \X0D\ (HL7 v2 chapter 2.7), the carriage return of Excel's XML
    r"|(?P<line>(?:\\r)?\\n|\\r(?![a-z])|\\\.(?:br|sp\+?\d*)\\|\\X0[AD]\\|_x000[aAdD]_)"
    r"|(?P<space>\\t(?![a-z]))"
    r"|(?P<newline>\r\n|[\r\u0085\u2028\u2029\x0b\x0c\x1c\x1d\x1e])"
    # a word that a hyphen divides at a line's end: "pneu-" + "monia"
    r"|(?<=[^\W\d_])(?P<hyphen>[-\u2010]\r?\n[^\S\n]*)(?=[^\W\d_])",
    re.DOTALL,
)
_ANY = re.compile("[<&\\\\_\r\u0085\u2028\u2029\x0b\x0c\x1c\x1d\x1e]|[-\u2010]\n")


def plain(text: str) -> str:
    """`text` with HTML tags, entities and escaped line breaks turned into what they stand for, character by character.

    The result is as long as `text`: what is left over of a tag or an entity becomes white space, or soft hyphens
    inside a word. "<" and "&" that are no markup stay.

    >>> plain("No effusion<br>Neumon&iacute;a").split()
    ['No', 'effusion', 'Neumoní\\xad\\xad\\xad\\xad\\xad\\xad\\xada']
    """
    return _MARKUP.sub(_decoded, text) if _ANY.search(text) else text


def _decoded(match: re.Match[str]) -> str:
    length = match.end() - match.start()
    kind = match.lastgroup
    if kind == "tag":
        if _BLOCKS.fullmatch(match["tag"]):
            return "\n\n".ljust(length)  # an empty line always ends a sentence
        return _filled(match, length)
    if kind == "entity":
        return _entity(match, length)
    if kind == "line":
        return "\n".ljust(length)
    if kind == "newline":
        return "\n".rjust(length)
    if kind == "hyphen":
        return _SOFT_HYPHEN * length if match.string[match.end()].islower() else match[0]
    return " " * length


def _filled(match: re.Match[str], length: int) -> str:
    """An inline tag: nothing inside a word ("H<sub>2</sub>O"), else a space."""
    before, after = match.string[match.start() - 1 : match.start()], match.string[match.end() : match.end() + 1]
    return (_SOFT_HYPHEN if before.isalnum() and after.isalnum() else " ") * length


def _entity(match: re.Match[str], length: int) -> str:
    sign = html.unescape(f"&{match['entity']};")
    if len(sign) != 1:
        return match[0]  # unknown to HTML: "&foo;" is what somebody wrote
    if sign in _BREAKS:
        return "\n".ljust(length)
    return sign + (_SOFT_HYPHEN if sign.isalpha() else " ") * (length - 1)
