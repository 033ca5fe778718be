"""Which path costs what: the app's handler is never reached unpaid by writing a path otherwise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.paywall.prices import PriceInvalid, Prices, Refused, Rule

RULES = {
    "GET /articles/{slug}": "0.1",
    "/paid": "0.1",
    "/slashed/": "0.1",
    "/v{n}/item": "0.1",
    "/Caf\u00e9Stra\u00dfe": "0.1",
    "/files/cheap/{p:path}": "0.01",
    "/files/free/{p:path}": "free",
    "/files/{p:path}": "1",
    "/public/{p:path}": "free",
}
PRICES = Prices(RULES, 6)


def found(method: str, path: str) -> str | None:
    rule = PRICES.find(method, path)
    if isinstance(rule, Refused):
        return "refused"
    return rule.text if rule else None


@pytest.mark.parametrize(
    ("method", "path", "rule"),
    [
        ("GET", "/articles/one", "GET /articles/{slug}"),
        ("HEAD", "/articles/one", "GET /articles/{slug}"),
        ("GET", "/articles/One", "GET /articles/{slug}"),
        ("GET", "/articles/a b", "GET /articles/{slug}"),
        ("GET", "/articles/100%", "GET /articles/{slug}"),
        ("GET", "/articles/...", "GET /articles/{slug}"),
        ("GET", "/articles/x;y=1", "GET /articles/{slug}"),
        ("POST", "/paid", "/paid"),
        ("GET", "/slashed/", "/slashed/"),
        ("GET", "/v12/item", "/v{n}/item"),
        ("GET", "/Caf\u00e9Stra\u00dfe", "/Caf\u00e9Stra\u00dfe"),
        ("GET", "/files/a/b/c.txt", "/files/{p:path}"),
        ("GET", "/files/https://example.org/a", "/files/{p:path}"),
        ("GET", "/files/cheap/a", "/files/cheap/{p:path}"),
        ("GET", "/files/free/a", None),
        ("GET", "/public/a//b", None),
        ("GET", "/", None),
        ("GET", "/articles", None),
        ("GET", "/articlesx", None),
        ("GET", "/elsewhere/..", None),
    ],
)
def test_find__as_it_was_written__the_rule(method: str, path: str, rule: str | None) -> None:
    assert found(method, path) == rule


@pytest.mark.parametrize(
    "path",
    [
        "/paid/",
        "/paid//",
        "//paid",
        "/./paid",
        "/x/../paid",
        "/paid/x/..",
        "/PAID",
        "/paid\n",
        "/paid ",
        "/paid;x=1",
        "/paid.json",
        "/paid\0",
        "/paid\0.png",
        "\\paid",
        "/%70aid",
        "/%2570aid",
        "/paid%2f",
        "/paid%252f",
        "/x%2f..%2fpaid",
        "/slashed",
        "/slashed//",
        "/slashed/more",
        "/articles/",
        "/articles//",
        "/articles/one/",
        "/articles/one/two",
        "/articles/../articles/one",
        "/articles/%2e%2e/articles/one",
        "/articles/..",
        "/articles/.",
        "/Articles/one",
        "//articles/one",
        "/articles\\one",
        "/articles%2fone",
        "/v1/item\n",
        "/v1/item/",
        "/V1/item",
        "/v1//item",
        "/caf\u00e9stra\u00dfe",
        "/caf\u00e9strasse",
        # Cheap, said to be free, or outside: dear once the path is cleaned up.
        "/files/cheap/../dear",
        "/files/cheap/%2e%2e/dear",
        "/files/cheap/..\\dear",
        "/files/free/../dear",
        "/files/free//../dear",
        "/files/Free/dear",
        "/files//free/dear",
        "/public/../files/dear",
        "/public/%2e%2e/files/dear",
        "/public/..%2ffiles/dear",
        # Dear as it stands, outside once it is cleaned up.
        "/files/../public/x",
        "/files/..",
        "/files/",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "get"])
def test_find__written_otherwise__refused(method: str, path: str) -> None:
    assert found(method, path) == "refused"


@pytest.mark.parametrize("method", ["POST", "PUT", "OPTIONS", "post", "X"])
def test_find__another_method_of_a_priced_path__refused(method: str) -> None:
    assert found(method, "/articles/one") == "refused"


@pytest.mark.parametrize("method", ["get", "Get", "head"])
def test_find__a_method_in_other_letters__the_same(method: str) -> None:
    assert found(method, "/articles/one") == "GET /articles/{slug}"
    # Not what comes after it either.
    prices = Prices({"GET /report": "0.01", "/report": "free"}, 6)
    rule = prices.find(method, "/report")
    assert isinstance(rule, Rule) and rule.price == 10_000
    assert prices.find("POST", "/report") is None


def test_find__a_long_path__the_same() -> None:
    path = "/articles/" + "x" * 5_000
    assert found("GET", path) == "GET /articles/{slug}"
    assert found("GET", path + "/") == "refused"
    assert found("GET", "/public/" + "x" * 5_000) is None


def test_find__the_home_page_is_priced__all_that_is_not_said_to_be_free_is_refused() -> None:
    prices = Prices({"/": "0.1", "/about": "free"}, 6)
    assert isinstance(prices.find("GET", "/"), Rule)
    assert prices.find("GET", "/about") is None
    assert isinstance(prices.find("GET", "/other"), Refused)
    assert isinstance(prices.find("GET", "//"), Refused)


# ---------------------------------------------------------------- what could never hold

PARAMETER = "a parameter is written {name} for one segment, or {name:path} for any number."
CLEANED = "a path is compared once it is decoded and cleaned up: write "
UNREADABLE = [
    ("GET /articles/*", PARAMETER),
    ("/articles/**", PARAMETER),
    ("/articles/*.html", PARAMETER),
    ("/articles/:slug", PARAMETER),
    ("/articles/:slug/pdf", PARAMETER),
    ("/articles/<slug>", PARAMETER),
    ("/articles/<str:slug>", PARAMETER),
    ("/articles/[slug]", PARAMETER),
    ("/articles/[...slug]", PARAMETER),
    ("/articles/{slug:int}", PARAMETER),
    ("/articles/{slug}}", PARAMETER),
    ("/search?q={q}", "what begins with '?' is no part of a path: leave it out."),
    ("/articles/one#top", "what begins with '#' is no part of a path: leave it out."),
    ("/articles//{slug}", CLEANED + "/articles/{slug}."),
    ("/x/../articles/{slug}", CLEANED + "/articles/{slug}."),
    ("/articles\\{slug}", CLEANED + "/articles/{slug}."),
    ("/Caf%C3%A9/{slug}", CLEANED + "/Caf\u00e9/{slug}."),
    ("/my%20articles", CLEANED + "{name} in the place of that segment."),
    ("/my%0Aarticles", CLEANED + "{name} in the place of that segment."),
    ("/c%23", CLEANED + "{name} in the place of that segment."),
]


@pytest.mark.parametrize("price", ["0.1", "free"])
@pytest.mark.parametrize(("rule", "said"), UNREADABLE)
def test_prices__a_path_that_matches_nothing__refused(rule: str, price: str, said: str) -> None:
    with pytest.raises(PriceInvalid) as caught:
        Prices({rule: price}, 6)
    assert str(caught.value) == f"price of {rule!r}: {said}"


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ("/models/{name}:run", "/models/a:run"),
        ("/models/all:run", "/models/all:run"),
        ("/{name}{more}", "/ab"),
        ("/%2{n}", "/%2x"),
        ("/a/...", "/a/..."),
        ("/$count/(all)/~me/@you/a+b,c", "/$count/(all)/~me/@you/a+b,c"),
    ],
)
def test_prices__an_unusual_path__holds(rule: str, path: str) -> None:
    found = Prices({rule: "0.1"}, 6).find("GET", path)
    assert isinstance(found, Rule) and found.text == rule


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("/{p:path}", "GET /articles/{slug}"),
        ("GET /{p:path}", "GET /articles/{slug}"),
        ("/articles/{slug}", "/articles/{name}"),
        ("/articles/{slug}", "GET /articles/one"),
        ("/articles/one", "GET /articles/one"),
        ("/{p:path}/c", "/{a}/{b}/c"),
        ("/{name}", "/{a}-{b}"),
        ("/a/{p:path}", "/a/{q:path}"),
        # Each of its paths is refused, for it may be taken for one of the other.
        ("/Articles/{slug}", "/articles/{slug}"),
    ],
)
@pytest.mark.parametrize("prices", [("free", "0.1"), ("0.1", "free"), ("0.1", "0.2")])
def test_prices__a_rule_after_one_that_matches_all_of_its_own__refused(
    earlier: str, later: str, prices: tuple[str, str]
) -> None:
    with pytest.raises(PriceInvalid) as caught:
        Prices({"/": "0.1", earlier: prices[0], later: prices[1]}, 6)
    assert str(caught.value) == (
        f"price of {later!r}: {earlier!r} before it matches all that it does, so it never holds: "
        "put it before that one, or remove it."
    )


@pytest.mark.parametrize(
    ("earlier", "later", "path"),
    [
        ("GET /articles/{slug}", "/articles/{slug}", "/articles/one"),
        ("GET /articles/{slug}", "POST /articles/{slug}", "/articles/one"),
        ("/articles/one", "/articles/{slug}", "/articles/two"),
        ("/articles/{slug}", "/articles/{p:path}", "/articles/a/b"),
        ("/{p:path}", "/", "/"),
        ("/a/{p:path}", "/a/", "/a/"),
        ("/{x}/{y}", "/{p:path}", "/a"),
        ("/{x}/b", "/{p:path}b", "/x/x/b"),
        ("/{p:path}/{x}", "/{p:path}b", "/ab"),
        ("/{a}{b}", "/{a}", "/x"),
        ("/{a}-{b}", "/{a}", "/x"),
        ("/{a}", "/{a}/", "/x/"),
    ],
)
def test_prices__a_rule_with_a_path_of_its_own__holds(earlier: str, later: str, path: str) -> None:
    prices = Prices({earlier: "free", later: "0.1"}, 6)
    found = prices.find("POST", path)
    assert isinstance(found, Rule) and found.text == later


def test_prices__free_after_free__is_only_said_twice() -> None:
    assert len(Prices({"/{p:path}": "free", "GET /health": "free"}, 6).rules) == 2


TOKENS = st.lists(st.sampled_from(["/b", "b", "{name}", "{name:path}"]), max_size=5)
TAKEN = {"{name}": st.text("ab", min_size=1), "{name:path}": st.text("ab/", min_size=1)}


def path_of(tokens: list[str]) -> str:
    # A parameter's name stands there once.
    return "/" + "".join(each.replace("name", f"p{n}") for n, each in enumerate(tokens))


@given(TOKENS, TOKENS, st.data())
def test_prices__a_rule_that_is_refused__has_no_path_of_its_own(
    first: list[str], second: list[str], data: st.DataObject
) -> None:
    earlier, later = path_of(["a", *first]), "GET " + path_of(["a", *second])
    try:
        Prices({earlier: "free", later: "0.1"}, 6)
    except PriceInvalid as error:
        assert "so it never holds" in str(error)
        (rule,) = Prices({earlier: "free"}, 6).rules
        taken = (data.draw(TAKEN[each]) if each in TAKEN else each for each in ["/a", *second])
        assert rule.pattern.fullmatch("".join(taken))
