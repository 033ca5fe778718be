"""Every voucher the paywall accepts, the contract accepts: the two are asked side by side."""

from __future__ import annotations

import random
from typing import Any

from farthing.protocol import VoucherClaim
from farthing.protocol.signatures import SECP256K1_ORDER
from tests.escrow_world import FUNDS, PAYER, RECEIVER, World
from tests.paywall.paywall_kit import CHEAP, DEAR, Payer, Shop, encoded, run

ROUNDS = 60
PRICES = {"/cheap": CHEAP, "/dear": DEAR}


def spoilt(rng: random.Random, signature: bytes) -> bytes:
    """A signature, often not as it was."""
    r, s, v = signature[:32], signature[32:64], signature[64]
    high = (SECP256K1_ORDER - int.from_bytes(s, "big")).to_bytes(32, "big")
    at = rng.randrange(65)
    return rng.choice(
        [
            signature,
            signature,
            signature,
            r + high + bytes([55 - v]),
            r + s + bytes([55 - v]),
            r + s + bytes([v - 27]),
            signature[:64],
            signature + b"\0",
            signature[:at] + bytes([signature[at] ^ 1]) + signature[at + 1 :],
            rng.randbytes(65),
            b"",
        ]
    )


def test_vouchers__spoilt_at_random__accepted_by_the_paywall_is_accepted_by_the_contract(
    chain_shop: Shop, chain_payer: Payer, world: World
) -> None:
    rng = random.Random(4)
    world.deposit(PAYER, FUNDS // 2)
    world.operator.forget_nonce()
    chain_shop.open_channel(chain_payer, FUNDS // 2)
    accepted = refused = 0
    for _ in range(ROUNDS):
        charged = chain_shop.charged(chain_payer)
        path, price = rng.choice(list(PRICES.items()))
        ceiling = charged + rng.choice([price, price, price, 0, price + 1, FUNDS])
        lowered = rng.choice([price, 1])

        async def handler(scope: Any, receive: Any, send: Any, amount: int = lowered) -> None:
            scope["farthing.payment"].charge(amount)
            await chain_shop.handler.answer(scope, receive, send)

        chain_shop.handler.handler = handler
        message = chain_payer.message(ceiling, price)
        voucher = message["payload"]["voucher"]
        signature = spoilt(rng, bytes.fromhex(voucher["signature"][2:]))
        voucher["signature"] = "0x" + signature.hex()
        got = run(chain_shop.get(path, encoded(message)))
        if got.status == 200:
            accepted += 1
            total = chain_shop.charged(chain_payer)
            claim = VoucherClaim(chain_payer.config, ceiling, signature, total)
            assert world.is_claimable(claim), message
        else:
            refused += 1
            assert got.status == 402
            if got.error == "voucher_signature":
                # The contract does not take it for any amount.
                least = VoucherClaim(chain_payer.config, ceiling, signature, min(1, ceiling))
                assert not least.total_claimed or not world.is_claimable(least), message
    assert accepted > 10 and refused > 10
    # What was charged in all is paid out with the latest voucher, to the unit.
    channel = chain_shop.ledger.channel(chain_payer.channel_id)
    assert channel is not None
    state = channel.state
    latest = VoucherClaim(channel.config, state.ceiling, state.signature, state.charged)
    world.settlement.claim(world.sender(RECEIVER), [latest])
    settled = world.settlement.settle(world.operator, RECEIVER.address, world.token.address)
    assert settled.amount == state.charged
    assert world.token.balance_of(RECEIVER.address) == state.charged
