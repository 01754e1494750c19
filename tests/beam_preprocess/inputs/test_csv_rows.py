import pytest

from beam_preprocess.inputs.csv_rows import check_row, read_csv
from tfrecords.common.command_line import UserError


@pytest.fixture
def read(tmp_path):
    """Header and (line, fields) of a CSV with the given text or bytes."""

    def make(text, encoding="utf-8"):
        (tmp_path / "tracks.csv").write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        columns, rows = read_csv(str(tmp_path / "tracks.csv"), "path")
        return columns, [(row.line, row.fields) for row in rows]

    return make


PLAIN = ["path", "genre"], [(2, ["é.wav", "rock"])]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("separator", [",", ";", "\t", ", "])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_as_spreadsheets_write_it(read, encoding, separator, newline):
    assert read(newline.join([f"path{separator}genre", f"é.wav{separator}rock", ""]), encoding) == PLAIN


def test_utf16_of_the_other_byte_order(read):
    assert read(b"\xfe\xff" + "path\tgenre\r\né.wav\trock\r\n".encode("utf-16-be")) == PLAIN


def test_rows_are_known_by_the_line_that_they_begin_on(read):
    text = 'path,genre\n\n"a\n\nb.wav",rock\n , \nc.wav, "r,b"\n'
    assert read(text)[1] == [(3, ["a\n\nb.wav", "rock"]), (7, ["c.wav", "r,b"])]


def test_commas_win_and_a_quoted_header_is_read(read):
    assert read('"path","a;b"\nx.wav,1\n')[0] == ["path", "a;b"]
    assert read('"genre";"path"\nrock;x,y.wav\n')[1] == [(2, ["rock", "x,y.wav"])]


@pytest.mark.parametrize(
    ("data", "line", "words"),
    [
        (b"", None, "empty"),
        (b"\n\n", None, "empty"),
        ("path,genre\né.wav,rock\n".encode("latin-1"), 2, "0xE9"),
        (b"path,genre\n" + b"x.wav,rock\n" * 5000 + b"caf\xe9.wav,rock\n", 5002, "UTF-8"),
        (b'path,genre\n"a\nb\xff.wav",rock\n', 3, "0xFF"),
        (b"path,genre\na.wav,rock\nb\0.wav,rock\n", 3, "NUL"),
        ("path,genre\na.wav,rock\n".encode("utf-16-le"), 1, "UTF-16"),
        ("path,genre\na.wav,rock\n".encode("utf-16")[:-1], None, "utf-16"),
        (b'path,genre\na.wav,rock\n"' + b"a" * 200_000, 3, "quotation mark"),
    ],
)
def test_what_is_no_csv_is_one_line_with_its_place(read, data, line, words):
    with pytest.raises(UserError, match=rf"^.*tracks\.csv: .*{words}") as info:
        read(data)
    assert "\n" not in str(info.value)
    assert line is None or f"line {line}:" in str(info.value)


@pytest.mark.parametrize(("fields", "fits"), [("a,b", True), ("a,b,,", True), ("a", False), ("a,b,Wind & Fire", False)])
def test_a_row_has_as_many_fields_as_the_header(tmp_path, fields, fits):
    (tmp_path / "x.csv").write_text(f"path,genre\n\n{fields}\n")
    columns, rows = read_csv(f"{tmp_path}/x.csv", "path")
    if fits:
        check_row("x.csv", next(rows), columns)
        return
    with pytest.raises(UserError, match=r"x\.csv: line 3: .*quot") as info:
        check_row("x.csv", next(rows), columns)
    assert ("Wind & Fire'" in str(info.value)) == ("Wind" in fields)
