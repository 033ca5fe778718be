"""Turns a receiver's vouchers into money: claims them in batches and settles."""

import json
from collections.abc import Sequence
from pathlib import Path

import click
from ape.api import AccountAPI
from web3 import Web3

from farthing.chain.sender import Sender
from farthing.chain.settlement import Settlement
from farthing.chain.token import Token
from farthing.protocol import ChannelConfig, InvalidField, VoucherClaim, is_payer_signature
from farthing.protocol.values import uint128_from_decimal
from farthing.redeemer import redeem
from scripts._support import BadInput, Command, account_option, chain, deployment, show, signer


@click.command(cls=Command)
@account_option()
@click.argument("vouchers", type=click.Path(path_type=Path))
def cli(account: AccountAPI | None, vouchers: Path) -> None:
    """Redeem the VOUCHERS, a JSON list, and pay the receivers out.

    Each is {"channelConfig": ..., "maxClaimableAmount": "...", "signature": "0x...",
    "totalClaimed": "..."}, amounts in smallest units. The account is the receiver authorizer of
    all of them, and pays the gas. Every row is checked before anything is sent.
    """
    w3 = chain()
    authorizer = signer(account)
    claims = _read(vouchers)
    settlement = Settlement(w3, deployment().settlement)
    for row, claim in enumerate(claims):
        reason = _refusal(w3, settlement, authorizer.address, claim)
        if reason:
            raise BadInput(f"{vouchers} row {row}: {reason}; nothing was sent.")

    def batch_done(rows: int) -> None:
        click.echo(f"Redeemed a batch of {rows}.")

    redemption = redeem(settlement, Sender(w3, authorizer), authorizer, claims, on_batch=batch_done)
    click.echo(f"Vouchers  {len(claims):,}")
    click.echo(f"Batches   {redemption.batches:,}")
    click.echo(f"Gas       {redemption.gas:,}")
    tokens = {claim.channel.token for claim in claims}
    if len(tokens) == 1:
        token = Token(w3, tokens.pop())
        click.echo(f"Paid      {show(redemption.paid, token.decimals, token.symbol)}")
    else:
        click.echo(f"Paid      {redemption.paid:,} smallest units of {len(tokens)} tokens")
    if redemption.credited:
        click.echo(f"Waiting   {redemption.credited:,} smallest units that a token did not pay out")
    for skipped in redemption.skipped:
        channel_id = skipped.claim.channel.channel_id(settlement.domain)
        click.echo(f"Skipped   channel 0x{channel_id.hex()}: {skipped.reason.sentence()}")


def _read(path: Path) -> Sequence[VoucherClaim]:
    try:
        rows = json.loads(path.read_text())
    except OSError as error:
        raise BadInput(f"voucher file {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise BadInput(f"voucher file {path} is not JSON: {error}.") from error
    if not isinstance(rows, list) or not rows:
        raise BadInput(f"voucher file {path} must hold a JSON list of at least one voucher.")
    return [_claim(path, number, row) for number, row in enumerate(rows)]


def _claim(path: Path, number: int, row: object) -> VoucherClaim:
    if not isinstance(row, dict):
        raise BadInput(f"{path} row {number}: must be a JSON object; nothing was sent.")
    try:
        return VoucherClaim(
            channel=ChannelConfig.from_json(row.get("channelConfig")),
            max_claimable_amount=uint128_from_decimal(
                "maxClaimableAmount", row.get("maxClaimableAmount")
            ),
            signature=_signature(row.get("signature")),
            total_claimed=uint128_from_decimal("totalClaimed", row.get("totalClaimed")),
        )
    except InvalidField as error:
        raise BadInput(f"{path} row {number}: {error}; nothing was sent.") from error


def _signature(value: object) -> bytes:
    if isinstance(value, str) and value.startswith("0x"):
        try:
            return bytes.fromhex(value[2:])
        except ValueError:
            pass
    raise InvalidField("signature", value, "must be hex digits after 0x")


def _refusal(w3: Web3, settlement: Settlement, authorizer: str, claim: VoucherClaim) -> str:
    """Why the contract would refuse the row; empty when it would not."""
    channel = claim.channel
    if channel.receiver_authorizer != authorizer:
        return (
            f"its receiver authorizer is {channel.receiver_authorizer}, not the account "
            f"{authorizer}: redeem from that one"
        )
    digest = claim.voucher(settlement.domain).digest(settlement.domain)
    signed = is_payer_signature(
        channel,
        digest,
        claim.signature,
        is_contract=lambda address: bool(w3.eth.get_code(Web3.to_checksum_address(address))),
        is_valid_erc1271=lambda wallet, digest, signature: _accepts(w3, wallet, digest, signature),
    )
    if not signed:
        return "the signature is not the payer's over this voucher on this chain and contract"
    balance = settlement.channel(channel.channel_id(settlement.domain)).balance
    if claim.total_claimed > balance:
        return f"it claims {claim.total_claimed} and the channel holds {balance}"
    return ""


def _accepts(w3: Web3, wallet: str, digest: bytes, signature: bytes) -> bool:
    """Asks a contract wallet (ERC-1271)."""
    contract = w3.eth.contract(Web3.to_checksum_address(wallet), abi=_ERC1271)
    try:
        answer = contract.functions.isValidSignature(digest, signature).call()
    except Exception:  # a wallet that fails does not accept
        return False
    return bytes(answer) == _ERC1271_ACCEPTS


_ERC1271_ACCEPTS = bytes.fromhex("1626ba7e")
_ERC1271 = [
    {
        "type": "function",
        "name": "isValidSignature",
        "stateMutability": "view",
        "inputs": [{"name": "hash", "type": "bytes32"}, {"name": "signature", "type": "bytes"}],
        "outputs": [{"name": "", "type": "bytes4"}],
    }
]
