"""Makes ``farthing/replay/sample.log.gz``: ``python tests/replay/make_sample_log.py``.

The same bytes every time, and with them what a reader of the log has to find: the prices are
written beside the pages here, by hand, so that tests compare two independent answers.
"""

import gzip
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

SAMPLE_PATH = Path(__file__).parents[2] / "farthing" / "replay" / "sample.log.gz"
REQUESTS = 488
SEED = 402

# Request target and its price under default_prices.toml, in millionths of a dollar.
PAGES = (
    ("/articles/salt-and-bread", 20_000),
    ("/articles/the-night-ferry?ref=front", 20_000),
    ("/articles/a%20short%20history%20of%20rain", 20_000),
    ("http://news.example/articles/salt-and-bread", 20_000),
    ("/blog/2024/why-we-charge/", 20_000),
    ("/blog/2024/notes.html#second", 20_000),
    ("/projects/lighthouse/", 20_000),
    ("/archive/../articles/tides", 20_000),
    ("/reports/harbour.pdf", 50_000),
    ("/feed.xml", 1_000),
    ("/", 0),
    ("/robots.txt", 0),
    ("/favicon.ico", 0),
    ("/static/site.css", 0),
    ("/static/app.js?v=3", 0),
    ("/images/ferry.jpg", 0),
)
# Line number to a line that is in neither format.
BAD_LINES = {
    41: b"",
    97: b'203.0.113.9 - - [02/Mar/2024:06:00:00 +0000] "GET /articles/tides HTTP/1.1',
    160: b'203.0.113.9 - - [02/Mar/2024:06:10:00 +0000] "GET /caf\xe9 HTTP/1.1" 200 512',
    222: b'203.0.113.9 - - [02/Mar/2024:06:20:00 +0000] "GET / HTTP/1.1" OK 512',
    305: b"segment rotated by operator",
    388: b'203.0.113.9 - - [02/Mar/2024:06:30:00 +0000] "GET /\0 HTTP/1.1" 200 512',
    460: b'203.0.113.9 - - [02/Mar/2024:06:40:00 +0000] "GET / HTTP/1.1" 200 9 "-" "Moz',
}
# Lines in the format that are no delivered page.
OTHER_REQUESTS = (
    ('"HEAD /articles/tides HTTP/1.1"', 200),
    ('"POST /comments HTTP/1.1"', 200),
    ('"GET /articles/gone HTTP/1.1"', 404),
    ('"GET /articles/tides HTTP/1.1"', 304),
    ('"GET /reports/harbour.pdf HTTP/1.1"', 206),
    ('"GET /articles/\\"quoted\\" HTTP/1.1"', 404),
    ('"-"', 408),
    ('"\\x16\\x03\\x01"', 400),
)
AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/123.0",
    'Reader \\"Pocket\\" 2.1',
    "-",
)


@dataclass(frozen=True)
class Sample:
    """A log and the truth about it; ``owed`` maps each paying client to smallest units."""

    data: bytes
    lines: int
    unreadable: tuple[int, ...]
    clients: frozenset[str]
    owed: dict[str, int]
    paid_reads: int
    free_reads: int
    unpaid: int


def make_sample() -> Sample:
    # Of the generator only random() is promised to be the same in every Python.
    draw = random.Random(SEED).random
    clients = [f"192.0.2.{n}" for n in range(1, 41)]
    clients += [f"2001:db8::{n:x}" for n in range(1, 13)]
    clients += [f"reader-{n}.example.net" for n in range(1, 9)]
    lines: list[bytes] = []
    owed: Counter[str] = Counter()
    paid = free = unpaid = 0
    seen = set()
    for n in range(REQUESTS):
        while len(lines) + 1 in BAD_LINES:
            lines.append(BAD_LINES[len(lines) + 1])
        # Squared, so that few readers read much and many read little.
        client = clients[n] if n < len(clients) else clients[int(draw() ** 2 * len(clients))]
        seen.add(client)
        if draw() < 0.12:
            request, status = OTHER_REQUESTS[int(draw() * len(OTHER_REQUESTS))]
            unpaid += 1
        else:
            target, price = PAGES[int(draw() * len(PAGES))]
            request, status = f'"GET {target} HTTP/1.1"', 200
            owed[client] += price
            paid, free = (paid + 1, free) if price else (paid, free + 1)
        time = f"[02/Mar/2024:{6 + n // 60:02}:{n % 60:02}:{int(draw() * 60):02} +0000]"
        line = f"{client} - - {time} {request} {status} {int(draw() * 60_000)}"
        if draw() < 0.7:
            line += f' "-" "{AGENTS[int(draw() * len(AGENTS))]}"'
        lines.append(line.encode())
    return Sample(
        data=b"".join(line + b"\n" for line in lines),
        lines=len(lines),
        unreadable=tuple(BAD_LINES),
        clients=frozenset(seen),
        owed={client: units for client, units in owed.items() if units},
        paid_reads=paid,
        free_reads=free,
        unpaid=unpaid,
    )


if __name__ == "__main__":
    SAMPLE_PATH.write_bytes(gzip.compress(make_sample().data, mtime=0))
