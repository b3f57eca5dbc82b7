"""A CSV or Parquet table as columns with types, its ids kept as text; a hint for a name that is not there.

Text files are read as people have them: encoding, separator, line ends and quotes. What Polars reads without doubt,
Polars reads. What it would refuse or guess at (quotes inside a field, backslashes before quotes, carriage returns
alone) is read field by field, or refused with the line. Messages quote no content.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import gzip
import io
import mmap
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa

from advassay.errors import SourceError
from advassay.parquet_limits import TooLarge, check_decoded_size, most_decoded

# ---- tables ----------------------------------------------------------------------------------------------------------


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question that names what of `known` is closest to `name`, with a space after it; empty where nothing is close.

    >>> did_you_mean("lc2500", ["lc25000", "pcam"]), did_you_mean("Sex", ["age", "sex"]), did_you_mean("x", ["age"])
    ("Did you mean 'lc25000'? ", "Did you mean 'sex'? ", '')
    """
    plain = {one.lower(): one for one in reversed(list(known))}
    close = difflib.get_close_matches(name.lower(), plain, n=1)
    return f"Did you mean {plain[close[0]]!r}? " if close else ""


def require_column(columns: list[str], wanted: str, argument: str) -> None:
    """Raise SourceError unless `wanted` is one of `columns`."""
    if wanted not in columns:
        fix = f"{did_you_mean(wanted, columns)}There are: {columns}."
        raise SourceError(f"{argument}: expected one of the columns, got {wanted!r}.", fix)


_WHOLE = r"^-?(0|[1-9]\d*)$"  # "007" is an id, not the number 7
_NUMBER = r"^-?(0|[1-9]\d{0,15})?(\.\d*)?([eE][+-]\d+)?$"  # and so are "12E3" and numbers a float cannot hold
_ID = re.compile(r"(?i:(^|_)u?id$|(study|series|instance|image|patient|frame|class)uid$)|[a-z]UID$")
_TRUTH = {"true": True, "false": False}


_BROKEN = (pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException)  # a broken page can panic

MAX_BYTES = 1 << 33
"""8 GiB, decompressed: several times the reports of a city's archive."""
MAX_CELLS = 250_000_000
"""Rows × columns that a Parquet file may declare: it is a few bytes long whatever it declares."""


def read_table(
    path: Path, text: frozenset[str] = frozenset(), encoding: str | None = None, *, nul: bool = True
) -> pl.DataFrame:
    """Read a .csv, .tsv (either also as .gz) or .parquet file.

    encoding: of a text file; None: as its byte order mark says, else UTF-8. Its separator is the comma, semicolon, tab
    or bar that its header holds most of, or what a first line "sep=;" says. nul: whether its text may hold NUL
    characters (a path may, and is a row with a reason then; a report is damaged).

    Text is trimmed and empty text is null; nested and binary Parquet columns are not read. A CSV column becomes
    numbers (or true/false) only if every value is one and nothing would be lost by it; columns named in `text` and
    ids (`id`, `*_id`, `*_uid`, DICOM's `…UID`) always stay text.
    Raises SourceError if the file is missing, is not such a table, is in another encoding (which is named where it can
    be guessed), names a column twice or is larger than the limits above.
    """
    if not path.is_file():
        raise SourceError(f"path: no such table: {path}.", "Check the path and --data.")
    try:
        if path.suffix.lower() == ".parquet":
            return _trimmed(_read_parquet(path))
        frame = _trimmed(_read_text(path, encoding, nul))
    except Refused as refused:
        raise SourceError(f"path: {refused}, got {path}.", refused.fix) from None
    except (*_BROKEN, UnicodeDecodeError, OSError, EOFError, zlib.error, MemoryError) as error:
        raise SourceError(
            f"path: expected a readable CSV (UTF-8) or Parquet table, got {path} ({_first_line(error)}).",
            "Save it again as UTF-8 CSV with one header line and the same number of fields in every line.",
        ) from error
    return frame.with_columns(_typed(frame[name]) for name in frame.columns if name not in text and not is_id(name))


