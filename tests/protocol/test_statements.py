"""Receipts and statements of charges: signed as eth-account signs, and refused once touched."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_account.messages import encode_typed_data
from eth_utils import keccak
from hypothesis import given
from hypothesis import strategies as st

from farthing.protocol import Domain, InvalidField
from farthing.protocol.proofs import read_given, read_proof, write_proof
from farthing.protocol.receipts import CHARGE as CHARGE_TYPE
from farthing.protocol.receipts import (
    EXTENSION,
    Charge,
    Given,
    Receipt,
    Statement,
    StatementWrong,
    extension,
)
from farthing.protocol.receipts import RECEIPT as RECEIPT_TYPE
from tests.protocol.protocol_samples import ALICE, BOB, CONFIG, DOMAIN, TOKEN, amounts, words

# As x402's extension has them, and docs/receipts.md.
TYPES: dict[str, list[tuple[str, str]]] = {
    "Receipt": [
        ("version", "uint256"),
        ("network", "string"),
        ("resourceUrl", "string"),
        ("payer", "string"),
        ("issuedAt", "uint256"),
        ("transaction", "string"),
    ],
    "Charge": [
        ("channelId", "bytes32"),
        ("amount", "uint128"),
        ("total", "uint128"),
        ("method", "string"),
        ("url", "string"),
        ("requestId", "string"),
        ("time", "uint64"),
    ],
}
DOMAINS = {"Receipt": "x402 receipt", "Charge": "Farthing charge"}
URL = "https://news.example/articles/seven?page=2"
NOW = 1_780_000_000
RECEIPT = Receipt("eip155:8453", URL, ALICE.address, NOW)
CHARGE = Charge(CONFIG.channel_id(DOMAIN), 2_000, 123_000, "GET", URL, "0123abcd-7", NOW)
GIVEN = Given(Statement.by(BOB, RECEIPT), Statement.by(BOB, CHARGE))

texts = st.text()


def typed(said: Receipt | Charge) -> dict[str, Any]:
    """The whole typed data, made of the JSON form."""
    kind = type(said).__name__
    types = {kind: [{"name": name, "type": form} for name, form in TYPES[kind]]}
    message = {
        name: int(value) if form.startswith("uint") else value
        for (name, form), value in zip(TYPES[kind], said.to_json().values(), strict=True)
    }
    domain = {"name": DOMAINS[kind], "version": "1", "chainId": 1}
    return {"domain_data": domain, "message_types": types, "message_data": message}


def check(said: Receipt | Charge) -> None:
    data = typed(said)
    signable = encode_typed_data(**data)
    digest = keccak(b"\x19\x01" + signable.header + signable.body)
    assert said.digest(said.DOMAIN) == digest
    statement = Statement.by(BOB, said)
    assert statement.signature == bytes(BOB.sign_typed_data(**data).signature)
    assert statement.signer() == BOB.address


@given(texts, texts, texts, st.integers(0, 2**256 - 1), texts)
def test_receipt__is_signed_as_eth_account_signs_it(
    network: str, url: str, payer: str, issued_at: int, transaction: str
) -> None:
    check(Receipt(network, url, payer, issued_at, transaction))


@given(words, amounts, amounts, texts, texts, texts, st.integers(0, 2**64 - 1))
def test_charge__is_signed_as_eth_account_signs_it(
    channel_id: bytes, one: int, other: int, method: str, url: str, request_id: str, time: int
) -> None:
    check(Charge(channel_id, min(one, other), max(one, other), method, url, request_id, time))


@pytest.mark.parametrize(
    "changes",
    [
        {"channel_id": bytes(31)},
        {"amount": -1},
        {"amount": 123_001},
        {"total": 2**128},
        {"time": 2**64},
        {"time": 1.0},
        {"url": "\ud800"},
        {"method": b"GET"},
        {"request_id": None},
    ],
)
def test_charge__with_a_field_that_cannot_be__refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidField, match=next(iter(changes))):
        replace(CHARGE, **changes)


# ---------------------------------------------------------------- proofs


def proof() -> dict[str, Any]:
    """What a payer hands on, for a test to spoil."""
    return json.loads(json.dumps(write_proof(GIVEN, CONFIG, DOMAIN)))


def refused(document: Any, signer: str | None = None) -> str:
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(StatementWrong) as caught:
        read_proof(text, signer)
    said = str(caught.value)
    assert said.startswith("this receipt proves nothing, do not count on it: ")
    assert said.endswith(".")
    return said


def test_proof__that_is_right__says_who_signed_what() -> None:
    found = read_proof(json.dumps(proof()).encode())
    assert (found.signer, found.config, found.domain) == (BOB.address, CONFIG, DOMAIN)
    assert found.given == GIVEN
    assert read_proof(json.dumps(proof()).encode(), BOB.address.lower()).signer == BOB.address


@pytest.mark.parametrize("encode", [lambda text: text, base64.b64encode, lambda text: text + b"\n"])
def test_proof__a_response_as_header_or_json__needs_the_signer(
    encode: Callable[[bytes], bytes],
) -> None:
    response = {"success": True, "extensions": GIVEN.extension()}
    text = encode(json.dumps(response).encode())
    found = read_proof(text, BOB.address)
    assert (found.given, found.config) == (GIVEN, None)
    assert "signed by " + BOB.address in refused(text)
    assert "not by " + ALICE.address in refused(text, ALICE.address)


PAYLOADS = {
    "receipt": {
        "version": 2,
        "network": "eip155:1",
        "resourceUrl": URL + "0",
        "payer": BOB.address,
        "issuedAt": NOW + 1,
        "transaction": "0x00",
    },
    "charge": {
        "channelId": "0x" + bytes(32).hex(),
        "amount": "1999",
        "total": "123001",
        "method": "POST",
        "url": URL + "0",
        "requestId": "0123abcd-8",
        "time": NOW - 1,
    },
}


@pytest.mark.parametrize("config", [True, False], ids=["with the channel", "with the signer"])
@pytest.mark.parametrize(
    ("part", "name"), [(part, name) for part, fields in PAYLOADS.items() for name in fields]
)
def test_proof__one_signed_field_changed__refused(part: str, name: str, config: bool) -> None:
    document = proof()
    assert set(document[part]["payload"]) == set(PAYLOADS[part])
    document[part]["payload"][name] = PAYLOADS[part][name]
    if not config:
        del document["channelConfig"]
    refused(document, None if config else BOB.address)
    if name != "transaction":
        # That one may be left out where there is none.
        del document[part]["payload"][name]
        refused(document, None if config else BOB.address)


@pytest.mark.parametrize("part", ["receipt", "charge"])
@pytest.mark.parametrize("byte", [0, 31, 32, 63, 64])
def test_proof__one_byte_of_a_signature_changed__refused(part: str, byte: int) -> None:
    document = proof()
    signature = bytearray.fromhex(document[part]["signature"][2:])
    signature[byte] ^= 1 if byte < 64 else 7
    document[part]["signature"] = "0x" + signature.hex()
    refused(document)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("payer", BOB.address),
        ("payerAuthorizer", BOB.address),
        ("receiver", ALICE.address),
        ("receiverAuthorizer", ALICE.address),
        ("token", ALICE.address),
        ("withdrawDelay", 901),
        ("salt", "0x" + bytes([1] * 32).hex()),
    ],
)
def test_proof__another_channel__refused(name: str, value: object) -> None:
    document = proof()
    document["channelConfig"][name] = value
    assert "of another channel" in refused(document)


@pytest.mark.parametrize(("name", "value"), [("network", "eip155:1"), ("settlement", TOKEN)])
def test_proof__another_place__refused(name: str, value: str) -> None:
    document = proof()
    document[name] = value
    assert "of another channel" in refused(document)


def test_proof__signed_by_somebody_else__refused() -> None:
    forged = Given(Statement.by(ALICE, RECEIPT), Statement.by(ALICE, CHARGE))
    said = refused(write_proof(forged, CONFIG, DOMAIN))
    assert ALICE.address in said and BOB.address in said


@pytest.mark.parametrize("part", ["receipt", "charge"])
def test_proof__one_half_signed_by_somebody_else__refused(part: str) -> None:
    forged = Given(Statement.by(ALICE, RECEIPT), Statement.by(ALICE, CHARGE))
    given = replace(GIVEN, **{part: getattr(forged, part)})
    assert "signed by two" in refused(write_proof(given, CONFIG, DOMAIN))


@pytest.mark.parametrize("changes", [{"url": URL + "0"}, {"issued_at": NOW + 1}])
def test_proof__halves_of_two_requests__refused(changes: dict[str, Any]) -> None:
    given = replace(GIVEN, receipt=Statement.by(BOB, replace(RECEIPT, **changes)))
    assert "of two requests" in refused(write_proof(given, CONFIG, DOMAIN))


@pytest.mark.parametrize(
    ("changes", "reason"), [({"payer": BOB.address}, "payer"), ({"network": "eip155:1"}, "channel")]
)
def test_proof__a_receipt_that_is_not_the_channels__refused(
    changes: dict[str, Any], reason: str
) -> None:
    given = replace(GIVEN, receipt=Statement.by(BOB, replace(RECEIPT, **changes)))
    assert reason in refused(write_proof(given, CONFIG, DOMAIN))


def test_proof__a_charge_alone__is_one() -> None:
    text = json.dumps(write_proof(replace(GIVEN, receipt=None), CONFIG, DOMAIN)).encode()
    assert read_proof(text).given == replace(GIVEN, receipt=None)


def test_proof__a_receipt_alone__names_no_channel() -> None:
    """A channel that is written beside it is whatever somebody likes."""
    document = write_proof(replace(GIVEN, charge=None), CONFIG, DOMAIN)
    assert "does not say for which channel" in refused(document)
    found = read_proof(json.dumps(document).encode(), BOB.address)
    assert (found.given, found.config) == (replace(GIVEN, charge=None), None)


@pytest.mark.parametrize("part", ["receipt", "charge"])
def test_proof__in_a_form_that_is_not_known__refused(part: str) -> None:
    document = proof()
    document[part]["format"] = "jws"
    assert f"its {part} is in a form" in refused(document)
    # A client that only looks for what it knows takes the other half.
    assert getattr(read_given(json.dumps(document).encode()), part) is None


def test_proof__a_field_that_nobody_signed__refused() -> None:
    for part in ("receipt", "charge"):
        document = proof()
        document[part]["payload"]["\x1b[2Jnote" + "e" * 1_000] = "paid twice"
        said = refused(document)
        assert r"\x1b[2Jnote" in said and "\x1b" not in said and len(said) < 400


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"{}",
        b"[]",
        b"null",
        b"not base64",
        b"\xff\xfe",
        b'{"charge": 5}',
        b'{"charge": {"format": "eip712", "signature": "0x"}}',
        b'{"charge": {"format": "eip712", "signature": "0x", "payload": []}}',
        b'{"extensions": {"offer-receipt": {}}}',
        b'{"a":' * 100_000,
        b"[" * 100_000,
    ],
)
def test_proof__that_is_none__refused(text: bytes) -> None:
    refused(text, BOB.address)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("network", None),
        ("network", "solana:1"),
        ("network", "eip155:x"),
        ("settlement", None),
        ("settlement", "0x0"),
        ("channelConfig", {}),
    ],
)
def test_proof__of_a_place_that_cannot_be__refused(name: str, value: object) -> None:
    document = proof()
    document[name] = value
    refused(document)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


def places(document: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The ways to everything in a document."""
    inner = document.items() if isinstance(document, dict) else ()
    return [path] + [place for name, value in inner for place in places(value, (*path, name))]


