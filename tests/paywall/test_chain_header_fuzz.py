"""Payment headers by the thousand for a paywall with a chain: deposits, refunds, contract payers.

One for every eight of ``make fuzz-headers``; ``FUZZ_SEED`` repeats a run.
"""

from __future__ import annotations

from collections import Counter, deque
from contextlib import suppress
from copy import deepcopy
from typing import Any

import pytest

from farthing.paywall.channels import REFUND_ROUTE
from farthing.paywall.onchain import Collectors
from farthing.paywall.sponsoring import SponsorLimits
from farthing.protocol import Permit2Deposit, VoucherClaim
from farthing.protocol.payments import ErrorCode
from tests.conftest import rpc
from tests.escrow_world import PAYER, SECOND_PAYER, STRANGER, World
from tests.paywall.chain_payers import (
    NO,
    NOBODY,
    YES,
    answers,
    approve_permit2,
    permit2_deposit,
    place_permit2,
    wallet,
)
from tests.paywall.conftest import OpenShop
from tests.paywall.header_fuzzer import HEADERS, Fuzzer
from tests.paywall.paywall_kit import (
    CHEAP,
    Got,
    Json,
    Payer,
    Shop,
    decoded,
    encoded,
    on_chain,
    run,
    terms_of,
)

COUNT = HEADERS // 8
# A good payment of each kind between the spoilt ones: the channels are not stuck.
GOOD_EVERY = 250
AMOUNT = 5_000
# What each payer has: more than all its deposits together.
MINTED = 10**15
METHODS = ("eip3009", "permit2")
# Contract wallets that say yes, and what others do: say no, revert, use up all gas.
SIGNING = [answers(YES), answers(YES, 2**17)]
OTHERS = [answers(NO), "5f5ffd", "5b5f56"]


class Market:
    """A shop on a node, with payers of every kind that can pay, and of some that cannot."""

    def __init__(self, world: World, open_shop: OpenShop) -> None:
        self.world = world
        self.terms = terms_of(world, transfer_methods=METHODS)
        signing = [wallet(world, code) for code in SIGNING]
        others = [wallet(world, answers(YES)) for _ in OTHERS]
        key, second = self.payer(), self.payer(SECOND_PAYER)
        self.keys = [
            key,
            second,
            self.payer(salt=1),
            key.with_config(payer_authorizer=NOBODY),
            second.with_config(payer_authorizer=NOBODY),
        ]
        # The last wallet has a key that signs for it.
        self.able = [
            *self.keys,
            *(self.wallet_payer(address) for address in signing),
            key.with_config(payer=signing[0]),
        ]
        self.refused = [
            *(self.wallet_payer(address) for address in [*others, world.token.address]),
            self.payer(STRANGER),
        ]
        owners = [PAYER.address, SECOND_PAYER.address, *signing, *others]
        world.operator.transact(world.token.plan_mint(owners, MINTED))
        place_permit2(world)
        for owner in owners:
            approve_permit2(world, owner)
        for address, code in zip(others, OTHERS, strict=True):
            # It signed for its deposit, and will not for a voucher.
            self.fund(self.wallet_payer(address))
            rpc(world.w3, "anvil_setCode", address, "0x" + code)
        self.funded = world.escrowed()
        places = world.deployment
        collectors = Collectors(places.erc3009_collector, places.permit2_collector)
        # More than is sent for anybody.
        chain = on_chain(world, collectors, sponsored=SponsorLimits(per_hour=HEADERS))
        domain = world.settlement.domain
        self.shop: Shop = open_shop(chain=chain, terms=self.terms, domain=domain)

    def payer(self, account: Any = PAYER, salt: int = 0) -> Payer:
        return Payer(account, self.terms, self.world.settlement.domain, salt)

    def wallet_payer(self, address: str) -> Payer:
        return self.payer().with_config(payer=address, payer_authorizer=NOBODY)

    def fund(self, payer: Payer) -> None:
        """Puts money into a wallet's channel beside the shop."""
        collector, channel_id = self.world.deployment.permit2_collector, payer.channel_id
        transfer = Permit2Deposit(payer.config.token, AMOUNT, collector, 7, 2**40, channel_id)
        data = transfer.collector_data(bytes(65))
        self.world.settlement.deposit(self.world.operator, payer.config, AMOUNT, collector, data)

    def check_claimable(self, channel_id: str) -> None:
        """The contract takes the voucher that the shop took last, for all that was charged."""
        channel = self.shop.ledger.channel(bytes.fromhex(channel_id[2:]))
        assert channel is not None
        state = channel.state
        claim = VoucherClaim(channel.config, state.ceiling, state.signature, state.charged)
        assert self.world.is_claimable(claim)

    def charged(self, payer: Payer) -> int:
        channel = self.shop.ledger.channel(payer.channel_id)
        return 0 if channel is None else channel.state.charged

    def deposit(
        self, payer: Payer, method: str, amount: int, ceiling: int, salt: int, **more: Any
    ) -> Json:
        if method == "permit2":
            return permit2_deposit(self.world, payer, amount, ceiling, nonce=salt, **more)
        return decoded(payer.deposit(self.world, amount, ceiling, salt=salt, **more))


