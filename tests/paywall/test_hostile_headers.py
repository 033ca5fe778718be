"""Payment headers by people who mean harm: refused with a reason, whatever they hold."""

from __future__ import annotations

import base64
import json
from copy import deepcopy
from typing import Any

import pytest

from farthing.protocol.payments import MAX_HEADER, Payment, read_payment
from farthing.protocol.signatures import SECP256K1_ORDER
from tests.escrow_world import STRANGER
from tests.paywall.paywall_kit import CHEAP, Got, Json, Payer, Shop, encoded, run

PAYER = Payer()
OTHER = STRANGER.address
DEPOSIT = {"amount": "5000", "authorization": {"erc3009Authorization": None}}


def valid() -> Json:
    return PAYER.message(CHEAP, CHEAP)


def with_text(name: str, value: str) -> bytes:
    """A valid message in which a field has a value that `json` would not write."""
    marked = json.dumps(_changed(valid(), name, "@@"))
    return base64.b64encode(marked.replace('"@@"', value).encode("utf-8", "surrogatepass"))


def _changed(message: Json, path: str, value: Any) -> Json:
    changed = deepcopy(message)
    *parents, last = path.split(".")
    here = changed
    for parent in parents:
        here = here[parent]
    here[last] = value
    return changed


def refused(shop: Shop, *headers: bytes) -> Got:
    """It is refused, nothing is charged, and the channel is free for who pays."""
    got = run(shop.get("/cheap", headers=[(b"payment-signature", each) for each in headers]))
    assert got.status == 402, got
    assert shop.served == 0
    assert shop.charged(PAYER) == 0
    assert run(shop.get("/cheap", PAYER.header(CHEAP))).status == 200
    return got


def b64(text: str | bytes) -> bytes:
    return base64.b64encode(text if isinstance(text, bytes) else text.encode())


