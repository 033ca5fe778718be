"""How long, how large and how much."""

from __future__ import annotations

from dataclasses import dataclass

from farthing.paywall.pricing.rules import PayerRule

SYNC_SECONDS = 300


@dataclass(frozen=True)
class PayerLimits:
    """What bounds each payer, on all routes together.

    Attributes:
        denied: Addresses that nothing is sold to, as payer or as who signs for one; checksummed.
        rules: Caps and rate limits, for a token's decimals; they come after those of a price.
    """

    denied: frozenset[str] = frozenset()
    rules: tuple[PayerRule, ...] = ()


@dataclass(frozen=True)
class Limits:
    """What bounds a paywall.

    Attributes:
        exposure_cap: How much a channel may owe that is not claimed on chain, in smallest units;
            None leaves it to the channel's balance.
        wait_seconds: How long a request waits for another of its channel.
        hold_seconds: How long a handler may take before others of its channel go on.
        answer_bytes: Bodies up to this length are kept and charged as a whole; longer ones are
            charged when they reach it, then passed on as they come, and not kept.
        answer_seconds: How long an answer is kept for a client that lost it.
        sync_seconds: After how long the chain is asked again about a channel that pays; well below
            the 900 seconds that a withdrawal takes at least.
        contract_payers: Whether channels without a payer authorizer are taken. What is signed for
            them is worth something only as long as the payer's own code says so.
        payers: What bounds each payer.
    """

    exposure_cap: int | None = None
    wait_seconds: float = 5.0
    hold_seconds: float = 60.0
    answer_bytes: int = 262_144
    answer_seconds: int = 600
    sync_seconds: int = SYNC_SECONDS
    contract_payers: bool = False
    payers: PayerLimits = PayerLimits()