def is_id(column: str) -> bool:
    """Whether a column's name says that it holds identifiers.

    >>> [is_id(name) for name in ("slide_id", "Patient ID", "StudyInstanceUID", "image uid", "age", "pleural_fluid")]
    [True, True, True, True, False, False]
    """
    return bool(_ID.search(column.strip().replace(" ", "_")))


def _read_text(path: Path, encoding: str | None, nul: bool) -> pl.DataFrame:
    if path.suffix.lower() == ".gz":
        return read_delimited(_decompressed(path), encoding, nul=nul)
    if path.stat().st_size > MAX_BYTES:
        raise Refused(f"at most {MAX_BYTES >> 30} GiB")
    return read_delimited(path, encoding, nul=nul)


def _decompressed(path: Path) -> bytes:
    most = min(MAX_BYTES, most_decoded(path.stat().st_size))
    with gzip.open(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise Refused(f"at most {most >> 20:,} MiB once decompressed")
    return data


def _read_parquet(path: Path) -> pl.DataFrame:
    declared = pl.scan_parquet(path, glob=False)
    columns, rows = declared.collect_schema(), declared.select(pl.len()).collect().item()
    if rows * len(columns) > MAX_CELLS:
        raise Refused(f"at most {MAX_CELLS:,} rows × columns are needed, {rows:,} × {len(columns)} are declared")
    flat = [name for name, kind in columns.items() if not (kind.is_nested() or kind == pl.Binary)]
    try:
        check_decoded_size(path, flat)
    except TooLarge as problem:
        raise Refused(str(problem)) from None
    return declared.select(flat).collect()


def _trimmed(frame: pl.DataFrame) -> pl.DataFrame:
    names = {name: name.lstrip("\ufeff").strip() for name in frame.columns}
    text = pl.col(pl.String).str.strip_chars()
    return frame.rename(names).with_columns(pl.when(text != "").then(text))


def _typed(column: pl.Series) -> pl.Series:
    given = column.drop_nulls()
    if given.is_empty():
        return column
    if given.str.contains(_WHOLE).all() and given.str.len_chars().max() <= 18:  # type: ignore[operator]
        return column.cast(pl.Int64)
    if given.str.contains(_NUMBER).all() and given.str.contains(r"\d").all():
        return column.cast(pl.Float64)
    if given.str.to_lowercase().is_in(list(_TRUTH)).all():
        return column.str.to_lowercase().replace_strict(_TRUTH, return_dtype=pl.Boolean)
    return column


def _first_line(error: BaseException) -> str:
    """What a reader says, without the part of the table that it quotes."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return re.sub(r"`.*", "…", line)[:200]


# ---- delimited text --------------------------------------------------------------------------------------------------

SEPARATORS = ",;\t|"
MAX_COLUMNS = 4096
MAX_HEADER_BYTES = 1 << 20

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order marks; UTF-32 before UTF-16, whose mark begins the same way."""
_SEPARATOR_LINE = re.compile(rb"\A(?:\xef\xbb\xbf)?\"?sep=([^\w\s\"]|\t)\"?\r?\n", re.IGNORECASE)
"""Excel's first line "sep=;"."""
_ODD_QUOTE = re.compile(rb'[^,;\t|\r\n"]"(?=[^,;\t|\r\n"])')
"""A quote inside a field that is not doubled (RFC 4180, section 2, rules 5 to 7)."""
_SAMPLE = 1 << 16

Content = bytes | mmap.mmap


class Refused(Exception):
    """A table that could be read, but must not be; says which rule it breaks. fix: what to do next."""

    def __init__(self, problem: str, fix: str = "Save the table again, or split it.") -> None:
        super().__init__(problem)
        self.fix = fix


def read_delimited(source: Path | bytes, encoding: str | None = None, *, nul: bool = True) -> pl.DataFrame:
    """The columns of a comma, semicolon, tab or bar separated file, as text; empty fields are null.

    source: a file, or its bytes. encoding: of its text; None: as its byte order mark says, else UTF-8. A first line
    "sep=;" names the separator. nul: whether NUL characters may stand in the text. Raises Refused for text in another
    encoding, NUL characters, a line with more fields than the header and quotes that do not end, each with the line;
    Polars' own errors for the rest.
    """
    if isinstance(source, bytes):
        return _read(source, source, encoding, nul)
    with source.open("rb") as file:
        if not source.stat().st_size:
            return _read(b"", b"", encoding, nul)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _read(source, content, encoding, nul)


def _read(source: Path | bytes, content: Content, encoding: str | None, nul: bool) -> pl.DataFrame:
    mark = next((name for mark, name in _MARKS.items() if content[: len(mark)] == mark), None)
    encoding = _checked(encoding) if encoding else mark or "utf-8"
    if encoding not in ("utf-8", "utf-8-sig"):
        source = content = _recoded(content[:], encoding)
    if b"\r" in content[:MAX_HEADER_BYTES] and content.find(b"\n") < 0:
        source = content = content[:].replace(b"\r", b"\n")  # line ends of old Macintosh programs
    _refuse_nul(content, nul)
    stated = _SEPARATOR_LINE.match(content)
    begin = stated.end() if stated else 0
    header = _header(content, begin)
    separator = stated[1].decode("latin-1") if stated else _separator(header)
    _check_names(next(_records(header, separator), []))
    if _ODD_QUOTE.search(content):
        return _read_by_field(content[begin:], separator)
    try:
        return pl.read_csv(content[begin:] if stated else source, separator=separator, infer_schema=False)
    except pl.exceptions.ComputeError:
        # says what is wrong and where, or reads what is only unusual
        return _read_by_field(content[begin:], separator)


def _checked(encoding: str) -> str:
    try:
        return codecs.lookup(encoding).name
    except LookupError:
        raise Refused(
            f"expected a known encoding, got {encoding!r}",
            "Name one, such as utf-8, cp1251, cp1252, koi8-r or utf-16.",
        ) from None


def _recoded(data: bytes, encoding: str) -> bytes:
    try:
        return data.decode(encoding).encode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Refused(f"text in {encoding} is needed, line {line} is not", "Name the encoding it has.") from None


def _refuse_nul(content: Content, allowed: bool) -> None:
    place = content.find(b"\0")
    if place < 0:
        return
    sample = content[:_SAMPLE]
    if sample.count(b"\0") > len(sample) // 5:
        order = "le" if sample[1::2].count(b"\0") >= sample[::2].count(b"\0") else "be"
        raise Refused(
            "a readable CSV (UTF-8) is needed, the text seems to be UTF-16 without a byte order mark",
            f"Save it as UTF-8, or name its encoding: utf-16-{order}.",
        )
    if allowed:
        return
    line = content[:place].count(b"\n") + 1
    raise Refused(f"text without NUL characters is needed, line {line} holds one", "Export the table again.")


def _header(content: Content, begin: int) -> str:
    end = content.find(b"\n", begin)
    line = content[begin : begin + MAX_HEADER_BYTES + 1] if end < 0 else content[begin:end]
    if len(line) > MAX_HEADER_BYTES:
        raise Refused(f"a header line of at most {MAX_HEADER_BYTES >> 20} MiB is needed")
    if b"\r" in line.rstrip(b"\r"):
        raise Refused("lines that end in a line feed are needed (not in a carriage return alone)")
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _other_encoding(content) from None


def _separator(header: str) -> str:
    """The separator that stands most often outside quotes."""
    bare = re.sub(r'"(?:[^"]|"")*"', "", header)
    return max(SEPARATORS, key=bare.count)


def _check_names(names: list[str]) -> None:
    if len(names) > MAX_COLUMNS:
        raise Refused(f"at most {MAX_COLUMNS} columns are needed, {len(names):,} are there")
    given = [name.strip() for name in names if name.strip()]
    if repeated := sorted({name for name in given if given.count(name) > 1}):
        raise Refused(f"each column name once is needed, {repeated[0][:60]!r} stands there twice")


def _read_by_field(data: bytes, separator: str) -> pl.DataFrame:
    """Field by field: quotes doubled or literal as in RFC 4180, else with a backslash before them."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _other_encoding(data) from None
    try:
        return _frame(_records(text, separator))
    except Refused as refused:
        if '\\"' not in text:
            raise
        try:
            return _frame(_records(text, separator, backslash=True))
        except Refused:
            raise refused from None


def _records(text: str, separator: str, *, backslash: bool = False) -> Iterator[list[str]]:
    """The header, then every record that is not empty. Raises Refused, with the line, for one that does not fit."""
    quotes = _BackslashQuotes if backslash else csv.excel
    before = csv.field_size_limit(sys.maxsize)
    try:
        lines = io.StringIO(text, newline="")
        reader = csv.reader(lines, quotes, delimiter=separator, strict=True)
        width, line = 0, 1
        while True:
            try:
                record = next(reader, None)
            except csv.Error:
                raise Refused(f"a readable CSV is needed, the quotes from line {line} on do not pair") from None
            if record is None:
                return
            width = width or len(record)
            if len(record) > width:
                raise Refused(
                    f"a readable CSV is needed, line {line} has {len(record)} fields and the header {width}",
                    "Put quotes around text that holds the separator.",
                )
            line = reader.line_num + 1
            if record:
                yield record + [""] * (width - len(record))
    finally:
        csv.field_size_limit(before)


class _BackslashQuotes(csv.excel):
    """Quotes inside quotes have a backslash before them, as MySQL and Hive export them."""

    escapechar = "\\"
    doublequote = False


def _frame(records: Iterator[list[str]]) -> pl.DataFrame:
    names = next(records, [])
    columns: list[list[str]] = [[] for _ in names]
    for record in records:
        for column, value in zip(columns, record, strict=True):
            column.append(value)
    return pl.DataFrame(dict(zip(names, columns, strict=True)), schema=dict.fromkeys(names, pl.String)).with_columns(
        pl.all().replace("", None)
    )


_PLAIN_RUSSIAN = "оеаинтсрвлкмдпуяыь"
_KNOWN = {
    "cp1251": "Windows Cyrillic",
    "koi8-r": "KOI8-R, Cyrillic",
    "cp866": "DOS Cyrillic",
    "cp1252": "Windows Western European",
}


def _other_encoding(content: Content) -> Refused:
    """What to say of text that is not UTF-8: in which encoding it seems to be."""
    sample = content[:]
    line = next((number for number, one in enumerate(sample.split(b"\n"), 1) if not _is_utf8(one)), 1)
    name = _guessed(b" ".join(re.findall(rb"[A-Za-z\x80-\xff]*[\x80-\xff][A-Za-z\x80-\xff]*", sample)[:10_000]))
    return Refused(
        f"a readable CSV (UTF-8) is needed, line {line} is not; the text seems to be {name} ({_KNOWN[name]})",
        f"Save it as UTF-8, or name its encoding: `advassay label --encoding {name}`, or `encoding: {name}` under "
        "`reports` of a study.",
    )


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _guessed(words: bytes) -> str:
    """The encoding in which these words, each with a letter beyond ASCII, read most like words."""
    letters = re.sub(rb"[^A-Za-z\x80-\xff]", b"", words)
    if sum(sign < 128 for sign in letters) * 2 > len(letters):
        return "cp1252"  # accented letters among plain ones
    return max(("cp1251", "koi8-r", "cp866"), key=lambda name: _likeness(words.decode(name, "replace")))


def _likeness(text: str) -> float:
    """How much text looks Russian: common small letters count, capitals inside words count against it."""
    return sum(sign in _PLAIN_RUSSIAN for sign in text) - 2 * len(re.findall(r"[а-яё][А-ЯЁ]", text))
