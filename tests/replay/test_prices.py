import io
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_sample_log import PAGES, SAMPLE_PATH, make_sample

from farthing.protocol.amounts import MAX_AMOUNT
from farthing.protocol.errors import FarthingError
from farthing.replay.access_log import Read, read_log
from farthing.replay.prices import MAX_FILE_BYTES, PriceFileError, PriceList, Rule

REAL_LOG = Path(__file__).parents[2].parent / "shared" / "data" / "access.log.gz"


def matches(pattern: str, path: str) -> bool:
    return PriceList((Rule(pattern, 1),)).price(path) == 1


def rule(price: str, path: str = '"/a"') -> str:
    return f"[[rule]]\npath = {path}\nprice = {price}\n"


def refused(text: str, decimals: int = 6) -> PriceFileError:
    with pytest.raises(PriceFileError) as caught:
        PriceList.parse(text, decimals, source="p.toml")
    assert isinstance(caught.value, FarthingError)
    return caught.value


# Patterns


@pytest.mark.parametrize(
    ("pattern", "hits", "misses"),
    [
        ("/a", ["/a"], ["/", "/a/", "/A", "/ab", "a", ""]),
        ("/a/*", ["/a/b", "/a/*"], ["/a", "/a/", "/a//", "/a/b/", "/a/b/c", "/A/b"]),
        ("/*/b", ["/a/b", "/abc/b"], ["//b", "///b", "/b", "/a/a/b"]),
        ("/a*", ["/a", "/ab", "/a*"], ["/a/", "/b"]),
        ("/*.html", ["/.html", "/a.html"], ["/a/b.html", "/a.html5", "/a.HTML"]),
        ("/a*b*c", ["/abc", "/a1b2c", "/abbcc"], ["/ab/c", "/acb"]),
        ("/a/**", ["/a/", "/a/b", "/a/b/c"], ["/a", "/b/a/"]),
        ("/**/x", ["//x", "/a/x", "/a/b/x"], ["/x", "/a/xy"]),
        ("**.png", [".png", "/a.png", "/b/c/a.png", "/a.png.png"], ["/a.PNG", "/a.png/", "/apng"]),
        ("**", ["", "/", "/a/b", "*"], []),
        ("**/b/*.c", ["/b/.c", "/a/b/x.c"], ["/b/x/y.c", "b/x.c"]),
        ("/a.b+[c](d)$", ["/a.b+[c](d)$"], ["/axb+[c](d)$", "/a.bbc"]),
        ("/caf\u00e9", ["/caf\u00e9"], ["/cafe"]),
    ],
)
def test_price__pattern(pattern: str, hits: list[str], misses: list[str]) -> None:
    assert [path for path in hits if not matches(pattern, path)] == []
    assert [path for path in misses if matches(pattern, path)] == []


def as_regex(pattern: str) -> str:
    """The same language a second way."""
    parts = []
    for segment in re.split("(/)", pattern):
        literal = [re.escape(part) for part in re.split(r"(\*\*|\*)", segment)]
        text = "".join({r"\*\*": "(?s:.*)", r"\*": "[^/]*"}.get(part, part) for part in literal)
        parts.append("[^/]+" if segment == "*" else text)
    return "".join(parts)


patterns = st.lists(st.sampled_from(["a", "b", "/", "*", "**"]), max_size=8).map("".join)


@settings(deadline=None)
@given(
    st.lists(patterns.map("/".__add__).filter(lambda p: "***" not in p), max_size=5),
    st.text(alphabet="ab/", max_size=10).map("/".__add__),
)
def test_price__same_as_regular_expressions(globs: list[str], path: str) -> None:
    rules = tuple(Rule(glob, n) for n, glob in enumerate(globs, 1))
    expected = (n for n, glob in enumerate(globs, 1) if re.fullmatch(as_regex(glob), path))
    assert PriceList(rules).price(path) == next(expected, 0)


def test_price__first_matching_rule_wins() -> None:
    special, general = Rule("/a/b", 5), Rule("/a/**", 7)
    assert PriceList((special, general)).price("/a/b") == 5
    assert PriceList((general, special)).price("/a/b") == 7


def test_price__default_where_no_rule_matches() -> None:
    prices = PriceList.parse('default = "0.5"\n' + rule('"0"'), 6)
    assert (prices.price("/a"), prices.price("/b")) == (0, 500_000)
    assert PriceList.parse(rule('"1"'), 6).price("/b") == 0