class ChainPayments(Fuzzer):
    """Payments of every kind, right or nearly so, and those that were taken before."""

    def __init__(self, market: Market) -> None:
        super().__init__()
        self.market = market
        self.payers = [*market.able, *market.refused]
        self.taken: deque[Json] = deque(maxlen=20)

    def header(self) -> bytes:
        if self.rng.random() < 0.5:
            return super().header()
        # Whatever is well formed gets further.
        message = self.message()
        for _ in range(self.rng.choice((0, 0, 1, 1, 2))):
            self.twist(self.place(message))
        return encoded(message).encode()

    def message(self) -> Json:
        rng = self.rng
        if self.taken and rng.random() < 0.15:
            return deepcopy(rng.choice(self.taken))
        payer = rng.choice(self.payers)
        charged = self.market.charged(payer)
        kind = rng.choice((*METHODS, "refund", "voucher"))
        if kind == "refund":
            more = rng.choice(({}, {"amount": "700"}, {"amount": "1"}, {"amount": str(2**100)}))
            return payer.message(charged + rng.choice((0, 0, 0, 1, CHEAP)), CHEAP, kind, **more)
        ceiling = charged + rng.choice((CHEAP,) * 6 + (0, 1, 2 * CHEAP, 2**100))
        if kind == "voucher":
            return payer.message(ceiling, CHEAP)
        amount = rng.choice((AMOUNT, AMOUNT, 1_000, 999, 1, 2 * MINTED, 2**127))
        signer = rng.choice((None, None, None, STRANGER))
        # Few salts: some are used.
        salt = rng.choice((rng.getrandbits(256), rng.randrange(4)))
        return self.market.deposit(payer, kind, amount, ceiling, salt, signer=signer)

    def good(self, payer: Payer) -> list[Json]:
        """Payments that are taken, one after another."""
        charged, salt = self.market.charged(payer), self.rng.getrandbits(256)
        methods = METHODS if payer in self.market.keys else METHODS[1:]
        paid = [
            self.market.deposit(payer, method, AMOUNT, charged + number * CHEAP, salt)
            for number, method in enumerate(methods, 1)
        ]
        charged += len(paid) * CHEAP
        voucher = payer.message(charged + CHEAP, CHEAP)
        return [*paid, voucher, payer.message(charged + CHEAP, CHEAP, "refund", amount="1000")]

    def place(self, message: Json) -> Json:
        """What is signed is spoilt as often as the rest."""
        places = [message]
        for path in (("payload", "voucher"), ("payload", "deposit", "authorization")):
            here: Any = message
            for key in path:
                here = here.get(key)
                if not isinstance(here, dict) or not here:
                    break
                places.append(here)
        return self.rng.choice(places)

    def twist(self, part: Json) -> None:
        """Changes a number or a hex digit somewhere in it, and leaves it well formed."""
        rng = self.rng
        here: Any = part
        while isinstance(here[key := rng.choice(list(here))], dict) and here[key]:
            here = here[key]
        text = here[key]
        if isinstance(text, str) and text.startswith("0x") and len(text) > 2:
            at = rng.randrange(2, len(text))
            here[key] = text[:at] + rng.choice("0123456789abcdef") + text[at + 1 :]
        elif isinstance(text, str) and text.isdecimal():
            here[key] = rng.choice(("0", "1", str(int(text) + 1), str(2**128 - 1), str(2**64)))


