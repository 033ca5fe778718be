"""`farthing wallet receipt` and `farthing verify-receipt`: what was charged, proven to anybody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import BinaryIO

import click

from farthing.commands.options import json_option, when
from farthing.commands.wallet import folder_option
from farthing.protocol.proofs import Proof, read_proof
from farthing.protocol.values import address
from farthing.wallet import Store
from farthing.wallet.folder import MEMORY
from farthing.wallet.receipts import NoReceipt, ReceiptWrong, evidence_of, payment_by_id

# A longer one is none: a header has at most 16 KiB, and a proof is shorter.
_LONGEST = 2**20
# The last second that has a date.
_LAST = 253_402_300_799


@click.command("receipt")
@click.argument("payment_id", metavar="ID", type=click.IntRange(1))
@folder_option
def receipt_command(payment_id: int, folder: Path) -> None:
    """Print what the publisher signed for payment ID, for `farthing verify-receipt`.

    Ends with 4, and still prints it, when it is not what was paid.
    """
    store = Store(folder / MEMORY)
    try:
        found = evidence_of(store, payment_by_id(store, payment_id))
    finally:
        store.close()
    if found.proof is not None:
        click.echo(json.dumps(found.proof, indent=2))
    if found.problem is not None:
        raise ReceiptWrong(payment_id, found.problem)
    if found.proof is None:
        raise NoReceipt(payment_id, "the publisher gave none")


@click.command("verify-receipt")
@click.argument("file", type=click.File("rb"))
@click.option("--signer", metavar="ADDRESS", help="Who must have signed it.")
@json_option
def verify_receipt_command(file: BinaryIO, signer: str | None, as_json: bool) -> None:
    """Check FILE, or - for standard input, without asking anybody; end with 0 only if it is right.

    FILE is what `farthing wallet receipt` prints, or a PAYMENT-RESPONSE header. Whose address the
    signer's is, the publisher's own 402 tells: it is its receiverAuthorizer.
    """
    checked = None if signer is None else address("--signer", signer)
    proof = read_proof(file.read(_LONGEST), checked)
    if as_json:
        click.echo(json.dumps(dict(_told(proof))))
        return
    for name, value in _told(proof):
        # Whoever made the file chose these words, and a terminal obeys some.
        click.echo(f"{name:10}  {value if value.isprintable() else repr(value)}")


def _told(proof: Proof) -> list[tuple[str, str]]:
    """What is proven, for people and machines. Amounts are smallest units of the token."""
    told = [("signer", proof.signer)]
    config, domain = proof.config, proof.domain
    charge, receipt = proof.given.charge, proof.given.receipt
    if charge is not None:
        said = charge.said
        told += [
            ("request", f"{said.method} {said.url}"),
            ("charged", str(said.amount)),
            ("total", str(said.total)),
            ("time", _when(said.time)),
            ("request_id", said.request_id),
            ("channel", "0x" + said.channel_id.hex()),
        ]
    elif receipt is not None:
        told += [("url", receipt.said.url), ("time", _when(receipt.said.issued_at))]
    if config is not None and domain is not None:
        told += [
            ("payer", config.payer),
            ("receiver", config.receiver),
            ("token", config.token),
            ("network", f"eip155:{domain.chain_id}"),
        ]
    elif receipt is not None:
        told += [("payer", receipt.said.payer), ("network", receipt.said.network)]
    return told


def _when(seconds: int) -> str:
    """A time that somebody signed, which need not be one."""
    return when(seconds) if seconds <= _LAST else str(seconds)