def test_price__hostile_path_and_pattern() -> None:
    # A backtracking matcher would not come back from this one.
    pattern = "/" + "**a*b" * 20
    assert not matches(pattern, "/" + "ab" * 5000 + "c")
    assert matches(pattern, "/" + "ab" * 5000)


@settings(deadline=None)
@given(st.text(max_size=600))
def test_price__any_path(path: str) -> None:
    prices = PriceList.built_in(6)
    assert prices.price(path) == prices.price(path)
    assert prices.price(path) in {0, 1_000, 20_000, 50_000}


# Charges


@pytest.mark.parametrize(
    ("method", "status", "charge"),
    [("GET", 200, 9), ("HEAD", 200, 0), ("POST", 200, 0), ("GET", 304, 0), ("GET", 206, 0)],
)
def test_charge__delivered_pages_only(method: str, status: int, charge: int) -> None:
    assert PriceList((), default=9).charge(Read(1, "192.0.2.1", method, "/a", status)) == charge


# Prices


@pytest.mark.parametrize(
    ("text", "decimals", "units"),
    [
        ("0", 6, 0),
        ("0.00", 6, 0),
        ("0.02", 6, 20_000),
        ("0.000001", 6, 1),
        ("12.345678", 6, 12_345_678),
        ("007", 6, 7_000_000),
        ("1", 0, 1),
        ("0.000000000000000001", 18, 1),
        ("340282366920938463463.374607431768211455", 18, MAX_AMOUNT),
    ],
)
def test_parse__price_is_exact(text: str, decimals: int, units: int) -> None:
    assert PriceList.parse(rule(f'"{text}"'), decimals).rules == (Rule("/a", units),)


@settings(deadline=None)
@given(st.integers(0, 10**20), st.integers(0, 18))
def test_parse__price_round_trip(units: int, decimals: int) -> None:
    digits = str(units).zfill(decimals + 1)
    at = len(digits) - decimals
    text = digits[:at] + (f".{digits[at:]}" if decimals else "")
    assert PriceList.parse(f'default = "{text}"', decimals).default == units


@pytest.mark.parametrize(
    "text",
    [
        "-0.02",
        "1.2.3",
        "\uff11",
        "1e3",
        "NaN",
        "inf",
        "",
        " ",
        "1,5",
        ".5",
        "1.",
        "1_000",
        "0x1",
        " 1",
        "1\\n",
    ],
)
def test_parse__price_is_no_decimal(text: str) -> None:
    error = refused(rule('"1"') + rule(f'"{text}"'))
    assert (error.rule, error.field, error.line) == (2, "price", None)
    assert error.problem.endswith("is not an amount; write it like '0.002'")


@pytest.mark.parametrize("value", ["0.02", "1", "nan", "true", "[]", "1979-05-27"])
def test_parse__price_is_no_string(value: str) -> None:
    assert str(refused(rule(value))) == (
        "Price file 'p.toml', rule 1, field 'price': not a string; "
        'write the price in quotes, such as "0.02", to keep it exact.'
    )


def test_parse__more_decimals_than_the_token() -> None:
    text = rule('"1"') + rule('"0.0000001"')
    assert PriceList.parse(text, 7).rules[1].price == 1
    assert str(refused(text, 6)) == (
        "Price file 'p.toml', rule 2, field 'price': '0.0000001' has more than "
        "the token's 6 decimals; write fewer."
    )


def test_parse__price_above_what_a_channel_holds() -> None:
    units = str(MAX_AMOUNT + 1)
    error = refused(f'default = "{units}"', 0)
    assert (error.rule, error.field) == (None, "default")
    assert error.problem == f"'{units}' is more than a channel can hold; write less"
    assert len(str(refused(rule(f'"{"9" * 10_000}"')))) < 200