@pytest.fixture
def market(node_world: World, open_shop: OpenShop) -> Market:
    return Market(node_world, open_shop)


def test_headers__with_a_chain__every_answer_is_paid_for_and_the_escrow_agrees(
    market: Market,
) -> None:
    fuzzer, shop, world = ChainPayments(market), market.shop, market.world
    seed = fuzzer.seed
    statuses: Counter[int] = Counter()
    # Amounts that moved, by their transactions.
    deposited: dict[str, int] = {}
    refunded: dict[str, int] = {}

    async def ask(header: bytes) -> Got:
        before = shop.served, shop.paywall.counts["paid"]
        got = await shop.get("/cheap", headers=[(b"payment-signature", header)])
        assert shop.served - before[0] == shop.paywall.counts["paid"] - before[1]
        statuses[got.status] += 1
        if got.status == 200:
            assert got.paid["success"] is True
            # What nobody reads may hold what `json` does not.
            with suppress(ValueError):
                fuzzer.taken.append(decoded(header.decode()))
            if shop.served > before[0]:
                market.check_claimable(got.paid["extra"]["channelState"]["channelId"])
            if got.paid["transaction"]:
                moved = deposited if "chargedAmount" in got.paid["extra"] else refunded
                moved[got.paid["transaction"]] = int(got.paid["amount"])
        else:
            # 503 is for a chain that does not answer, and this one does.
            assert got.status == 402, got
            assert got.error and got.header("payment-required")
        return got

    async def scenario() -> None:
        for number in range(COUNT):
            header = b""
            try:
                if number % GOOD_EVERY == 0:
                    payer = market.able[number // GOOD_EVERY % len(market.able)]
                    for good in fuzzer.good(payer):
                        header = encoded(good).encode()
                        assert (await ask(header)).status == 200
                header = fuzzer.header()
                await ask(header)
            except Exception as error:
                pytest.fail(f"header {number} of seed {seed}, {header!r}: {error!r}")

    run(scenario(), seconds=None)
    charges = shop.ledger.charges(limit=10**9)
    # A charge of nothing stands for a refund.
    assert sum(charge.route == REFUND_ROUTE for charge in charges) == len(refunded)
    charges = [charge for charge in charges if charge.route != REFUND_ROUTE]
    assert all(charge.amount == CHEAP for charge in charges)
    counts = shop.paywall.counts
    assert shop.served == len(charges) == counts["paid"]
    assert statuses[200] == len(charges) + counts["repeated"] + counts["refunded"]
    assert counts["refunded"] == len(refunded)
    assert shop.ledger.prove() == []
    # What was told, what is written down and what the chain has are one.
    escrowed = world.escrowed() - market.funded
    assert escrowed == sum(deposited.values()) - sum(refunded.values())
    known = shop.ledger.channels(limit=10**9)
    for each in known:
        assert world.settlement.channel(each.channel_id).balance == each.state.mirror.balance
        assert each.state.charged <= each.state.mirror.balance
    assert escrowed == sum(each.state.mirror.balance for each in known)
    assert all(market.charged(payer) == 0 for payer in market.refused)
    # All of it was reached, or it tests nothing.
    for code in (
        ErrorCode.DEPOSIT_SIMULATION_FAILED,
        ErrorCode.REFUND_AMOUNT_INVALID,
        ErrorCode.VOUCHER_SIGNATURE,
        ErrorCode.CUMULATIVE_AMOUNT_MISMATCH,
    ):
        assert counts[code], (seed, counts)
    assert min(len(deposited), len(refunded)) > COUNT // 100
    # What is sent has been looked at before, so that it costs no gas in vain.
    assert not counts[ErrorCode.DEPOSIT_TRANSACTION_FAILED]
    assert not counts[ErrorCode.REFUND_TRANSACTION_FAILED]
    # Everybody gets back what was not charged, and the rest can be claimed.
    for payer in market.able:
        got = run(ask(payer.refund(market.charged(payer)).encode()))
        assert got.status == 200 or got.error == "refund_no_balance"
    assert world.escrowed() - market.funded == CHEAP * len(charges)
    print(f"seed {seed}: {COUNT} headers, {len(deposited)} deposits, {dict(counts)}")
