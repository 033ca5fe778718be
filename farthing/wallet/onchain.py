"""What a payer does on the chain without anybody's leave: look, take money back, and recover."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from farthing.chain.sender import Sender
from farthing.protocol import ChannelConfig, FarthingError
from farthing.protocol.keccak import keccak
from farthing.wallet.errors import NotAnswered
from farthing.wallet.records import Lane
from farthing.wallet.wallet import Wallet

_CHANNEL_CREATED = keccak(
    b"ChannelCreated(bytes32,(address,address,address,address,address,uint40,bytes32))"
)
# Blocks that are asked for at a time: nodes refuse long spans.
BLOCKS = 10_000


@dataclass(frozen=True)
class Position:
    """Where one channel stands, in smallest units, by the chain and by the wallet's books.

    Attributes:
        escrow: What is in escrow and not claimed.
        owed: What was charged, or may have been, and is not claimed yet.
        withdraw_amount, withdraw_after: A withdrawal that was begun, and when it can be finished
            in unix seconds; 0 when there is none.
    """

    lane: Lane
    escrow: int
    owed: int
    withdraw_amount: int
    withdraw_after: int

    @property
    def unspent(self) -> int:
        """What is the payer's own still."""
        return max(0, self.escrow - self.owed)


def positions(wallet: Wallet) -> list[Position]:
    """All channels, as the chain has them now.

    Raises:
        NotAnswered: The chain cannot be asked.
    """
    return [_position(wallet, lane) for lane in wallet.store.lanes()]


def _position(wallet: Wallet, lane: Lane) -> Position:
    seen = wallet.snapshot(lane.channel_id)
    since = seen.withdraw_requested_at
    return Position(
        lane,
        escrow=seen.balance - seen.total_claimed,
        owed=max(0, lane.upper - seen.total_claimed),
        withdraw_amount=seen.withdraw_amount,
        withdraw_after=since + lane.config.withdraw_delay if since else 0,
    )


def withdraw(wallet: Wallet, sender: Sender, channel_id: bytes, amount: int | None = None) -> int:
    """Asks for ``amount`` back, or for all that is not spent; no more is paid from the channel.

    Args:
        sender: Sends with the payer's key or the session key, and pays for gas.

    Returns:
        When `finish_withdrawal` can be called, unix seconds of the chain.

    Raises:
        ContractReverted: The contract refuses: nothing is left, or a withdrawal is pending.
        NotAnswered: The chain cannot be asked.
    """
    # First, so that no payment comes between.
    wallet.store.set_closed(channel_id)
    lane = wallet.store.lane(channel_id)
    here = _position(wallet, lane)
    wanted = here.unspent if amount is None else amount
    wallet.settlement.initiate_withdraw(sender, lane.config, wanted)
    wallet.refresh(lane)
    return wallet.snapshot(channel_id).withdraw_requested_at + lane.config.withdraw_delay


def finish_withdrawal(wallet: Wallet, sender: Sender, channel_id: bytes) -> int:
    """Takes a withdrawal's money back to the payer; gives how much, in smallest units.

    Raises:
        ContractReverted: The delay is not over, or no withdrawal is pending.
    """
    lane = wallet.store.lane(channel_id)
    receipt = wallet.settlement.finalize_withdraw(sender, lane.config)
    wallet.refresh(lane)
    events = wallet.settlement.events(receipt)
    return sum(each.args["amount"] for each in events if each.name == "WithdrawFinalized")


def recover(wallet: Wallet, first_block: int = 0) -> list[Lane]:
    """Finds the wallet's channels on the chain, for a file that was lost and made anew.

    What was charged and not claimed yet is on no chain: its publishers say it when they are next
    paid, and prove it with the vouchers they hold.

    Args:
        first_block: Where to begin, for example the contract's own block.

    Raises:
        NotAnswered: The chain cannot be asked.
    """
    known = {lane.channel_id for lane in wallet.store.lanes()}
    found = []
    for channel_id, config in _created(wallet, first_block):
        is_ours = (config.payer, config.payer_authorizer) == (
            wallet.store.home.payer,
            wallet.store.home.session,
        )
        if channel_id in known or not is_ours:
            continue
        known.add(channel_id)
        seen = wallet.snapshot(channel_id)
        claimed = seen.total_claimed
        balance = seen.balance - seen.withdraw_amount
        lane = Lane(channel_id, "", config, balance, claimed, claimed, claimed)
        wallet.store.add_lane(lane)
        if seen.withdraw_amount:
            wallet.store.set_closed(channel_id)
        found.append(wallet.store.lane(channel_id))
    return found


def _created(wallet: Wallet, first_block: int) -> list[tuple[bytes, ChannelConfig]]:
    settlement, logs = wallet.settlement, list[Any]()
    try:
        last = settlement.w3.eth.block_number
        for block in range(first_block, last + 1, BLOCKS):
            span: Any = {
                "address": settlement.address,
                "topics": ["0x" + _CHANNEL_CREATED.hex()],
                "fromBlock": block,
                "toBlock": min(last, block + BLOCKS - 1),
            }
            logs += settlement.w3.eth.get_logs(span)
    except FarthingError as error:
        raise NotAnswered(str(error).rstrip(".")) from error
    except Exception as error:  # whatever a node says, it did not give its logs
        raise NotAnswered(f"the node did not give its logs ({type(error).__name__})") from error
    events = settlement.events({"logs": logs})  # type: ignore[typeddict-item]  # a receipt's part
    return [
        (bytes(each.args["channelId"]), _config(each.args["config"]))
        for each in events
        if each.name == "ChannelCreated"
    ]


def _config(told: Any) -> ChannelConfig:
    salt = "0x" + bytes(told["salt"]).hex()
    return ChannelConfig.from_json({**told, "salt": salt})
