"""A web server's access log, line by line: common or combined format, plain or gzip.

Reading holds one line at a time and never stops for a bad one: every line of the log becomes
exactly one entry, a ``Read`` or an ``Unreadable``. The formats are those of Apache's
mod_log_config (``%h %l %u %t "%r" %>s %b``, then referrer and user agent in *combined*), which
nginx writes too; well-formed fields that a site appends to *combined* are accepted and ignored.
"""

import ipaddress
import re
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from farthing.protocol.errors import FarthingError

STANDARD_INPUT = "-"
MAX_LINE_BYTES = 64 * 1024
SHOWN_CHARACTERS = 120

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 31
_PLAIN_PIECE = 64 * 1024
# Compressed bytes are fed in small pieces: zlib gives nothing back of the piece it fails in, so
# the piece bounds how many readable lines a fault can take with it, and the memory it can fill.
_GZIP_PIECE = 512

# Python before 3.11.5 gets a possessive quantifier wrong around anything that can go back, so there
# is none around a choice.
_QUOTED = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
# In the order they stand in a line. What follows a repetition never begins as it does, so a hostile
# line costs time in proportion to its length.
_CLIENT = re.compile(r"(\S++) ")
_IDENTITY = re.compile(r'\S++ [^\s\["][^\["]*+')
_TIME = re.compile(r'(?<= )\[[^\]"]++\] ')
_REQUEST = re.compile(_QUOTED)
_STATUS = re.compile(r" ([1-9][0-9]{2})(?![^ ])")
_SIZE = re.compile(r" (?:[0-9]++|-)(?![^ ])")
_REFERRER_AND_AGENT = re.compile(rf'(?: {_QUOTED} {_QUOTED}(?: (?:{_QUOTED}|[^\s"]\S*+))*)? *+\Z')

_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*+://[^/?#]*+")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}\.?")
_ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|(.))", re.DOTALL)
_CONTROL_ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"v": b"\v", b"f": b"\f"}


class AccessLogError(FarthingError):
    """The log as a whole cannot be read; ``source`` is what was asked for, ``reason`` why."""

    def __init__(self, source: str, reason: str) -> None:
        self.source = source
        self.reason = reason
        super().__init__(
            f"Cannot read the log {source!r}: {reason}; "
            "give the path of an access log, or - for standard input."
        )


@dataclass(frozen=True, slots=True)
class Read:
    """One request the server answered.

    ``client`` is an address in canonical form or a host name in lower case, so that one reader is
    one value. ``path`` is what the server served: no origin, query or fragment, percent-encoding
    undone except for ``%2F``, ``.``, ``..`` and doubled slashes resolved. ``method`` and ``path``
    are both ``-`` where the client sent nothing that is an HTTP request.
    """

    line_number: int
    client: str
    method: str
    path: str
    status: int

    @property
    def delivered(self) -> bool:
        """Whether the reader got the whole page: the only kind of read that can cost money."""
        return self.method == "GET" and self.status == 200


@dataclass(frozen=True, slots=True)
class Unreadable:
    """One line that is not in the format, or the point from which a compressed log is damaged.

    ``text`` is the start of the line, safe to print: what is not printable is escaped.
    """

    line_number: int
    reason: str
    text: str


Entry = Read | Unreadable


class _DamagedGzipError(Exception):
    """The compressed stream cannot be followed further; the message says why."""


class _LineError(Exception):
    """A line is not in the format; the message says why."""


def read_log(source: str, stdin: BinaryIO | None = None) -> Iterator[Entry]:
    """Open the log at path ``source`` (``-``: standard input) and iterate over its entries.

    The log is opened at once, so a wrong path is known before anything else is done. Gzip is
    recognised by its first bytes, whatever the name. ``stdin`` replaces the process's own.

    Raises:
        AccessLogError: the log cannot be opened, or the device fails while it is read.
    """
    if source == STANDARD_INPUT:
        return _entries(source, sys.stdin.buffer if stdin is None else stdin)
    stream = _open(source)
    return _closing(stream, _entries(source, stream))


def _open(source: str) -> BinaryIO:
    try:
        return Path(source).open("rb")
    except FileNotFoundError:
        raise AccessLogError(source, "there is no such file") from None
    except IsADirectoryError:
        raise AccessLogError(source, "it is a directory") from None
    except PermissionError:
        raise AccessLogError(source, "permission denied") from None
    except OSError as error:
        raise AccessLogError(source, error.strerror or str(error)) from None
    except ValueError as error:
        raise AccessLogError(source, str(error)) from None


def parse_line(line_number: int, line: bytes) -> Entry:
    """One line without its line feed as an entry; never raises."""
    try:
        return _parse(line_number, line.removesuffix(b"\r"))
    except _LineError as error:
        return Unreadable(line_number, str(error), _shown(line))


def _closing(stream: BinaryIO, entries: Iterator[Entry]) -> Iterator[Entry]:
    with stream:
        yield from entries


