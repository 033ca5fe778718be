import pytest

from farthing.chain.connection import connect
from farthing.chain.json_rpc import NodeRefused
from farthing.chain.reverts import ERC20InsufficientBalance
from farthing.chain.token import MAX_MINT, MINT_ACCOUNT_GAS, MINT_GAS, NotAToken, Token
from tests.escrow_world import FUNDS, PAYER, RECEIVER, World, party
from tests.faulty_node import Fault, faulty_node


def test_token__reads_what_it_is(world: World) -> None:
    token = world.token
    assert (token.symbol, token.decimals) == ("TUSD", 6)
    assert token.domain.contract == token.address
    # The domain is the one the contract itself hashes with.
    assert token._contract.functions.DOMAIN_SEPARATOR().call() == token.domain.separator


def test_transfer__moves_exactly_the_amount(world: World) -> None:
    world.token.transfer(world.sender(PAYER), RECEIVER.address, 7)
    assert world.token.balance_of(PAYER.address) == FUNDS - 7
    assert world.token.balance_of(RECEIVER.address) == 7


def test_transfer__more_than_the_account_holds(world: World) -> None:
    with pytest.raises(ERC20InsufficientBalance):
        world.token.transfer(world.sender(PAYER), RECEIVER.address, FUNDS + 1)
    assert world.token.balance_of(RECEIVER.address) == 0


@pytest.mark.parametrize("accounts", [0, 1, 200])
def test_plan_mint__gives_each_the_amount_within_its_gas(world: World, accounts: int) -> None:
    addresses = [party(f"mint {n}").address for n in range(accounts)]
    planned = world.token.plan_mint(addresses, 5)
    assert planned.gas == MINT_GAS + accounts * MINT_ACCOUNT_GAS
    world.operator.transact(planned)
    assert {world.token.balance_of(address) for address in addresses} <= {5}
    assert accounts <= MAX_MINT


@pytest.mark.parametrize("where", ["nobody", "settlement"])
def test_token__not_a_token(world: World, where: str) -> None:
    address = party(where).address if where == "nobody" else world.settlement.address
    with pytest.raises(NotAToken) as caught:
        Token(world.w3, address)
    assert caught.value.address == address
    assert str(caught.value) == (f"no token at {address}: check the address and the chain.")


@pytest.mark.parametrize("method", ["eth_chainId", "eth_call"])
def test_token__a_node_that_is_busy(node_world: World, node_url: str, method: str) -> None:
    with faulty_node(node_url) as node:
        w3 = connect(node.url)
        node.then(method, Fault.REFUSE)
        with pytest.raises(NodeRefused, match="limit exceeded"):
            Token(w3, node_world.token.address)
