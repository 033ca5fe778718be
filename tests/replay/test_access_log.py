import gzip
import io
import os
import re
import tracemalloc
import zlib
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_sample_log import SAMPLE_PATH, make_sample

from farthing.protocol.errors import FarthingError
from farthing.replay.access_log import (
    MAX_LINE_BYTES,
    AccessLogError,
    Entry,
    Read,
    Unreadable,
    parse_line,
    read_log,
)

HEAD = "192.0.2.1 - - [02/Mar/2024:06:00:00 +0000]"
GOOD = f'{HEAD} "GET /a HTTP/1.1" 200 5'
REAL_LOG = Path(__file__).parents[2].parent / "shared" / "data" / "access.log.gz"


def read(data: bytes) -> list[Entry]:
    return list(read_log("-", io.BytesIO(data)))


def request(text: str) -> tuple[str, str]:
    entry = parse_line(7, f'{HEAD} "{text}" 200 5'.encode())
    assert isinstance(entry, Read)
    return entry.method, entry.path


def reason(line: str | bytes) -> str:
    entry = parse_line(7, line.encode() if isinstance(line, str) else line)
    assert isinstance(entry, Unreadable)
    assert entry.line_number == 7
    return entry.reason


# Formats


@pytest.mark.parametrize(
    "line",
    [
        GOOD,
        GOOD + "\r",
        GOOD + ' "-" "Mozilla/5.0"',
        GOOD + ' "http://x/" "a \\"quoted\\" agent"',
        GOOD + ' "-" "-" "198.51.100.7" 0.012 rt=3',
        GOOD.replace(" - - ", " - Jane Roe "),
        GOOD.replace(" 5", " -"),
    ],
)
def test_parse_line__common_and_combined(line: str) -> None:
    assert parse_line(3, line.encode()) == Read(3, "192.0.2.1", "GET", "/a", 200)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", "empty line"),
        ("   ", "empty line"),
        ("192.0.2.1", "no client address at the start"),
        (" " + GOOD, "no client address at the start"),
        (GOOD.replace(" - - ", " - "), "identity or user is missing"),
        (GOOD.replace("]", ""), "no time in square brackets"),
        (GOOD.replace("[", ""), "no time in square brackets"),
        (f'{HEAD} "GET /a HTTP/1.1', "no request in closed quotes"),
        (f'{HEAD} "GET /a HTTP/1.1\\"', "no request in closed quotes"),
        (f"{HEAD} GET /a HTTP/1.1 200 5", "no request in closed quotes"),
        (f'{HEAD} "GET /a HTTP/1.1"', "the status is not a number of three digits"),
        (GOOD.replace("200", "OK"), "the status is not a number of three digits"),
        (GOOD.replace("200", "2000"), "the status is not a number of three digits"),
        (GOOD.replace("200", "020"), "the status is not a number of three digits"),
        (GOOD.replace("200", "\uff12\uff10\uff10"), "the status is not a number of three digits"),
        (f'{HEAD} "GET /a HTTP/1.1" 200', "the size is neither a number nor -"),
        (GOOD + "x", "the size is neither a number nor -"),
        (GOOD + ' "-"', "referrer and user agent are not both in closed quotes"),
        (GOOD + ' "-" "Moz', "referrer and user agent are not both in closed quotes"),
        (GOOD + " trailing", "referrer and user agent are not both in closed quotes"),
        (GOOD + "\0", "contains a NUL byte"),
        (GOOD.encode() + b"\xff", f"not UTF-8 at byte {len(GOOD) + 1}"),
    ],
)
def test_parse_line__not_in_the_format(line: str | bytes, expected: str) -> None:
    assert reason(line) == expected


def test_read_log__byte_order_mark_on_the_first_line_only() -> None:
    marked = b"\xef\xbb\xbf" + GOOD.encode()
    first, second = read(marked + b"\n" + marked)
    assert first == Read(1, "192.0.2.1", "GET", "/a", 200)
    assert second == Unreadable(
        2,
        "the client is neither an IP address nor a host name",
        "\\ufeff" + GOOD,
    )


def test_parse_line__text_is_cut_and_safe_to_print() -> None:
    entry = parse_line(1, b"\x1b[31m\xff\t" + b"x" * 500)
    assert isinstance(entry, Unreadable)
    assert entry.text.startswith("\\x1b[31m\\xff\\txxx")
    assert len(entry.text) <= 140
    assert entry.text.isprintable()