@given(json_values, st.sampled_from(places(proof())[1:]))
def test_proof__with_anything_anywhere__is_refused_or_says_the_same(
    value: Any, place: tuple[str, ...]
) -> None:
    document = inner = proof()
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    try:
        found = read_proof(json.dumps(document).encode(), BOB.address)
    except StatementWrong:
        return
    # A half, or the channel, was taken away: what is left is right.
    assert found.given.info().items() <= GIVEN.info().items()
    assert found.config in (CONFIG, None)


def test_proof__of_another_contract__is_right_there() -> None:
    elsewhere = Domain(1, TOKEN)
    charge = replace(CHARGE, channel_id=CONFIG.channel_id(elsewhere))
    receipt = replace(RECEIPT, network="eip155:1")
    given = Given(Statement.by(BOB, receipt), Statement.by(BOB, charge))
    text = json.dumps(write_proof(given, CONFIG, elsewhere)).encode()
    assert read_proof(text).domain == elsewhere


def test_extension__is_where_x402_wants_it() -> None:
    told = GIVEN.extension()
    info = told["offer-receipt"]["info"]
    assert set(info["receipt"]) == {"format", "payload", "signature"}
    assert info["receipt"]["format"] == "eip712"
    assert len(info["receipt"]["signature"]) == 2 + 2 * 65
    assert extension({})[EXTENSION]["info"] == {}
    assert read_given(json.dumps({"extensions": told}).encode()) == GIVEN
    other = copy.deepcopy(told)
    del other["offer-receipt"]["info"]["receipt"], other["offer-receipt"]["info"]["charge"]
    assert read_given(json.dumps({"extensions": other}).encode()) == Given()


def test_documentation__its_example__is_right_to_the_byte() -> None:
    page = (Path(__file__).parents[2] / "docs" / "receipts.md").read_text()
    text = page.partition("```json")[2].partition("```")[0].encode()
    found = read_proof(text)
    assert found.given.receipt is not None and found.given.charge is not None
    for each in (found.given.receipt.said, found.given.charge.said):
        assert "0x" + each.digest(each.DOMAIN).hex() in page
    for kind in (RECEIPT_TYPE, CHARGE_TYPE):
        assert f"`{kind.text}`" in page
    assert found.signer in page.partition("signer ")[2].splitlines()[0]
