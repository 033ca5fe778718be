"""Where the time of one paid request goes: each step by itself, in microseconds of processor time.

Run ``python -m bench.paywall_steps``. The steps are the paywall's own, called one after another on
prepared input; what is left of the whole is asyncio and the middleware between them. The server's
part (uvicorn, the socket) is not in it: see ``bare_rps`` of ``bench.paywall``.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from eth_account import Account

from bench.paywall_runs import SERVER_CORE
from bench.result import save
from farthing.ledger import Answer, ChannelState, Mirror, NewCharge, open_ledger
from farthing.paywall import Limits, Offers, Paywall, PaywallMiddleware, Prices
from farthing.paywall.checks import check_room, check_signatures, check_terms
from farthing.paywall.offer import payment_response
from farthing.protocol import X402_SETTLEMENT, ChannelConfig, Domain, Voucher, recover, sign
from farthing.protocol.payments import Payment, Terms, read_payment

CHANNELS = 2_000
# As many requests share a commit as have a connection in `bench.paywall`.
BATCH = 20
PRICE = 1
PATH = "/paid"

RECEIVER = Account.create().address
AUTHORIZER = Account.create().address
TOKEN = Account.create().address
DOMAIN = Domain(31_337, X402_SETTLEMENT)
TERMS = Terms(
    network="eip155:31337",
    token=TOKEN,
    token_name="Test USD",  # a name
    token_version="1",
    receiver=RECEIVER,
    receiver_authorizer=AUTHORIZER,
    withdraw_delay=3_600,
    min_deposit=1_000,
)


def main() -> None:
    """Measures, prints and saves."""
    # As the server of `bench.paywall`: on one core, where the loop itself commits.
    os.sched_setaffinity(0, {SERVER_CORE})
    with TemporaryDirectory(dir=".") as folder:
        save("paywall_steps", _measure(Path(folder)))


def _measure(folder: Path) -> dict[str, Any]:
    channels = [_channel(number) for number in range(1, CHANNELS + 1)]
    headers = [_header(*channel) for channel in channels]
    payments = [read_payment(header) for header in headers]
    ledger = open_ledger(str(folder / "steps.db"))
    for payment in payments:
        mirror = Mirror(10**9, 0, 0, 0, 0, time.time_ns() // 1_000_000)
        ledger.mirror(payment.channel_id, payment.config, mirror)
    digests = [Voucher(each.channel_id, each.ceiling).digest(DOMAIN) for each in payments]
    states: dict[bytes, ChannelState] = {}

    def reserve(payment: Payment) -> None:
        (state,) = ledger.reserve([payment.channel_id])
        assert isinstance(state, ChannelState)
        states[payment.channel_id] = state
        ledger.release([payment.channel_id])

    def told(payment: Payment) -> bytes:
        state = states[payment.channel_id]
        return payment_response(
            TERMS.network, payment.config.payer, payment.channel_id, state, charged=PRICE
        )

    steps = {
        # The second time the channel's config is found read.
        "read the header": _each(read_payment, headers),
        "compare the terms": _each(lambda each: check_terms(each, TERMS, PRICE), payments),
        "recover the signer": _each(
            lambda pair: recover(pair[0], pair[1].signature),
            list(zip(digests, payments, strict=True)),
        ),
        "verify the vouchers, recovery included, by twenties": _by_batches(
            lambda batch: check_signatures(batch, DOMAIN), payments
        ),
        "reserve and give back": _each(reserve, payments),
        "check the room": _each(
            lambda each: check_room(each, states[each.channel_id], PRICE, None), payments
        ),
        "write PAYMENT-RESPONSE": _each(told, payments),
        "commit, synced, by twenties": _commit(ledger, payments, states, told),
    }
    ledger.close()
    whole = asyncio.run(_whole(folder, payments, headers))
    return {
        "cpu_us": {name: round(value, 1) for name, value in steps.items()},
        "whole_cpu_us": round(whole, 1),
        "channels": CHANNELS,
        "connections": BATCH,
    }


def _each(step: Callable[[Any], object], items: list[Any]) -> float:
    started = time.process_time()
    for item in items:
        step(item)
    return (time.process_time() - started) / len(items) * 1e6


def _by_batches(step: Callable[[list[Any]], object], items: list[Any]) -> float:
    started = time.process_time()
    for first in range(0, len(items), BATCH):
        step(items[first : first + BATCH])
    return (time.process_time() - started) / len(items) * 1e6


def _commit(
    ledger: Any,
    payments: list[Payment],
    states: dict[bytes, ChannelState],
    told: Callable[[Payment], bytes],
) -> float:
    charges = []
    for number, payment in enumerate(payments):
        headers = [(b"content-type", b"application/json"), (b"payment-response", told(payment))]
        state = states[payment.channel_id]
        charges.append(
            NewCharge(
                channel_id=payment.channel_id,
                charges=state.charges,
                charged=state.charged,
                amount=PRICE,
                price=PRICE,
                ceiling=payment.ceiling,
                signature=payment.signature,
                route=PATH,
                request_id=f"step-{number}",
                time=0,
                answer=Answer(bytes(32), 200, headers, b'{"hello":"world"}', 0),
            )
        )

    def commit(batch: list[NewCharge]) -> None:
        assert all(ledger.commit(batch))

    return _by_batches(commit, charges)


async def _whole(folder: Path, payments: list[Payment], headers: list[bytes]) -> float:
    ledger = open_ledger(str(folder / "whole.db"))
    for payment in payments:
        mirror = Mirror(10**9, 0, 0, 0, 0, time.time_ns() // 1_000_000)
        ledger.mirror(payment.channel_id, payment.config, mirror)
    prices = Prices({f"GET {PATH}": "0.000001"}, 6)
    paywall = Paywall(prices, Offers(TERMS, "tUSD", 6), DOMAIN, ledger, None, Limits())
    app = PaywallMiddleware(_app, paywall)
    waiting = iter(headers)
    statuses: list[int] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def client() -> None:
        for header in waiting:
            sent = [(b"host", b"127.0.0.1"), (b"payment-signature", header)]
            await app({**_SCOPE, "headers": sent}, _nothing, send)

    started = time.process_time()
    await asyncio.gather(*(client() for _ in range(BATCH)))
    taken = time.process_time() - started
    assert statuses == [200] * len(headers)
    await paywall.close()
    return taken / len(headers) * 1e6


_SCOPE = {"type": "http", "method": "GET", "path": PATH, "query_string": b"", "scheme": "http"}


async def _nothing() -> Any:
    return {"type": "http.disconnect"}


async def _app(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"17")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"hello":"world"}'})


def _channel(number: int) -> tuple[Any, ChannelConfig]:
    key = Account.from_key(number.to_bytes(32, "big"))
    config = ChannelConfig(
        key.address, key.address, RECEIVER, AUTHORIZER, TOKEN, TERMS.withdraw_delay, bytes(32)
    )
    return key, config


def _header(key: Any, config: ChannelConfig) -> bytes:
    channel_id = config.channel_id(DOMAIN)
    signature = sign(key, Voucher(channel_id, PRICE), DOMAIN)
    payload = {
        "x402Version": 2,
        "payload": {
            "type": "voucher",
            "channelConfig": config.to_json(),
            "voucher": {
                "channelId": "0x" + channel_id.hex(),
                "maxClaimableAmount": str(PRICE),
                "signature": "0x" + signature.hex(),
            },
        },
        "accepted": TERMS.requirements(PRICE)[0],
        "resource": {"url": f"http://127.0.0.1{PATH}", "mimeType": "application/json"},
    }
    return b64encode(json.dumps(msgspec.to_builtins(payload)).encode())


if __name__ == "__main__":
    main()
