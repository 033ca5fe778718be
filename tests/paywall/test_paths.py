"""Which path costs what: the app's handler is never reached unpaid by writing a path otherwise."""

import pytest

from farthing.paywall.prices import Prices, Refused, Rule

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