# Clients


@pytest.mark.parametrize(
    ("written", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("Crawl-66.Search.example.", "crawl-66.search.example"),
        ("localhost", "localhost"),
    ],
)
def test_client__one_spelling(written: str, client: str) -> None:
    entry = parse_line(1, GOOD.replace("192.0.2.1", written).encode())
    assert isinstance(entry, Read)
    assert entry.client == client


@pytest.mark.parametrize(
    "written",
    ["-", "999.1.1.1", "192.0.2", "12345", "unix:", "a..b", "-a.example", "h\u00f6st", "a" * 256],
)
def test_client__neither_address_nor_host_name(written: str) -> None:
    expected = "the client is neither an IP address nor a host name"
    assert reason(GOOD.replace("192.0.2.1", written)) == expected


# Requests


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("/a/b", "/a/b"),
        ("/a?b=/c?d", "/a"),
        ("/a#b", "/a"),
        ("/?a", "/"),
        ("http://site.example/a?b", "/a"),
        ("HTTPS://site.example:8443", "/"),
        ("http://site.example?a", "/"),
        ("/%61rticles/x%20y", "/articles/x y"),
        ("/caf%C3%A9", "/caf\u00e9"),
        ("/caf\\xc3\\xa9", "/caf\u00e9"),
        ("/%E8", "/\\xe8"),
        ("/a%2fb%2Fc", "/a%2Fb%2Fc"),
        ("/a%3Fb", "/a?b"),
        ("/a%", "/a%"),
        ('/say-\\x22hi\\x22-\\"x\\"\\\\', '/say-"hi"-"x"\\'),
        ("//a///b", "/a/b"),
        ("/a/./b/../c", "/a/c"),
        ("/a/%2e%2e/b", "/b"),
        ("/../../a", "/a"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("/.well-known/x", "/.well-known/x"),
        ("/with space", "/with space"),
        ("*", "*"),
    ],
)
def test_request__path_is_what_was_served(written: str, path: str) -> None:
    assert request(f"GET {written} HTTP/1.1") == ("GET", path)


def test_request__http_0_9() -> None:
    assert request("GET /a") == ("GET", "/a")


def test_request__method_is_kept_as_sent() -> None:
    assert request("get /a HTTP/1.1") == ("get", "/a")
    assert request("CONNECT site.example:443 HTTP/1.1") == ("CONNECT", "site.example:443")


@pytest.mark.parametrize("text", ["-", "", "GET", "GET HTTP/1.1", "\\x16\\x03\\x01", "{a} /b"])
def test_request__not_http(text: str) -> None:
    assert request(text) == ("-", "-")


@pytest.mark.parametrize(
    ("method", "status", "delivered"),
    [("GET", 200, True), ("HEAD", 200, False), ("GET", 206, False), ("get", 200, False)],
)
def test_delivered__get_with_status_200(method: str, status: int, delivered: bool) -> None:
    assert Read(1, "192.0.2.1", method, "/", status).delivered is delivered


# Lines and streams


def test_read_log__every_line_is_one_entry() -> None:
    entries = read(f"{GOOD}\n\nrubbish\n{GOOD}".encode())
    assert [(e.line_number, type(e)) for e in entries] == [
        (1, Read),
        (2, Unreadable),
        (3, Unreadable),
        (4, Read),
    ]


def test_read_log__empty() -> None:
    assert read(b"") == []
    assert read(gzip.compress(b"")) == []


def test_read_log__line_of_the_longest_length() -> None:
    padding = MAX_LINE_BYTES - len(GOOD) - len(' "-" ""')
    line = f'{GOOD} "-" "{"x" * padding}"'.encode()
    longer = f'{GOOD} "-" "{"x" * (padding + 1)}"'.encode()
    first, second, third = read(line + b"\n" + longer + b"\n" + GOOD.encode())
    assert first == Read(1, "192.0.2.1", "GET", "/a", 200)
    assert isinstance(second, Unreadable)
    assert second.reason == "longer than 65536 bytes"
    assert third == Read(3, "192.0.2.1", "GET", "/a", 200)