# Files


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("[[rule]]\nprice = '1'", (1, "path"), 'missing; add a line such as path = "/articles/*"'),
        ("[[rule]]\npath = '/'", (1, "price"), 'missing; add a line such as price = "0.02"'),
        (rule('"1"') + "prize = 2", (1, "prize"), "unknown; only path and price are known here"),
        ("rules = []", (None, "rules"), "unknown; only default and rule are known here"),
        ("[rule]\npath = '/'", (None, "rule"), "start every rule with the line [[rule]]"),
        ("rule = ['/']", (None, "rule"), "start every rule with the line [[rule]]"),
        (
            rule('"1"', "5"),
            (1, "path"),
            'not a string; write the pattern in quotes, such as "/articles/*"',
        ),
        (rule('"1"', "'a/*'"), (1, "path"), "'a/*' can match no path; start it with / or **"),
        (rule('"1"', "'*.png'"), (1, "path"), "'*.png' can match no path; start it with / or **"),
        (rule('"1"', "''"), (1, "path"), "'' can match no path; start it with / or **"),
        (
            rule('"1"', "'/***'"),
            (1, "path"),
            "'/***' has three asterisks in a row; write * or **",
        ),
        (
            rule('"1"', "'/a?b'"),
            (1, "path"),
            "'/a?b' names a query or fragment, which have no price; end it before ? or #",
        ),
    ],
)
def test_parse__wrong_rule(text: str, place: tuple[int | None, str], problem: str) -> None:
    error = refused(text)
    assert ((error.rule, error.field), error.problem) == (place, problem)


@pytest.mark.parametrize(
    ("text", "line"),
    [("a = ", 1), (rule('"1"') + "[[rule\n", 4), ("default = '1'\n\n'''", 3), ("=", 1)],
)
def test_parse__no_toml(text: str, line: int) -> None:
    error = refused(text)
    assert error.line == line
    assert str(error).startswith(f"Price file 'p.toml', line {line}: not valid TOML (")


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a = " + "9" * 5000])
def test_parse__toml_the_library_chokes_on(text: str) -> None:
    refused(text)


@settings(deadline=None)
@given(st.text() | st.binary().map(lambda data: data.decode(errors="replace")))
def test_parse__anything(text: str) -> None:
    try:
        PriceList.parse(text, 6)
    except PriceFileError as error:
        assert str(error).endswith(".")


def test_load__file(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(rule('"0.02"', '"/caf\u00e9"'), "utf-8")
    assert PriceList.load(str(tmp_path / "p.toml"), 6).rules == (Rule("/caf\u00e9", 20_000),)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("missing.toml", "there is no such file; check the path"),
        ("", "it is a directory; give the file in it"),
        ("latin", "it is not UTF-8; save it as UTF-8"),
        ("large", f"it is larger than {MAX_FILE_BYTES} bytes; shorten it"),
        ("a\0b", "it cannot be read (embedded null byte)"),
    ],
)
def test_load__cannot_be_read(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / "latin").write_bytes(b"# one\n# caf\xe9\n")
    (tmp_path / "large").write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    path = str(tmp_path / name)
    with pytest.raises(PriceFileError) as caught:
        PriceList.load(path, 6)
    assert (caught.value.source, caught.value.problem) == (path, problem)
    assert caught.value.line == (2 if name == "latin" else None)


def test_load__no_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PriceFileError, match=r"'p\.toml': permission denied; make it readable\."):
        PriceList.load("p.toml", 6)


# The prices that ship with the package


def test_built_in__sample_pages() -> None:
    prices = PriceList.built_in(6)
    for target, price in PAGES:
        line = f'192.0.2.1 - - [x] "GET {target} HTTP/1.1" 200 1'
        (read,) = list(read_log("-", io.BytesIO(line.encode())))
        assert isinstance(read, Read)
        assert (target, prices.charge(read)) == (target, price)


def charges(source: str) -> Counter[str]:
    prices = PriceList.built_in(6)
    owed: Counter[str] = Counter()
    for entry in read_log(source):
        if isinstance(entry, Read):
            owed[entry.client] += prices.charge(entry)
    return +owed


def test_built_in__sample_log() -> None:
    sample = make_sample()
    assert charges(str(SAMPLE_PATH)) == sample.owed
    assert len(sample.owed) > 50


# 3,338 paid reads of 1,111 readers, as counted by awk over the file.
REAL = [(str(REAL_LOG), 1_111, 66_825_000)] if REAL_LOG.exists() else []
SAMPLE = (str(SAMPLE_PATH), len(make_sample().owed), sum(make_sample().owed.values()))


@pytest.mark.parametrize(("source", "readers", "revenue"), [SAMPLE, *REAL])
def test_built_in__whole_log(source: str, readers: int, revenue: int) -> None:
    owed = charges(source)
    assert (len(owed), owed.total()) == (readers, revenue)


def test_built_in__token_with_too_few_decimals() -> None:
    with pytest.raises(PriceFileError, match="has more than the token's 1 decimals"):
        PriceList.built_in(1)