VALID = b64(json.dumps(valid()))
HEADERS = {
    "empty": b"",
    "not base64": b"\x00\xff{}",
    "JSON as it is": json.dumps(valid()).encode(),
    "base64 of nothing": b64(""),
    "random bytes": b64(bytes(range(256))),
    "a megabyte": b"A" * 1_000_000,
    "a megabyte of JSON": b64(json.dumps({**valid(), "x": "y" * 1_000_000})),
    "a byte too long": b"A" * (MAX_HEADER + 1),
    "deep lists": b64("[" * 12_000),
    "deep objects": b64('{"a":' * 2_400),
    "deep in an unknown field": b64('{"x":' + "[" * 11_000),
    "null": b64("null"),
    "a list": b64(json.dumps([valid()])),
    "a number": b64("1"),
    "NaN": b64("NaN"),
    "cut short": b64(json.dumps(valid())[:-1]),
    "more behind it": b64(json.dumps(valid()) + "{}"),
    "not UTF-8": b64(json.dumps(valid()).encode().replace(b"voucher", b"\xff\xfe", 1)),
    "UTF-16": b64(json.dumps(valid()).encode("utf-16")),
    "a byte order mark": b64(b"\xef\xbb\xbf" + json.dumps(valid()).encode()),
    "base64 with a newline": VALID[:8] + b"\n" + VALID[8:],
    "base64 with a space": VALID[:8] + b" " + VALID[8:],
    "base64 with a comma": VALID + b"," + VALID,
    "base64 with one more sign": VALID + b"=",
    "base64 twice": VALID + VALID,
    "base64 with other letters": VALID.replace(b"e", b"-", 1),
    "base64 in base64": base64.b64encode(VALID),
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
def test_header__that_is_no_payment__refused(shop: Shop, header: bytes) -> None:
    assert refused(shop, header).error == "voucher_payload"


def test_headers__several__refused(shop: Shop) -> None:
    assert refused(shop, VALID, VALID).error == "voucher_payload"


def test_headers__thousands__are_not_put_together(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bytes] = []

    def noted(header: bytes) -> Payment:
        read.append(header)
        return read_payment(header)

    monkeypatch.setattr("farthing.paywall.intake.read_payment", noted)
    headers = [(b"payment-signature", VALID)] * 5_000
    got = run(shop.get("/cheap", headers=headers))
    assert (got.status, got.error) == (402, "voucher_payload")
    assert [len(header) < len(VALID) for header in read] == [True]


def test_headers__an_empty_one_before__refused(shop: Shop) -> None:
    assert refused(shop, b"", VALID).error == "voucher_payload"


def test_header__that_is_long_and_right__taken(shop: Shop) -> None:
    message = {**valid(), "x": "y" * 8_000}
    assert run(shop.get("/cheap", encoded(message))).status == 200


def test_header__with_fields_nobody_knows__taken(shop: Shop) -> None:
    message = valid()
    message["payload"]["voucher"]["note"] = {"a": [1e400, None]}
    message["extensions"] = {}
    text = json.dumps(message).replace("Infinity", "1e400")
    assert run(shop.get("/cheap", b64(text).decode())).status == 200


BAD_AMOUNTS = [
    '""', '" 100"', '"100 "', '"+100"', '"-100"', '"1_00"', '"0x64"', '"1e2"', '"100.0"', "100",
    '"\uff11\uff10\uff10"', '"\u0661\u0660\u0660"', '"100\\n"', '"100\\u0000"', '"NaN"', "NaN",
    "1e400",
    "true", "null", "[]", "{}", '["100"]', '"' + "9" * 40 + '"', '"' + "9" * 5_000 + '"',
    "9" * 5_000, '"\\ud800"', '"340282366920938463463374607431768211456"',
]  # fmt: skip


@pytest.mark.parametrize("value", BAD_AMOUNTS)
@pytest.mark.parametrize("name", ["accepted.amount", "payload.voucher.maxClaimableAmount"])
def test_amount__that_is_none__refused(shop: Shop, name: str, value: str) -> None:
    assert refused(shop, with_text(name, value)).error == "voucher_payload"


BAD_TEXTS = ['"\\ud800"', '"\\udfff\\ud800"', '"\ud800"', '"\\u0000"', "null", "1", "[]", "{}"]
TEXTS = [
    "accepted.network",
    "accepted.asset",
    "accepted.payTo",
    "accepted.scheme",
    "payload.type",
    "payload.channelConfig.payer",
    "payload.channelConfig.salt",
    "payload.voucher.channelId",
    "payload.voucher.signature",
]


@pytest.mark.parametrize("value", BAD_TEXTS)
@pytest.mark.parametrize("name", TEXTS)
def test_text__that_is_none__refused(shop: Shop, name: str, value: str) -> None:
    refused(shop, with_text(name, value))


@pytest.mark.parametrize("value", ["1", "3", "2.5", '"2"', "true", "null", "1e400", "9" * 5_000])
def test_version__other_than_2__refused(shop: Shop, value: str) -> None:
    assert refused(shop, with_text("x402Version", value)).error == "voucher_payload"


@pytest.mark.parametrize("value", ["3600.5", '"3600"', "true", "-1", "0", "1e400", "9" * 5_000])
def test_withdraw_delay__that_is_none__refused(shop: Shop, value: str) -> None:
    refused(shop, with_text("payload.channelConfig.withdrawDelay", value))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"100"', '"1", "maxClaimableAmount": "100"'),
        ('"voucher"', '"refund", "type": "voucher"'),
        ('"x402Version": 2', '"x402Version": 1, "x402Version": 2'),
    ],
)
def test_keys__twice__one_of_them_counts_for_everything(shop: Shop, old: str, new: str) -> None:
    text = json.dumps(valid())
    assert old in text
    got = run(shop.get("/cheap", b64(text.replace(old, new)).decode()))
    # Whichever it was, what was checked is what was charged.
    assert (got.status == 200) == (shop.charged(PAYER) == CHEAP)
    assert got.status in (200, 402)


@pytest.mark.parametrize("key", ["x402Version", "accepted", "payload", "payload.voucher"])
def test_keys__in_another_case__refused(shop: Shop, key: str) -> None:
    last = key.rsplit(".", 1)[-1]
    text = json.dumps(valid()).replace(f'"{last}":', f'"{last.upper()}":')
    refused(shop, b64(text))