def test_read_log__absurd_line_is_not_held_in_memory() -> None:
    class Endless(io.BytesIO):
        """A line of 16 MiB that is never in memory as a whole."""

        given = 0

        def read(self, size: int | None = -1) -> bytes:
            assert size is not None
            assert 0 < size <= 2**20
            self.given += size
            return b"x" * size if self.given < 2**24 else b""

    tracemalloc.start()
    (entry,) = list(read_log("-", Endless()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20
    assert isinstance(entry, Unreadable)
    assert entry.reason == "longer than 65536 bytes"


@pytest.mark.parametrize("name", ["access.log", "access.log.gz"])
@pytest.mark.parametrize("packed", [False, True])
def test_read_log__gzip_is_known_by_content(tmp_path: Path, name: str, packed: bool) -> None:
    data = GOOD.encode() + b"\n"
    (tmp_path / name).write_bytes(gzip.compress(data) if packed else data)
    expected = [Read(1, "192.0.2.1", "GET", "/a", 200)]
    assert list(read_log(str(tmp_path / name))) == expected
    assert read(gzip.compress(data) if packed else data) == expected


def test_read_log__standard_input_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(GOOD.encode()))
    monkeypatch.setattr("sys.stdin", stdin)
    assert list(read_log("-")) == [Read(1, "192.0.2.1", "GET", "/a", 200)]


def test_read_log__gzip_from_a_pipe() -> None:
    reading, writing = os.pipe()
    os.write(writing, gzip.compress(GOOD.encode()))
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        assert list(read_log("-", stream)) == [Read(1, "192.0.2.1", "GET", "/a", 200)]


def test_read_log__gzip_members_and_padding() -> None:
    member = gzip.compress(GOOD.encode() + b"\n")
    entries = read(member + b"\0" * 2000 + member + b"\0" * 3)
    assert [type(e) for e in entries] == [Read, Read]


def test_read_log__truncated_gzip() -> None:
    lines = [f'{HEAD} "GET /{zlib.crc32(b"%d" % n)} HTTP/1.1" 200 5' for n in range(2000)]
    data = "\n".join(lines).encode()
    packed = gzip.compress(data)[:-4000]
    readable = zlib.decompressobj(31).decompress(packed)
    *entries, fault = read(packed)
    assert len(entries) == readable.count(b"\n") > 1000
    assert all(isinstance(entry, Read) for entry in entries)
    assert fault == Unreadable(
        len(entries) + 1,
        "the compressed log is damaged here: it ends before the end of the compressed data",
        readable.rpartition(b"\n")[2].decode(),
    )


def test_read_log__corrupt_gzip_loses_little() -> None:
    lines = [f'{HEAD} "GET /{zlib.crc32(b"%d" % n)} HTTP/1.1" 200 5' for n in range(5000)]
    packed = gzip.compress("\n".join(lines).encode())
    at = len(packed) // 2
    *entries, fault = read(packed[:at] + b"\xff" * 64 + packed[at + 64 :])
    good = zlib.decompressobj(31).decompress(packed[: at - 1024]).count(b"\n")
    assert len(entries) >= good > 1000
    assert all(isinstance(entry, Read) for entry in entries[:good])
    assert isinstance(fault, Unreadable)
    assert fault.line_number == len(entries) + 1
    assert fault.reason.startswith("the compressed log is damaged here: ")


def test_read_log__wrong_checksum_at_the_end() -> None:
    packed = bytearray(gzip.compress(GOOD.encode() + b"\n"))
    packed[-8] ^= 1
    # The member is smaller than one piece, of which zlib gives nothing back.
    (fault,) = read(bytes(packed))
    assert isinstance(fault, Unreadable)
    assert "incorrect data check" in fault.reason


def test_read_log__rubbish_after_the_gzip() -> None:
    first, fault = read(gzip.compress(GOOD.encode() + b"\n") + b"rubbish")
    assert isinstance(first, Read)
    assert isinstance(fault, Unreadable)
    assert fault.line_number == 2
    assert "incorrect header check" in fault.reason


# The log as a whole


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("missing.log", "there is no such file"),
        ("", "it is a directory"),
        ("file/below", "Not a directory"),
        ("a\0b", "embedded null byte"),
    ],
)
def test_read_log__cannot_be_opened(tmp_path: Path, name: str, expected: str) -> None:
    (tmp_path / "file").touch()
    source = str(tmp_path / name)
    with pytest.raises(AccessLogError) as caught:
        read_log(source)
    assert isinstance(caught.value, FarthingError)
    assert (caught.value.source, caught.value.reason) == (source, expected)
    assert str(caught.value) == (
        f"Cannot read the log {source!r}: {expected}; "
        "give the path of an access log, or - for standard input."
    )


