"""The main job, end to end on a chain: every count and every unit against an independent tally."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from make_sample_log import SAMPLE_PATH, Sample, make_sample

from farthing.chain.in_process import in_process_chain
from farthing.chain.sender import Sender
from farthing.chain.settlement import Channel
from farthing.protocol import MAX_ROWS
from farthing.redeemer import Redemption
from farthing.replay import run as run_module
from farthing.replay.access_log import Entry, Read, Unreadable, read_log
from farthing.replay.prices import PriceList
from farthing.replay.progress import Silent
from farthing.replay.readers import Reader, Terms
from farthing.replay.report import UNREADABLE_SHOWN, Market, ReplayReport
from farthing.replay.run import Stage, replay, set_stage
from tests.escrow_world import World, party

REAL_LOG = Path(__file__).parents[3] / "shared" / "data" / "access.log.gz"
MARKET = Market.of("0.05", "3000")
DEPOSIT = 5_000_000
CENT = 10_000
PRICES = PriceList.parse(
    'default = "0.02"\n[[rule]]\npath = "/free/**"\nprice = "0"\n'
    '[[rule]]\npath = "/dear"\nprice = "0.07"\n',
    decimals=6,
)


class Heard(Silent):
    """Progress as a list: each stage with its total and the steps that were told of it."""

    def __init__(self) -> None:
        self.stages: list[list[Any]] = []

    def stage(self, name: str, total: int | None) -> None:
        self.stages.append([name, total, 0])

    def advance(self, steps: int) -> None:
        self.stages[-1][2] += steps


@dataclass(frozen=True)
class Run:
    """A replay that is done, and the stage it was done on."""

    report: ReplayReport
    stage: Stage
    terms: Terms
    heard: list[list[Any]]

    def reader(self, client: str) -> Reader:
        return Reader(client, self.terms)

    def wallet(self, client: str) -> int:
        return self.stage.token.balance_of(self.reader(client).account.address)

    def channel(self, client: str) -> Channel:
        return self.stage.settlement.channel(self.reader(client).channel_id)

    def publisher(self) -> int:
        return self.stage.token.balance_of(self.stage.publisher.address)

    def escrow(self) -> int:
        return self.stage.token.balance_of(self.stage.settlement.address)


def run(
    stage: Stage,
    entries: Iterable[Entry],
    prices: PriceList = PRICES,
    deposit: int = DEPOSIT,
) -> Run:
    terms = run_module._terms(stage)
    heard = Heard()
    report = replay(entries, prices, stage, MARKET, deposit=deposit, progress=heard)
    return Run(report, stage, terms, heard.stages)


def reads(*clients_and_paths: tuple[str, str]) -> list[Entry]:
    return [
        Read(n, client, "GET", path, 200) for n, (client, path) in enumerate(clients_and_paths, 1)
    ]


@pytest.fixture
def stage(world: World) -> Stage:
    return stage_of(world)


def stage_of(world: World) -> Stage:
    account: Any = world.operator.account
    return set_stage(world.w3, "test", account)


# ---------------------------------------------------------------- the sample


@pytest.fixture(scope="module")
def sample() -> Sample:
    return make_sample()


@pytest.fixture(scope="module")
def sampled() -> Run:
    """The shipped log on a chain of its own; the tests below only read."""
    from eth_account import Account

    w3, key = in_process_chain()
    stage = set_stage(w3, "in-process", Account.from_key(key))
    return run(stage, read_log(str(SAMPLE_PATH)), PriceList.built_in(6))


def test_replay__counts_of_the_sample(sampled: Run, sample: Sample) -> None:
    report = sampled.report
    assert report.chain == "in-process"
    assert report.lines == sample.lines
    assert report.skipped_lines == len(sample.unreadable)
    assert tuple(entry.line_number for entry in report.unreadable) == sample.unreadable
    assert report.paid_reads == sample.paid_reads
    assert report.free_reads == sample.free_reads
    assert report.unpaid == sample.unpaid
    assert report.readers == len(sample.owed)
    assert report.deposits == sum(-(-owed // DEPOSIT) for owed in sample.owed.values())
    assert report.batches == -(-len(sample.owed) // MAX_ROWS)


def test_replay__books_of_the_sample(sampled: Run, sample: Sample) -> None:
    report = sampled.report
    revenue = sum(sample.owed.values())
    assert report.revenue == revenue > 0
    assert report.payers_paid == revenue
    assert report.receiver_got == revenue
    assert report.books_balance
    assert sampled.publisher() == revenue
    assert sampled.escrow() == report.deposits * DEPOSIT - revenue


def test_replay__every_reader_of_the_sample(sampled: Run, sample: Sample) -> None:
    """Read from the chain once more: each channel was claimed for what its reader owes."""
    for client, owed in sample.owed.items():
        assert sampled.channel(client) == Channel(DEPOSIT, owed)
        assert sampled.wallet(client) == 0
    for client in sample.clients - sample.owed.keys():
        assert sampled.channel(client) == Channel(0, 0)


def test_replay__gas_of_the_sample_is_that_of_its_transactions(sampled: Run) -> None:
    report, w3 = sampled.report, sampled.stage.w3
    to_escrow = sampled.stage.settlement.address
    gas = 0
    for number in range(1, w3.eth.block_number + 1):
        block = w3.eth.get_block(number, full_transactions=True)
        if any(sent["to"] == to_escrow for sent in block["transactions"]):  # type: ignore[index]
            gas += block["gasUsed"]
    assert report.gas_deposits + report.gas_redemption == gas
    assert report.gas_total == gas
    assert 90_000 < report.gas_deposits // report.deposits < 130_000


def test_replay__tells_how_far_it_is(sampled: Run) -> None:
    report = sampled.report
    assert sampled.heard == [
        ["Reading the log, signing vouchers", None, report.lines],
        ["Giving readers test dollars", report.readers, report.readers],
        ["Reading balances", report.readers, report.readers],
        ["Depositing", report.deposits, report.deposits],
        ["Redeeming", report.readers, report.readers],
        ["Reading balances", report.readers, report.readers],
    ]


# ---------------------------------------------------------------- small logs


def test_replay__readers_top_up(stage: Stage) -> None:
    done = run(
        stage,
        # 2 + 2 + 2 + 2 cents, 3 cents at a time: three deposits. 7 and 6 cents likewise.
        reads(*[("a", "/x")] * 4, ("b", "/dear"), *[("c", "/x")] * 3),
        deposit=3 * CENT,
    )
    report = done.report
    assert (report.readers, report.paid_reads, report.revenue) == (3, 8, 21 * CENT)
    assert report.deposits == 3 + 3 + 2
    assert done.channel("a") == Channel(9 * CENT, 8 * CENT)
    assert done.channel("b") == Channel(9 * CENT, 7 * CENT)
    # Used up to the unit.
    assert done.channel("c") == Channel(6 * CENT, 6 * CENT)
    # Every reader was given what the greediest one needs.
    assert [done.wallet(client) for client in "abc"] == [0, 0, 3 * CENT]
    assert (report.payers_paid, report.receiver_got) == (21 * CENT, 21 * CENT)
    assert report.books_balance


def test_replay__more_readers_than_a_batch_takes(node_world: World) -> None:
    before = node_world.token.balance_of(node_world.operator.address)
    readers = MAX_ROWS + 1
    done = run(stage_of(node_world), reads(*[(f"reader-{n}", "/x") for n in range(readers)]))
    report = done.report
    assert (report.readers, report.batches, report.deposits) == (readers, 2, readers)
    assert report.receiver_got == readers * 2 * CENT == done.publisher() - before
    assert report.books_balance


def test_replay__every_kind_of_line(stage: Stage) -> None:
    entries: list[Entry] = [
        Read(1, "a", "GET", "/x", 200),
        Read(2, "a", "HEAD", "/x", 200),
        Read(3, "a", "GET", "/x", 404),
        Read(4, "b", "GET", "/free/x", 200),
        Unreadable(5, "empty line", ""),
    ]
    report = run(stage, entries).report
    assert (report.lines, report.paid_reads, report.free_reads) == (5, 1, 1)
    assert (report.unpaid, report.skipped_lines, report.readers) == (2, 1, 1)
    assert report.unreadable == (entries[4],)


@pytest.mark.parametrize(
    "entries",
    [[], [Read(1, "a", "GET", "/free/x", 200)], [Unreadable(1, "empty line", "")]],
    ids=["empty", "free", "unreadable"],
)
def test_replay__nothing_to_redeem(stage: Stage, entries: list[Entry]) -> None:
    before = stage.w3.eth.block_number
    report = run(stage, entries).report
    assert report.lines == len(entries)
    assert (report.readers, report.revenue, report.deposits, report.batches) == (0, 0, 0, 0)
    assert (report.gas_total, report.payers_paid, report.receiver_got) == (0, 0, 0)
    assert report.books_balance
    assert stage.w3.eth.block_number == before


def test_replay__keeps_the_first_unreadable_lines_and_counts_all(stage: Stage) -> None:
    entries: list[Entry] = [Unreadable(n, "empty line", "") for n in range(1, 26)]
    report = run(stage, entries).report
    assert report.skipped_lines == 25
    assert report.unreadable == tuple(entries[:UNREADABLE_SHOWN])


# ---------------------------------------------------------------- books that do not balance


def test_replay__money_the_receiver_did_not_keep(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One unit really leaves the receiver behind the redemption's back."""
    redeem = run_module.redeem

    def leaky(settlement: Any, sender: Sender, *args: Any, **options: Any) -> Redemption:
        done = redeem(settlement, sender, *args, **options)
        stage.token.transfer(sender, party("thief").address, 1)
        return done

    monkeypatch.setattr(run_module, "redeem", leaky)
    report = run(stage, reads(("a", "/x"), ("b", "/dear"))).report
    assert (report.revenue, report.payers_paid) == (9 * CENT, 9 * CENT)
    assert report.receiver_got == 9 * CENT - 1
    assert not report.books_balance


