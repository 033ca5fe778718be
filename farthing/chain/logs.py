"""The settlement contract's events by the hundred thousand, from a node's logs."""

from __future__ import annotations

from functools import cache

from eth_utils.abi import event_abi_to_log_topic
from msgspec import Struct

from farthing.chain.artifacts import artifact
from farthing.chain.checked_node import AnswerUnusable
from farthing.chain.json_rpc import from_hex, number
from farthing.protocol import ChannelConfig

# Bytes of a channel's id that every event of it has. A redemption's has no more.
ID_PREFIX = 20

_METHOD = "eth_getLogs"
_WORD = 32
_CONFIG_WORDS = 7
# Where the rows of `Redeemed` are counted: after its amount, their place, and two words of reasons.
_ROWS = 4
# These name a channel in their first topic.
_OF_A_CHANNEL = frozenset(
    {"ChannelClosed", "ChannelCreated", "Claimed", "Deposited", "Refunded"}
    | {"WithdrawFinalized", "WithdrawInitiated"}
)
# And these a receiver.
_OF_A_RECEIVER = frozenset({"PayoutCredited", "Redeemed", "Settled"})


class RawLog(Struct, rename="camel"):
    """A log as nodes answer it, in hex."""

    address: str
    topics: list[str]
    data: str
    block_number: str
    block_hash: str
    transaction_hash: str
    log_index: str


class Log(Struct, frozen=True):
    """An event of the settlement contract.

    Attributes:
        event: Its name.
        channels: The channels it is of: the first `ID_PREFIX` bytes of each one's id.
        topics: 32 bytes each, without the first one, which names the event.
        data: The rest, as the ABI has it.
        block: Number of its block; ``block_hash``, in hex, tells forks apart.
        index: Its place among all logs of its block.
        transaction: Hash of its transaction, in hex.
    """

    event: str
    channels: tuple[bytes, ...]
    topics: tuple[bytes, ...]
    data: bytes
    block: int
    block_hash: str
    index: int
    transaction: str

    @property
    def key(self) -> tuple[str, int]:
        """Names the event, on every fork another."""
        return self.block_hash, self.index


@cache
def event_topics() -> dict[str, str]:
    """The events that are followed: the hex text of the first topic, and the name."""
    return {
        "0x" + event_abi_to_log_topic(entry).hex(): entry["name"]  # type: ignore[arg-type]
        for entry in artifact("BatchSettlement").abi
        if entry["type"] == "event" and entry["name"] in _OF_A_CHANNEL | _OF_A_RECEIVER
    }


def read_log(raw: RawLog) -> Log:
    """The event in a log of the settlement contract.

    Raises:
        AnswerUnusable: It is not one of `event_topics`, or cut.
    """
    name = event_topics().get(raw.topics[0].lower()) if raw.topics else None
    if name is None:
        raise AnswerUnusable(_METHOD, "it has an event that was not asked for")
    topics = tuple(from_hex(_METHOD, topic) for topic in raw.topics[1:])
    data = from_hex(_METHOD, raw.data)
    if not topics or any(len(topic) != _WORD for topic in topics) or len(data) % _WORD:
        raise AnswerUnusable(_METHOD, "an event is cut")
    if name in _OF_A_CHANNEL:
        channels: tuple[bytes, ...] = (topics[0][:ID_PREFIX],)
    elif name == "Redeemed":
        channels = _redeemed(data)
    else:
        channels = ()
    return Log(
        name,
        channels,
        topics,
        data,
        number(_METHOD, raw.block_number),
        raw.block_hash,
        number(_METHOD, raw.log_index),
        raw.transaction_hash,
    )


def _redeemed(data: bytes) -> tuple[bytes, ...]:
    """A redemption's rows: the start of the channel's id stands at the top of each."""
    first = (_ROWS + 1) * _WORD
    if len(data) < first or len(data) != first + _WORD * _uint(data, _ROWS):
        raise AnswerUnusable(_METHOD, "an event is cut")
    return tuple(data[at : at + ID_PREFIX] for at in range(first, len(data), _WORD))


def created_parties(log: Log) -> tuple[bytes, bytes, bytes]:
    """Receiver, receiver authorizer and token of a ``ChannelCreated``, as words of the ABI.

    Raises:
        AnswerUnusable: It is cut.
    """
    if len(log.data) != _CONFIG_WORDS * _WORD:
        raise AnswerUnusable(_METHOD, "an event is cut")
    receiver, authorizer, token = (log.data[i * _WORD : (i + 1) * _WORD] for i in (2, 3, 4))
    return receiver, authorizer, token


def created_config(log: Log) -> ChannelConfig:
    """The config in a ``ChannelCreated`` whose `created_parties` are in order."""
    payer, authorizer, receiver, receiver_authorizer, token = (
        "0x" + log.data[i * _WORD + 12 : (i + 1) * _WORD].hex() for i in range(5)
    )
    return ChannelConfig(
        payer=payer,
        payer_authorizer=authorizer,
        receiver=receiver,
        receiver_authorizer=receiver_authorizer,
        token=token,
        withdraw_delay=_uint(log.data, 5),
        salt=log.data[6 * _WORD :],
    )


def _uint(data: bytes, place: int) -> int:
    return int.from_bytes(data[place * _WORD : (place + 1) * _WORD], "big")
