"""Payers that only a chain can tell about: contract wallets, and those who deposit with Permit2."""

from __future__ import annotations

from eth_account.signers.local import LocalAccount
from web3 import Web3

from farthing.chain.artifacts import artifact
from farthing.chain.sender import Transaction
from farthing.protocol import PERMIT2, Permit2Deposit, Permit2Domain, sign
from tests.conftest import rpc
from tests.escrow_world import World
from tests.paywall.paywall_kit import CHEAP, Json, Payer

NOBODY = "0x" + "00" * 20
# What a wallet answers every isValidSignature with: yes, or something else.
YES, NO = "1626ba7e", "ffffffff"


def answers(word: str, size: int = 32) -> str:
    """The code of a wallet that answers everything with ``word``, and zeros up to ``size``."""
    return f"63{word}60e01b5f5262{size:06x}5ff3"


def wallet(world: World, runtime: str) -> str:
    """Puts a contract of that code on the chain; its address."""
    size = len(runtime) // 2
    code = bytes.fromhex(f"60{size:02x}600c60003960{size:02x}6000f3" + runtime)
    address = world.operator.transact(Transaction(None, code, 200_000))["contractAddress"]
    assert address is not None
    return Web3.to_checksum_address(address)


def place_permit2(world: World) -> None:
    """Gives a node Permit2 at its own address."""
    rpc(world.w3, "anvil_setCode", PERMIT2, "0x" + artifact("Permit2").runtime.hex())


def approve_permit2(world: World, owner: str) -> None:
    """Permit2 may take the tokens of ``owner``, which may be a contract."""
    token = world.w3.eth.contract(
        world.w3.to_checksum_address(world.token.address), abi=artifact("TestUSD").abi
    )
    data = token.encode_abi("approve", args=[PERMIT2, 2**256 - 1])
    rpc(world.w3, "anvil_setBalance", owner, hex(10**18))
    rpc(world.w3, "anvil_impersonateAccount", owner)
    call = {"from": owner, "to": world.token.address, "data": data}
    sent = rpc(world.w3, "eth_sendTransaction", call)
    assert world.w3.eth.wait_for_transaction_receipt(sent)["status"] == 1
    rpc(world.w3, "anvil_stopImpersonatingAccount", owner)


def permit2_deposit(
    world: World,
    payer: Payer,
    amount: int,
    ceiling: int = CHEAP,
    *,
    nonce: int = 7,
    permitted: int | None = None,
    signed: int | None = None,
    signer: LocalAccount | None = None,
) -> Json:
    """A deposit through Permit2, said to be ``permitted`` for and ``signed`` for other amounts."""
    transfer = Permit2Deposit(
        token=world.token.address,
        amount=amount if signed is None else signed,
        collector=world.deployment.permit2_collector,
        nonce=nonce,
        deadline=2**40,
        channel_id=payer.channel_id,
    )
    domain = Permit2Domain(world.settlement.domain.chain_id)
    allowed = amount if permitted is None else permitted
    authorization = {
        "permitted": {"token": world.token.address, "amount": str(allowed)},
        "spender": transfer.collector,
        "nonce": str(nonce),
        "deadline": str(2**40),
        "witness": {"channelId": "0x" + payer.channel_id.hex()},
        "signature": "0x" + sign(signer or payer.account, transfer, domain).hex(),
    }
    deposit = {"amount": str(amount), "authorization": {"permit2Authorization": authorization}}
    return payer.message(ceiling, CHEAP, "deposit", deposit=deposit)