def test_read_log__no_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    # The superuser may read everything, so the refusal is played.
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(AccessLogError, match=r"'x\.log': permission denied; give"):
        read_log("x.log")


def test_read_log__device_fails_while_reading() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() >= 2:
                raise OSError(5, "Input/output error")
            return super().read(size)

    with pytest.raises(AccessLogError, match="Input/output error"):
        list(read_log("-", Failing(GOOD.encode())))


# Whole logs, with known truth


@dataclass(frozen=True)
class Known:
    name: str
    source: str
    lines: int
    unreadable: tuple[int, ...]
    clients: int
    delivered: int


def known_logs() -> list[Known]:
    sample = make_sample()
    delivered = sample.paid_reads + sample.free_reads
    logs = [
        Known(
            "sample",
            str(SAMPLE_PATH),
            sample.lines,
            sample.unreadable,
            len(sample.clients),
            delivered,
        )
    ]
    if REAL_LOG.exists():
        logs.append(Known("real", str(REAL_LOG), 10_000, (8899,), 1753, 9090))
    return logs


@pytest.mark.parametrize("known", known_logs(), ids=lambda known: known.name)
def test_read_log__whole_log(known: Known) -> None:
    entries = list(read_log(known.source))
    reads = [entry for entry in entries if isinstance(entry, Read)]
    bad = tuple(entry.line_number for entry in entries if isinstance(entry, Unreadable))
    assert len(entries) == known.lines
    assert bad == known.unreadable
    assert len({entry.client for entry in reads}) == known.clients
    assert sum(entry.delivered for entry in reads) == known.delivered


def test_sample__is_what_the_generator_makes() -> None:
    packed = SAMPLE_PATH.read_bytes()
    assert gzip.decompress(packed) == make_sample().data
    # Compressors differ between machines; the time stamp is ours to keep out.
    assert packed[4:8] == bytes(4)


# Anything at all

pieces = st.one_of(
    st.binary(max_size=80),
    st.sampled_from([b"\n", b"\r\n", b'"', b"\\", b" ", b"[", b"]", GOOD.encode(), b"GET /"]),
)


@settings(deadline=None)
@given(st.lists(pieces).map(b"".join))
def test_read_log__anything_plain(data: bytes) -> None:
    if data.startswith(b"\x1f\x8b"):
        data = b"." + data
    expected = data.count(b"\n") + (not data.endswith(b"\n") and bool(data))
    entries = read(data)
    assert [entry.line_number for entry in entries] == list(range(1, expected + 1))
    assert read(gzip.compress(data)) == entries


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_read_log__anything_after_the_gzip_magic(data: bytes) -> None:
    entries = read(b"\x1f\x8b" + data)
    assert [entry.line_number for entry in entries] == list(range(1, len(entries) + 1))
    assert isinstance(entries[-1], Unreadable)


@settings(deadline=None)
@given(st.data())
def test_read_log__gzip_with_any_bytes_changed(data: st.DataObject) -> None:
    packed = bytearray(gzip.compress(f"{GOOD}\n".encode() * 50))
    for at in data.draw(st.lists(st.integers(0, len(packed) - 1), min_size=1, max_size=4)):
        packed[at] = data.draw(st.integers(0, 255))
    entries = read(bytes(packed))
    assert [entry.line_number for entry in entries] == list(range(1, len(entries) + 1))


@settings(deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters='\n\0"\\')))
def test_request__any_text_in_closed_quotes_is_readable(text: str) -> None:
    entry = parse_line(2, f'{HEAD} "{text}" 200 5'.encode())
    assert isinstance(entry, Read)
    assert entry.status == 200


@settings(deadline=None)
@given(st.text(alphabet="/.%2eEfF?#:ab\\x"))
def test_request__served_path_has_nothing_left_to_resolve(tail: str) -> None:
    _, path = request("GET /" + re.sub(r"\\", r"\\\\", tail) + " HTTP/1.1")
    assert path.startswith("/")
    assert "//" not in path
    assert not {".", ".."} & set(path.split("/"))