def _entries(source: str, stream: BinaryIO) -> Iterator[Entry]:
    number = 0
    held = b""
    try:
        for chunk in _chunks(stream):
            *ended, rest = chunk.split(b"\n")
            for part in ended:
                number += 1
                yield parse_line(number, held + part)
                held = b""
            # One byte over the limit is enough to know that the line is too long.
            held = (held + rest)[: MAX_LINE_BYTES + 1]
    except _DamagedGzipError as fault:
        yield Unreadable(number + 1, f"the compressed log is damaged here: {fault}", _shown(held))
        return
    except OSError as error:
        raise AccessLogError(source, error.strerror or str(error)) from None
    if held:
        yield parse_line(number + 1, held)


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    head = stream.read(len(_GZIP_MAGIC))
    if head == _GZIP_MAGIC:
        yield from _inflate(stream, head)
        return
    while head:
        yield head
        head = stream.read(_PLAIN_PIECE)


def _inflate(stream: BinaryIO, data: bytes) -> Iterator[bytes]:
    """The plain bytes of one gzip member after another, as rotated logs joined by cat have them."""
    member = zlib.decompressobj(_GZIP_WINDOW)
    while data:
        try:
            plain = member.decompress(data)
        except zlib.error as error:
            raise _DamagedGzipError(str(error)) from None
        if plain:
            yield plain
        if not member.eof:
            data = stream.read(_GZIP_PIECE)
            continue
        # Zeros between or after members are padding, as gzip itself has it.
        data = member.unused_data.lstrip(b"\0")
        while not data:
            piece = stream.read(_GZIP_PIECE)
            if not piece:
                return
            data = piece.lstrip(b"\0")
        member = zlib.decompressobj(_GZIP_WINDOW)
    raise _DamagedGzipError("it ends before the end of the compressed data")


def _parse(number: int, line: bytes) -> Read:
    if len(line) > MAX_LINE_BYTES:
        raise _LineError(f"longer than {MAX_LINE_BYTES} bytes")
    if b"\0" in line:
        raise _LineError("contains a NUL byte")
    try:
        # Some exporters put a byte order mark in front of the first line.
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise _LineError(f"not UTF-8 at byte {error.start + 1}") from None
    if not text.strip():
        raise _LineError("empty line")

    client = _take(_CLIENT, text, 0, "no client address at the start")
    identity = _take(_IDENTITY, text, client.end(), "identity or user is missing")
    time = _take(_TIME, text, identity.end(), "no time in square brackets")
    request = _take(_REQUEST, text, time.end(), "no request in closed quotes")
    status = _take(_STATUS, text, request.end(), "the status is not a number of three digits")
    size = _take(_SIZE, text, status.end(), "the size is neither a number nor -")
    _take(
        _REFERRER_AND_AGENT,
        text,
        size.end(),
        "referrer and user agent are not both in closed quotes",
    )
    reader = _reader(client[1]) if len(client[1]) <= 255 else None
    if reader is None:
        raise _LineError("the client is neither an IP address nor a host name")
    method, path = _method_and_path(request[0][1:-1])
    return Read(number, reader, method, path, int(status[1]))


def _take(field: re.Pattern[str], text: str, start: int, otherwise: str) -> re.Match[str]:
    match = field.match(text, start)
    if match is None:
        raise _LineError(otherwise)
    return match


@lru_cache(maxsize=4096)
def _reader(client: str) -> str | None:
    """The one spelling of a client address, or None when it is no address at all."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        name = client.removesuffix(".").lower()
        # A name whose last label is a number is a mistyped IPv4 address, not a host.
        is_name = _HOST_NAME.fullmatch(client) and not name.rpartition(".")[2].isdigit()
        return name if is_name and len(name) <= 253 else None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        # A server that listens on both families logs an IPv4 reader this way.
        return str(address.ipv4_mapped)
    return str(address)


def _method_and_path(request: str) -> tuple[str, str]:
    method, _, rest = request.partition(" ")
    target, _, protocol = rest.rpartition(" ")
    if not protocol.startswith("HTTP/"):
        target = rest
    if not target or target.isspace() or not _METHOD.fullmatch(method):
        return "-", "-"
    return method, _served_path(target)


def _served_path(target: str) -> str:
    if "\\" in target:
        escaped = target.encode()
        target = _ESCAPE.sub(_unescaped, escaped).decode(errors="backslashreplace")
    origin = _ORIGIN.match(target)
    if origin is not None:
        target = target[origin.end() :]
        target = target if target.startswith("/") else "/" + target
    path = target.partition("?")[0].partition("#")[0]
    if "%" in path:
        # An encoded slash does not separate segments, so it stays as it is.
        path = re.sub("%2[fF]", "%252F", path)
        path = unquote(path, errors="backslashreplace")
    if path.startswith("/") and ("//" in path or "/." in path):
        path = _resolved(path)
    return path


def _unescaped(escape: re.Match[bytes]) -> bytes:
    if escape[1] is not None:
        return bytes.fromhex(escape[1].decode())
    return _CONTROL_ESCAPES.get(escape[2], escape[2])


def _resolved(path: str) -> str:
    """Dot segments and doubled slashes undone, as Apache and nginx do before they serve a file."""
    *folders, last = path.split("/")
    if last in (".", ".."):
        folders.append(last)
        last = ""
    kept: list[str] = []
    for folder in folders:
        if folder == "..":
            del kept[-1:]
        elif folder not in ("", "."):
            kept.append(folder)
    return "/".join(["", *kept, last])


def _shown(line: bytes) -> str:
    text = line[: 4 * SHOWN_CHARACTERS].decode(errors="backslashreplace")[:SHOWN_CHARACTERS]
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