def test_replay__money_the_payers_did_not_lose(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    redeem = run_module.redeem
    terms = run_module._terms(stage)

    def generous(settlement: Any, sender: Sender, *args: Any, **options: Any) -> Redemption:
        done = redeem(settlement, sender, *args, **options)
        sender.transact(stage.token.plan_mint([Reader("a", terms).account.address], 1))
        return done

    monkeypatch.setattr(run_module, "redeem", generous)
    report = run(stage, reads(("a", "/x"), ("b", "/dear"))).report
    assert (report.receiver_got, report.payers_paid) == (9 * CENT, 9 * CENT - 1)
    assert not report.books_balance


def test_replay__less_redeemed_than_was_charged(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Payers and receiver agree, and still it is not what the reads cost."""
    redeem = run_module.redeem

    def forgetful(s: Any, sender: Sender, key: Any, claims: Any, **options: Any) -> Redemption:
        return redeem(s, sender, key, list(claims)[1:], **options)

    monkeypatch.setattr(run_module, "redeem", forgetful)
    report = run(stage, reads(("a", "/x"), ("b", "/dear"))).report
    assert (report.receiver_got, report.payers_paid) == (7 * CENT, 7 * CENT)
    assert report.revenue == 9 * CENT
    assert not report.books_balance


# ---------------------------------------------------------------- again, and elsewhere


def test_replay__twice_on_the_same_node(node_world: World) -> None:
    """The contracts are found, the channels are fresh, and both redemptions are whole."""
    log = reads(("a", "/x"), ("b", "/dear"), ("a", "/x"))
    before = node_world.token.balance_of(node_world.operator.address)
    first = run(stage_of(node_world), log)
    second = run(stage_of(node_world), log)
    assert first.stage.settlement.address == second.stage.settlement.address
    assert first.stage.token.address == second.stage.token.address
    for done in (first, second):
        assert (done.report.revenue, done.report.deposits) == (11 * CENT, 2)
        assert done.report.books_balance
        assert done.channel("a") == Channel(DEPOSIT, 4 * CENT)
        assert done.channel("b") == Channel(DEPOSIT, 7 * CENT)
    assert first.reader("a").channel_id != second.reader("a").channel_id
    assert second.publisher() == before + 22 * CENT


def test_replay__the_same_on_both_chains(world: World, node_world: World) -> None:
    log = reads(("a", "/x"), ("b", "/dear"), ("a", "/free/x"), ("c", "/x"))
    reports = [run(stage_of(each), log, deposit=3 * CENT).report for each in (world, node_world)]
    money = [(r.revenue, r.payers_paid, r.receiver_got, r.deposits) for r in reports]
    assert money == [(11 * CENT, 11 * CENT, 11 * CENT, 5)] * 2
    # Only the addresses differ, and with them a few zero bytes of calldata.
    gas = [report.gas_total for report in reports]
    assert abs(gas[0] - gas[1]) < 0.01 * gas[0]


# ---------------------------------------------------------------- a real log


FREE = re.compile(
    r".*\.(css|js|mjs|map|woff2?|ttf|otf|eot|png|PNG|jpe?g|JPG|gif|svg|webp|avif|ico)"
)
TENTH = (".xml", ".rss", ".atom", "/feed", "/feed/")
FIVE = (".pdf", ".epub", ".mp3", ".mp4", ".zip", ".gz")


def price_by_hand(path: str) -> int:
    """The built-in prices, said another way."""
    if path in ("/", "/robots.txt") or FREE.fullmatch(path):
        return 0
    if path.endswith(TENTH):
        return CENT // 10
    return 5 * CENT if path.endswith(FIVE) else 2 * CENT


def owed_by_hand(line: bytes) -> tuple[str, int]:
    """Client and price of one line, by cutting it at its quotes."""
    try:
        text = line.decode().replace('\\"', "'")
    except UnicodeDecodeError:
        return "", 0
    parts = text.split('"')
    if len(parts) % 2 == 0 or len(parts) < 3 or "\0" in text:
        return "", 0
    method, target, *_ = [*parts[1].split(" "), "", ""]
    if method != "GET" or not parts[2].startswith(" 200 "):
        return "", 0
    path = target.split("?")[0].split("#")[0]
    return parts[0].split(" ")[0], price_by_hand(path)


@pytest.mark.parametrize(
    "path", [SAMPLE_PATH, *([REAL_LOG] if REAL_LOG.exists() else [])], ids=lambda path: path.name
)
def test_log__reads_readers_and_revenue_against_a_tally_by_hand(path: Path) -> None:
    """Without a chain; the real log is looked at where it is at hand."""
    owed: Counter[str] = Counter()
    paid = 0
    for line in gzip.decompress(path.read_bytes()).split(b"\n"):
        client, price = owed_by_hand(line)
        if price:
            owed[client] += price
            paid += 1
    tally: Counter[str] = Counter()
    charged = 0
    prices = PriceList.built_in(6)
    for entry in read_log(str(path)):
        if not isinstance(entry, Unreadable) and (price := prices.charge(entry)):
            tally[entry.client] += price
            charged += 1
    assert tally == owed
    assert charged == paid > 0


def test_terms__a_run_that_was_not_used_before(world: World) -> None:
    stage = stage_of(world)
    first = run_module._terms(stage)
    assert run_module._terms(stage) == first
    stage.publisher.transact(stage.token.plan_mint([], 0))
    second = run_module._terms(stage)
    assert second == replace(first, run=second.run)
    assert second.run != first.run
