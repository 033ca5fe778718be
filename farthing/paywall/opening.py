"""From settings to a paywall that runs, or to one sentence that says why it cannot."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from farthing.chain.collectors import check_collector
from farthing.chain.json_rpc import asking
from farthing.chain.settlement import Settlement
from farthing.ledger.ledger import RESTORED
from farthing.opening import Ask, Keys, fee_policy, open_books, open_contracts, open_keys, told
from farthing.paywall.limits import Limits, PayerLimits
from farthing.paywall.offer import Offers
from farthing.paywall.onchain import Collectors, OnChain
from farthing.paywall.paywall import Paywall
from farthing.paywall.prices import AnyPrice, Prices
from farthing.paywall.pricing.caps import Cap, RateLimit
from farthing.paywall.pricing.rules import PayerRule
from farthing.paywall.receipts import Receipts
from farthing.paywall.sponsoring import SponsorLimits
from farthing.protocol import values
from farthing.protocol.payments import Terms
from farthing.settings import COIN_DECIMALS, ERC3009, PERMIT2, Settings

log = logging.getLogger("farthing.paywall")

# What caps of the settings are counted under, apart from those of a price.
EVERYWHERE = "everywhere"


def open_paywall(
    settings: Settings | str | Path,
    *,
    prices: Mapping[str, AnyPrice] | None = None,
    ask: Ask | None = None,
    keys: Keys | None = None,
    while_restored: bool = False,
) -> Paywall:
    """Opens a publisher's paywall, with everything it needs looked at first.

    It may be made before an event loop runs. Whoever serves it closes it: `PaywallMiddleware` does
    when its server shuts down.

    Args:
        settings: The settings, or the path of their file.
        prices: Prices that are written in Python: functions, and those with rules. They are looked
            at before those of the file.
        ask: Asks for the password of a keystore when ``FARTHING_PASSWORD`` is not set; without it
            that is an error.
        keys: The keys, if they are open already.
        while_restored: Also when the ledger was restored and has not caught up with the chain; then
            whoever opens it sees to it that nothing is charged.

    Raises:
        SettingsInvalid: A setting cannot be, or what it names cannot be used. Nothing is open then.
        KeyUnusable: There is no key, or it does not open.
    """
    if not isinstance(settings, Settings):
        settings = Settings.load(settings)
    keys = keys or open_keys(settings, ask)
    contracts = open_contracts(settings)
    settlement, token = contracts.settlement, contracts.token
    wanted = settings.terms
    if ERC3009 in wanted.transfer_methods:
        with told(settings, "chain.token"):
            token.check_erc3009()
    read_prices = _prices(settings, prices or {}, token.decimals)
    min_deposit = settings.units("terms.min_deposit", wanted.min_deposit, token.decimals)
    terms = Terms(
        network=f"eip155:{settings.chain.id}",
        token=token.address,
        token_name=token.domain.name,
        token_version=token.domain.version,
        receiver=values.address("receiver", wanted.receiver),
        receiver_authorizer=keys.authorizer.address,
        withdraw_delay=wanted.withdraw_delay,
        min_deposit=min_deposit,
        transfer_methods=wanted.transfer_methods,
    )
    collectors = _collectors(settings, settlement)
    limits = _limits(settings, read_prices, token.decimals)
    min_coins = settings.thresholds.min_coins
    with told(settings, "chain.rpc"), asking("the balance of the key"):
        sender = settlement.w3.to_checksum_address(keys.sender.address)
        coins = settlement.w3.eth.get_balance(sender)
    if not coins:
        # Not an error: what is in escrow already can be charged without it.
        log.warning("the key %s has no coins for gas: send it some", sender)
    receipts = None
    if wanted.receipts:
        announced = wanted.announce_receipts
        receipts = Receipts(keys.authorizer, terms.network, is_announced=announced)
    with ExitStack() as opened:
        ledger = open_books(settings)
        opened.callback(ledger.close)
        if not while_restored and ledger.recall(RESTORED):
            problem = (
                "it was restored from a backup, so what was charged since is missing in it: run "
                "`farthing serve --only watcher` until it says that the ledger has caught up"
            )
            raise settings.invalid("ledger", problem)
        # Another for what is sent: one thread at a time may use a ledger.
        journal = open_books(settings)
        opened.callback(journal.close)
        with told(settings, "chain.rpc"):
            chain = OnChain(
                settlement,
                keys.sender,
                keys.authorizer,
                collectors,
                min_deposit,
                journal,
                fees=fee_policy(settings),
                sync_seconds=limits.sync_seconds,
                sponsored=SponsorLimits(
                    settings.payers.transactions_per_hour,
                    settings.units("thresholds.min_coins", min_coins, COIN_DECIMALS),
                ),
                confirmations=settings.watcher.confirmations,
            )
        opened.pop_all()
    return Paywall(
        read_prices,
        Offers(
            terms,
            token.symbol,
            token.decimals,
            receipts,
        ),
        settlement.domain,
        ledger,
        chain,
        limits,
    )


def _collectors(settings: Settings, settlement: Settlement) -> Collectors:
    chain, methods = settings.chain, settings.terms.transfer_methods
    taken: dict[str, str | None] = {ERC3009: None, PERMIT2: None}
    fields = {ERC3009: "erc3009_collector", PERMIT2: "permit2_collector"}
    for method in methods:
        field = fields[method]
        taken[method] = address = values.address(field, getattr(chain, field))
        with told(settings, f"chain.{field}"):
            check_collector(
                settlement.w3, address, settlement.address, is_permit2=method == PERMIT2
            )
    return Collectors(taken[ERC3009], taken[PERMIT2])


def _prices(settings: Settings, written: Mapping[str, AnyPrice], decimals: int) -> Prices:
    twice = written.keys() & settings.prices.keys()
    if twice:
        problem = f"{min(twice)!r} is priced in Python too: remove the one or the other"
        raise settings.invalid("prices", problem)
    if not written and not settings.prices:
        raise settings.invalid("prices", 'it is empty: price a path, like "GET /a" = "0.002"')
    with told(settings, "prices"):
        return Prices({**written, **settings.prices}, decimals)


def _limits(settings: Settings, prices: Prices, decimals: int) -> Limits:
    written = settings.terms.exposure_cap
    cap = None if written is None else settings.units("terms.exposure_cap", written, decimals)
    for rule in prices.rules:
        if cap is not None and rule.price is not None and rule.price > cap:
            problem = f"{written!r} is less than the price of {rule.text!r}: give more"
            raise settings.invalid("terms.exposure_cap", problem)
    limits = settings.limits
    return Limits(
        exposure_cap=cap,
        wait_seconds=limits.wait_seconds,
        hold_seconds=limits.hold_seconds,
        answer_bytes=limits.answer_bytes,
        answer_seconds=limits.answer_seconds,
        sync_seconds=limits.sync_seconds,
        contract_payers=settings.terms.contract_payers,
        payers=_payer_limits(settings, decimals),
    )


def _payer_limits(settings: Settings, decimals: int) -> PayerLimits:
    payers = settings.payers
    rules: list[PayerRule] = []
    for field, period in (("day_cap", "P1D"), ("month_cap", "P1M")):
        written = getattr(payers, field)
        if written is not None:
            settings.units(f"payers.{field}", written, decimals)
            rules.append(Cap(written, period, EVERYWHERE).bind("", decimals))
    if payers.requests_per_minute is not None:
        rules.append(RateLimit(payers.requests_per_minute, "PT1M", EVERYWHERE))
    denied = frozenset(values.address("deny", each) for each in payers.deny)
    return PayerLimits(denied, tuple(rules))