# ---------------------------------------------------------------- right in form


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        ("accepted.scheme", "exact", "scheme"),
        ("accepted.network", "eip155:1", "network_mismatch"),
        ("accepted.network", "eip155:08453", "network_mismatch"),
        ("accepted.asset", OTHER, "token_mismatch"),
        ("accepted.payTo", OTHER, "receiver_mismatch"),
        ("accepted.amount", "99", "accepted_terms_mismatch"),
        ("accepted.amount", "0", "accepted_terms_mismatch"),
        ("payload.channelConfig.token", OTHER, "token_mismatch"),
        ("payload.channelConfig.receiver", OTHER, "receiver_mismatch"),
        ("payload.channelConfig.receiverAuthorizer", OTHER, "receiver_authorizer_mismatch"),
        ("payload.channelConfig.withdrawDelay", 900, "withdraw_delay_mismatch"),
        ("payload.channelConfig.payer", OTHER, "channel_id_mismatch"),
        ("payload.channelConfig.payerAuthorizer", OTHER, "channel_id_mismatch"),
        ("payload.channelConfig.salt", "0x" + "01" * 32, "channel_id_mismatch"),
        ("payload.voucher.channelId", "0x" + "01" * 32, "channel_id_mismatch"),
        ("payload.voucher.maxClaimableAmount", "200", "voucher_signature"),
        ("payload.type", "deposit", "voucher_payload"),
        ("payload.type", "claim", "voucher_payload"),
    ],
)
def test_terms__other_than_asked__refused(shop: Shop, path: str, value: Any, error: str) -> None:
    got = refused(shop, b64(json.dumps(_changed(valid(), path, value))))
    assert got.error == error


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("receiver", OTHER),
        ("receiver_authorizer", OTHER),
        ("token", OTHER),
        ("withdraw_delay", 900),
    ],
)
def test_channel__made_for_somebody_else__refused_though_it_is_signed(
    shop: Shop, name: str, value: Any
) -> None:
    other = PAYER.with_config(**{name: value})
    refused(shop, other.header(CHEAP).encode())


def _signature(change: Any) -> Json:
    message = valid()
    signature = bytes.fromhex(message["payload"]["voucher"]["signature"][2:])
    message["payload"]["voucher"]["signature"] = "0x" + change(signature).hex()
    return message


SIGNATURES: dict[str, Any] = {
    "none": lambda s: b"",
    "too short": lambda s: s[:-1],
    "too long": lambda s: s + b"\0",
    "very long": lambda s: s + bytes(100),
    "v of 0": lambda s: s[:64] + bytes([s[64] - 27]),
    "v of 29": lambda s: s[:64] + b"\x1d",
    "the other v": lambda s: s[:64] + bytes([55 - s[64]]),
    "a high s": lambda s: (
        s[:32]
        + (SECP256K1_ORDER - int.from_bytes(s[32:64], "big")).to_bytes(32, "big")
        + bytes([55 - s[64]])
    ),
    "zeros": lambda s: bytes(64) + b"\x1b",
    "an r of zero": lambda s: bytes(32) + s[32:],
    "compact": lambda s: s[:64],
}


@pytest.mark.parametrize("change", SIGNATURES.values(), ids=SIGNATURES.keys())
def test_signature__that_the_contract_would_refuse__refused(shop: Shop, change: Any) -> None:
    assert refused(shop, b64(json.dumps(_signature(change)))).error == "voucher_signature"


def test_signature__by_another_key__refused(shop: Shop) -> None:
    message = valid()
    forged = Payer(STRANGER).message(CHEAP, CHEAP)["payload"]["voucher"]["signature"]
    message["payload"]["voucher"]["signature"] = forged
    assert refused(shop, b64(json.dumps(message))).error == "voucher_signature"


def test_deposit__without_a_chain__refused(shop: Shop) -> None:
    message = PAYER.message(CHEAP, CHEAP, "deposit", deposit=DEPOSIT)
    message["payload"]["deposit"]["authorization"]["erc3009Authorization"] = {
        "validAfter": "0",
        "validBefore": "1",
        "salt": "0x" + "00" * 32,
        "signature": "0x",
    }
    assert refused(shop, b64(json.dumps(message))).error == "deposit_payload"
