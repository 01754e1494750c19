"""Reading a CSV as spreadsheets write it; each row has its line number, so that errors can name it."""

import codecs
import csv
import io
import itertools
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

from beam_preprocess import storage
from tfrecords.common.command_line import UserError

# UTF-32's marks begin with those of UTF-16.
_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Excel writes semicolons where the comma is the decimal sign, and tabs into its "Unicode text".
_DELIMITERS = ",;\t"
_HINT = 'a field with a separator in it needs quotation marks, such as "Earth, Wind & Fire"'


class Row(NamedTuple):
    """One row of a CSV.

    Attributes:
      line: the line on which it begins, from 1.
      last_line: the line on which it ends; a quoted field may contain newlines.
      fields: as text.
    """

    line: int
    last_line: int
    fields: list[str]


def read_csv(source: str, known_column: str) -> tuple[list[str], Iterator[Row]]:
    """Return the names of the columns, and an iterator over the rows that are not blank.

    Fields are separated by commas, or by semicolons or tabs if the header then has the known column. The text is UTF-8,
    or UTF-16 or UTF-32 with a byte order mark.

    Args:
      source: the file, on any file system that Beam supports.
      known_column: a column that the header should have.

    Raises:
      UserError: the file is empty, cannot be read, is not a CSV or not such text.
    """
    rows = _rows(source, known_column)
    header = next(rows, None)
    if header is None:
        raise UserError(f"{source}: is empty; a line with the names of the columns is expected, such as path,genre")
    return [name.strip() for name in header.fields], rows


def check_row(source: str, row: Row, columns: Sequence[str]) -> None:
    """Check that a row has as many fields as there are columns; additional empty fields are ignored.

    Raises:
      UserError: it has fewer or more.
    """
    count = len(row.fields)
    extra = [field for field in row.fields[len(columns) :] if field.strip()]
    if extra or count < len(columns):
        raise UserError(
            f"{source}: line {row.line}: {count} fields, but the header names {len(columns)} columns "
            f"({', '.join(columns)}){f'; too many: {extra}' if extra else ''}; {_HINT}{open_quote(row)}"
        )


def open_quote(row: Row) -> str:
    """Return a hint for a row of several lines, which may be a mistake; an empty string for other rows."""
    if row.last_line == row.line:
        return ""
    return f"; the row goes on to line {row.last_line}: is a quotation mark left open?"


def _rows(source: str, known_column: str) -> Iterator[Row]:
    lines = _lines(source)
    first = next(lines, "")
    delimiter = _delimiter(first, known_column)
    reader = csv.reader(itertools.chain([first], lines), delimiter=delimiter, skipinitialspace=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise UserError(f"{source}: line {line}: not a CSV: {error}; is a quotation mark left open?") from None
        if fields is None:
            return
        if any(map(str.strip, fields)):
            yield Row(line, reader.line_num, fields)


def _delimiter(header: str, known_column: str) -> str:
    for delimiter in _DELIMITERS:
        # A quoted field may continue on the next line; the rows' reader reports what is wrong then.
        names = [name.strip(' "\r\n') for name in header.split(delimiter)]
        if known_column in names:
            return delimiter
    return ","


def _lines(source: str) -> Iterator[str]:
    """Yield the lines of a text file."""
    number = 0
    with storage.reporting(f"{source}: cannot be read"), storage.open_file(source) as file:
        # Decoding works in blocks, so its errors do not name the line: surrogates are let through, and checked by line.
        text = io.TextIOWrapper(file, _encoding(file), errors="surrogateescape", newline="")
        try:
            for number, line in enumerate(text, 1):
                _check_text(source, number, line)
                yield line
        except UnicodeDecodeError as error:
            raise UserError(
                f"{source}: after line {number}: not {error.encoding} text ({error.reason}); save it as UTF-8"
            ) from None


def _encoding(file: BinaryIO) -> str:
    head = file.read(4)
    file.seek(0)
    return next((encoding for mark, encoding in _ENCODINGS if head.startswith(mark)), "utf-8-sig")


def _check_text(source: str, number: int, line: str) -> None:
    if "\0" in line:
        raise UserError(
            f"{source}: line {number}: a NUL character, as in UTF-16 without a byte order mark; save it as UTF-8"
        )
    if line.isascii():
        return
    try:
        line.encode("utf-8")
    except UnicodeEncodeError as error:
        byte = ord(line[error.start]) & 0xFF
        raise UserError(f"{source}: line {number}: not UTF-8 text (byte 0x{byte:02X}); save it as UTF-8") from None
