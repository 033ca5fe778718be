"""Tokens and collectors that will not do: told at the start, one sentence each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from farthing.paywall import Paywall, open_paywall
from farthing.protocol.keccak import keccak
from tests.escrow_world import STRANGER, World
from tests.paywall.site import edit, refusal
from tests.stub_node import forward, result, stub_node
from tests.stub_node import refusal as refusal_of

# Answers of a contract that has no such function: a revert, and what a fallback may say.
MISSING = [refusal_of("0x"), result("0x")]


@contextmanager
def tells(folder: Path, node_url: str, address: str, answers: dict[str, bytes]) -> Iterator[Path]:
    """The settings with a node where a contract answers functions so; the others as they are."""
    chosen = {"0x" + keccak(name.encode())[:4].hex(): said for name, said in answers.items()}

    def answer(body: bytes) -> bytes:
        request = json.loads(body)
        if request["method"] == "eth_call":
            call = request["params"][0]
            if call["to"].lower() == address.lower() and call["data"][:10] in chosen:
                return chosen[call["data"][:10]]
        return forward(node_url, body)

    with stub_node(answer) as url:
        yield edit(folder, r"^rpc = .*", f'rpc = "{url}"')


STATE, SEPARATOR = "authorizationState(address,bytes32)", "DOMAIN_SEPARATOR()"
VOID = (
    "does not hash the name 'Test USD' and the version '1' that it tells, so that what clients "
    "sign is void"
)


@pytest.mark.parametrize(
    ("function", "said", "problem"),
    [(STATE, each, "takes no signed transfers (ERC-3009)") for each in MISSING]
    + [(SEPARATOR, result("0x" + "11" * 32), VOID)],
)
def test_open_paywall__a_token_without_erc3009(
    folder: Path, node_world: World, node_url: str, function: str, said: bytes, problem: str
) -> None:
    token = node_world.token.address
    with tells(folder, node_url, token, {function: said}) as path:
        assert refusal(path) == (
            f"{path}: chain.token: the token at {token} {problem}: take another one, or "
            "deposits by permit2 alone."
        )


@pytest.mark.parametrize("said", MISSING)
def test_open_paywall__a_token_that_does_not_tell_its_domain(
    folder: Path, node_world: World, node_url: str, opened: list[Paywall], said: bytes
) -> None:
    with tells(folder, node_url, node_world.token.address, {SEPARATOR: said}) as path:
        opened.append(open_paywall(path))
    assert opened[0].offers.terms.transfer_methods == ("eip3009",)


@pytest.mark.parametrize("said", MISSING)
def test_open_paywall__a_token_for_permit2_alone(
    folder: Path, node_world: World, node_url: str, opened: list[Paywall], said: bytes
) -> None:
    edit(folder, r"^exposure_cap", 'transfer_methods = ["permit2"]\nexposure_cap')
    lacks = dict.fromkeys(("name()", "version()", STATE, SEPARATOR), said)
    with tells(folder, node_url, node_world.token.address, lacks) as path:
        opened.append(open_paywall(path))
    terms = opened[0].offers.terms
    # x402 has both in every offer.
    assert (terms.token_name, terms.token_version) == (node_world.token.symbol, "1")


@pytest.mark.parametrize("function", ["symbol()", "decimals()"])
def test_open_paywall__a_token_that_is_none_for_permit2_either(
    folder: Path, node_world: World, node_url: str, function: str
) -> None:
    edit(folder, r"^exposure_cap", 'transfer_methods = ["permit2"]\nexposure_cap')
    token = node_world.token.address
    with tells(folder, node_url, token, {function: MISSING[0]}) as path:
        assert refusal(path).startswith(f"{path}: chain.token: no token at {token}: check")


@pytest.mark.parametrize("method", ["erc3009", "permit2"])
def test_open_paywall__a_collector_of_another_settlement_contract(
    folder: Path, node_world: World, node_url: str, method: str
) -> None:
    places = node_world.deployment
    edit(folder, r"^exposure_cap", 'transfer_methods = ["eip3009", "permit2"]\nexposure_cap')
    place = places.permit2_collector if method == "permit2" else places.erc3009_collector
    said = result("0x" + STRANGER.address[2:].lower().rjust(64, "0"))
    with tells(folder, node_url, place, {"x402BatchSettlement()": said}) as path:
        assert refusal(path) == (
            f"{path}: chain.{method}_collector: the collector at {place} serves the settlement "
            f"contract {STRANGER.address}, not {places.settlement}: name one that was deployed "
            "for it."
        )


def test_open_paywall__a_collector_that_is_none(folder: Path, node_world: World) -> None:
    token = node_world.token.address
    path = edit(folder, r"^erc3009_collector.*", f'erc3009_collector = "{token}"')
    assert refusal(path) == (
        f"{path}: chain.erc3009_collector: the contract at {token} is no collector: check the "
        "address."
    )


@pytest.mark.parametrize(
    ("method", "wanted", "found"),
    [("eip3009", "ERC-3009", "Permit2"), ("permit2", "Permit2", "ERC-3009")],
)
def test_open_paywall__collectors_that_changed_places(
    folder: Path, node_world: World, method: str, wanted: str, found: str
) -> None:
    places = node_world.deployment
    edit(folder, r"^exposure_cap", f'transfer_methods = ["{method}"]\nexposure_cap')
    edit(folder, r"^erc3009_.*", f'erc3009_collector = "{places.permit2_collector}"')
    path = edit(folder, r"^permit2_.*", f'permit2_collector = "{places.erc3009_collector}"')
    field = "permit2_collector" if method == "permit2" else "erc3009_collector"
    place = places.erc3009_collector if method == "permit2" else places.permit2_collector
    assert refusal(path) == (
        f"{path}: chain.{field}: the collector at {place} is for {found}: name the one for "
        f"{wanted}, the two may have changed places."
    )
