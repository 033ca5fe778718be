"""What `predict` says of a batch, and what the contract does: outcomes exactly, gas within 1%.

On a real node, with channels of every form and in every state a batch can meet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from random import Random

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak

from bench.gas import DELAY, DEPOSIT, FOREVER, Scene, scene
from farthing.chain.anvil import anvil
from farthing.chain.connection import connect
from farthing.chain.sender import Sender, Transaction
from farthing.protocol import (
    MAX_EXTRAS,
    MAX_ROWS,
    ZERO_ADDRESS,
    ChannelConfig,
    DepositAuthorization,
    Reason,
    Voucher,
    VoucherClaim,
    extras_of,
    sign,
)
from farthing.protocol.redemption import MAX_TOTAL
from farthing.redeemer import Batch, Prediction, pack, predict
from farthing.redeemer.gas import gas_limit
from tests.escrow_world import STRANGER

CLAIMED = 1_111_111
"""What was redeemed before of the channels in `Channels.claimed`."""
LEFT = 3_333_333
"""What a withdrawal left in the channels in `Channels.withdrawn`."""
TOTAL = 2_222_222
EACH = 6
SALT = keccak(text="salt")


@dataclass(frozen=True)
class Funded:
    """A channel and the key that signs its vouchers."""

    config: ChannelConfig
    signer: LocalAccount


@dataclass
class Channels:
    """The channels of one publisher by what is particular about them."""

    plain: list[Funded] = field(default_factory=list)
    claimed: list[Funded] = field(default_factory=list)
    drained: list[Funded] = field(default_factory=list)
    withdrawn: list[Funded] = field(default_factory=list)
    authorizer: list[Funded] = field(default_factory=list)
    salt: list[Funded] = field(default_factory=list)
    both: list[Funded] = field(default_factory=list)
    own: list[Funded] = field(default_factory=list)
    """The payer has no authorizer and is a key."""
    contract: list[Funded] = field(default_factory=list)
    """The payer has no authorizer and is a contract."""
    unknown: list[Funded] = field(default_factory=list)
    """Never had a deposit."""


class Publisher:
    """Signs rows for the channels, and redeems them."""

    def __init__(self, stage: Scene, channels: Channels) -> None:
        self.stage = stage
        self.channels = channels
        self.settlement = stage.settlement

    def claim(
        self, channel: Funded, total: int = TOTAL, ceiling: int | None = None
    ) -> VoucherClaim:
        ceiling = total if ceiling is None else ceiling
        voucher = Voucher(channel.config.channel_id(self.settlement.domain), ceiling)
        signature = sign(channel.signer, voucher, self.settlement.domain)
        return VoucherClaim(channel.config, ceiling, signature, total)

    def forged(self, channel: Funded, total: int = TOTAL) -> VoucherClaim:
        return self.claim(replace(channel, signer=STRANGER), total)

    def predict(self, claims: Sequence[VoucherClaim]) -> Prediction:
        domain = self.settlement.domain
        ids = {claim.channel.channel_id(domain) for claim in claims}
        code = self.stage.w3.eth.get_code
        return predict(
            Batch.of(claims, domain),
            domain,
            {channel_id: self.settlement.channel(channel_id) for channel_id in ids},
            is_contract=lambda address: bool(code(address)),  # type: ignore[arg-type]
        )

    def check(self, claims: Sequence[VoucherClaim]) -> list[Reason]:
        """Predicts, redeems and compares; returns what became of the rows."""
        batch = Batch.of(claims, self.settlement.domain)
        predicted = self.predict(claims)
        receipt = self.stage.receiver.transact(
            self.settlement.plan_redeem(batch.call(), gas_limit(batch))
        )
        redeemed = self.settlement.redeemed(receipt)
        assert predicted.outcomes == redeemed.outcomes
        assert predicted.amount == redeemed.amount
        assert redeemed.credited == 0
        used = receipt["gasUsed"]
        assert abs(predicted.gas - used) * 100 <= used, f"{predicted.gas} predicted, {used} used"
        return [outcome.reason for outcome in redeemed.outcomes]


def open_channels(stage: Scene) -> Channels:
    """Configs and keys; nothing on the chain yet."""
    channels = Channels()
    keys = iter(Account.from_key(keccak(text=f"predicted {n}")) for n in range(1_000))
    counts = dict.fromkeys(vars(channels), EACH) | {"plain": MAX_ROWS}
    for form, count in counts.items():
        for payer in (next(keys) for _ in range(count)):
            config, signer = stage.config(payer), payer
            if form in ("authorizer", "both"):
                signer = next(keys)
                config = replace(config, payer_authorizer=signer.address)
            if form in ("own", "contract"):
                config = replace(config, payer_authorizer=ZERO_ADDRESS)
            if form in ("salt", "both"):
                config = replace(config, salt=SALT)
            getattr(channels, form).append(Funded(config, signer))
            if form != "unknown":
                stage.readers.append(payer)
    return channels


def deposits(stage: Scene, channels: Channels) -> Iterator[Transaction]:
    payers = {payer.address: payer for payer in stage.readers}
    for channel in (c for form in vars(channels).values() for c in form):
        if channel.config.payer not in payers:
            continue
        authorization = DepositAuthorization(
            payer=channel.config.payer,
            collector=stage.settlement.address,
            amount=DEPOSIT,
            valid_after=0,
            valid_before=FOREVER,
            channel_id=channel.config.channel_id(stage.settlement.domain),
            salt=0,
        )
        signature = sign(payers[channel.config.payer], authorization, stage.token.domain)
        yield stage.settlement.plan_deposit_with_authorization(
            channel.config, authorization, signature
        )


@pytest.fixture(scope="module")
def standing_publisher() -> Iterator[Publisher]:
    with anvil("--gas-limit", "30000000") as url:
        stage = scene(connect(url), channels=0)
        channels = open_channels(stage)
        holders = [payer.address for payer in stage.readers]
        stage.operator.transact(stage.token.plan_mint(holders, DEPOSIT))
        for _ in stage.operator.transact_all(deposits(stage, channels)):
            pass
        publisher = Publisher(stage, channels)
        before = [publisher.claim(channel, CLAIMED) for channel in channels.claimed]
        before += [publisher.claim(channel, DEPOSIT) for channel in channels.drained]
        (batch,) = pack(before, stage.settlement.domain).batches
        stage.receiver.transact(stage.settlement.plan_redeem(batch.call(), gas_limit(batch)))
        withdraw(stage, channels.withdrawn)
        for channel in channels.contract:
            stage.w3.provider.make_request("anvil_setCode", [channel.config.payer, "0x00"])  # type: ignore[arg-type]
        yield publisher


def withdraw(stage: Scene, channels: Sequence[Funded]) -> None:
    senders = [Sender(stage.w3, channel.signer) for channel in channels]
    for sender, channel in zip(senders, channels, strict=True):
        stage.fund(sender.address)
        stage.settlement.initiate_withdraw(sender, channel.config, DEPOSIT - LEFT)
    stage.wait(DELAY)
    for sender, channel in zip(senders, channels, strict=True):
        stage.settlement.finalize_withdraw(sender, channel.config)


@pytest.fixture
def publisher(standing_publisher: Publisher) -> Iterator[Publisher]:
    with standing_publisher.stage.undone():
        yield standing_publisher


# ---------------------------------------------------------------- whole batches


@pytest.mark.parametrize("rows", [1, 2, 10, 60, 128])
def test_predict__good_rows(publisher: Publisher, rows: int) -> None:
    claims = [publisher.claim(channel) for channel in publisher.channels.plain[:rows]]
    assert publisher.check(claims) == [Reason.REDEEMED] * rows


@pytest.mark.parametrize("rows", [1, 2, 10, 60, 128])
def test_predict__nothing_but_forged_rows(publisher: Publisher, rows: int) -> None:
    claims = [publisher.forged(channel) for channel in publisher.channels.plain[:rows]]
    assert publisher.check(claims) == [Reason.BAD_SIGNATURE] * rows


@pytest.mark.parametrize("rows", [1, 2, 10, 60, 128])
def test_predict__nothing_but_unknown_channels(publisher: Publisher, rows: int) -> None:
    (first, *_) = publisher.channels.unknown
    claims = []
    for n in range(rows):
        payer = Account.from_key(keccak(text=f"nobody {n}"))
        claims.append(
            publisher.claim(replace(first, config=publisher.stage.config(payer), signer=payer))
        )
    assert publisher.check(claims) == [Reason.EMPTY] * rows


@pytest.mark.parametrize("rows", [1, 2, 10, 60, 128])
def test_predict__the_same_row_again_and_again(publisher: Publisher, rows: int) -> None:
    claims = [publisher.claim(publisher.channels.plain[0])] * rows
    assert publisher.check(claims) == [Reason.REDEEMED] + [Reason.STALE] * (rows - 1)


@pytest.mark.parametrize("rows", [2, 10, 60, 128])
def test_predict__one_channel_higher_and_higher(publisher: Publisher, rows: int) -> None:
    channel = publisher.channels.plain[0]
    claims = [publisher.claim(channel, TOTAL + n) for n in range(rows)]
    assert publisher.check(claims) == [Reason.REDEEMED] * rows


# ---------------------------------------------------------------- one kind of row


@pytest.mark.parametrize(("rows", "ceiling"), [(1, 0), (EACH, 1)])
@pytest.mark.parametrize(
    ("form", "total", "reason"),
    [
        ("claimed", CLAIMED + 1, Reason.REDEEMED),
        ("claimed", CLAIMED, Reason.STALE),
        ("claimed", 1, Reason.STALE),
        ("claimed", 0, Reason.STALE),
        ("drained", DEPOSIT, Reason.STALE),
        ("drained", DEPOSIT + 1, Reason.EMPTY),
        ("withdrawn", LEFT, Reason.REDEEMED),
        ("withdrawn", LEFT + 1, Reason.REDEEMED),
        ("plain", MAX_TOTAL, Reason.REDEEMED),
        ("plain", 0, Reason.STALE),
        ("authorizer", TOTAL, Reason.REDEEMED),
        ("salt", TOTAL, Reason.REDEEMED),
        ("both", TOTAL, Reason.REDEEMED),
        ("own", TOTAL, Reason.REDEEMED),
        ("contract", TOTAL, Reason.CONTRACT_PAYER),
        ("contract", 0, Reason.CONTRACT_PAYER),
        ("unknown", TOTAL, Reason.EMPTY),
        ("unknown", 0, Reason.STALE),
    ],
)
def test_predict__one_kind_of_row(
    publisher: Publisher, form: str, total: int, reason: Reason, rows: int, ceiling: int
) -> None:
    channels = getattr(publisher.channels, form)[:rows]
    claims = [publisher.claim(channel, total, total + ceiling) for channel in channels]
    assert publisher.check(claims) == [reason] * rows


@pytest.mark.parametrize("form", ["authorizer", "salt", "both", "own"])
def test_predict__forged_in_every_form_of_channel(publisher: Publisher, form: str) -> None:
    claims = [publisher.forged(channel) for channel in getattr(publisher.channels, form)]
    assert publisher.check(claims) == [Reason.BAD_SIGNATURE] * EACH


def test_predict__what_a_withdrawal_left_is_paid(publisher: Publisher) -> None:
    claims = [publisher.claim(publisher.channels.withdrawn[0], DEPOSIT)]
    predicted = publisher.predict(claims)
    assert (predicted.amount, predicted.outcomes[0].total) == (LEFT, LEFT)
    assert publisher.check(claims) == [Reason.REDEEMED]


def test_predict__duplicates_lower_equal_higher_and_above_the_balance(publisher: Publisher) -> None:
    channel = publisher.channels.claimed[0]
    totals = [TOTAL, TOTAL - 1, TOTAL, TOTAL + 1, DEPOSIT, DEPOSIT + 1, DEPOSIT + 2]
    redeemed, stale, empty = Reason.REDEEMED, Reason.STALE, Reason.EMPTY
    claims = [publisher.claim(channel, total) for total in totals]
    assert publisher.check(claims) == [redeemed, stale, stale, redeemed, redeemed, empty, empty]


def test_predict__a_forged_row_before_the_good_one_of_its_channel(publisher: Publisher) -> None:
    channel = publisher.channels.plain[0]
    claims = [publisher.forged(channel, DEPOSIT), publisher.claim(channel)]
    assert publisher.check(claims) == [Reason.BAD_SIGNATURE, Reason.REDEEMED]


def test_predict__calldata_that_costs_more_than_what_it_does(publisher: Publisher) -> None:
    # The floor of EIP-7623: long rows of one unknown channel, of which the contract does little.
    unknown = publisher.channels.unknown[0]
    signer = publisher.channels.plain[0].signer
    config = replace(unknown.config, payer_authorizer=signer.address, salt=SALT)
    claim = publisher.claim(Funded(config, signer), MAX_TOTAL, 2**128 - 1)
    rows = MAX_EXTRAS // len(extras_of(claim))
    assert publisher.check([claim] * rows) == [Reason.EMPTY] * rows


# ---------------------------------------------------------------- everything at once


@pytest.mark.parametrize("seed", range(12))
def test_predict__random_mixes(publisher: Publisher, seed: int) -> None:
    random = Random(seed)
    forms = list(vars(publisher.channels).values())
    size = random.choice([20, 60, MAX_ROWS])
    claims: list[VoucherClaim] = []
    extras = 0
    while len(claims) < size:
        channel = random.choice(random.choice(forms))
        total = random.choice(
            [0, CLAIMED, TOTAL, LEFT, DEPOSIT, MAX_TOTAL, random.randrange(DEPOSIT)]
        )
        if random.random() < 0.2:
            claim = publisher.forged(channel, total)
        else:
            claim = publisher.claim(channel, total, total + random.choice([0, 0, 1, 2**127]))
        extras += len(extras_of(claim))
        if extras > MAX_EXTRAS:
            break
        claims.append(claim)
    assert len(set(publisher.check(claims))) > 3
