"""Many channels read from the chain at once, all as of one block."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from web3 import Web3

from farthing.chain.artifacts import artifact
from farthing.chain.checked_node import AnswerUnusable
from farthing.chain.json_rpc import NodeRefused, ask, from_hex
from farthing.chain.settlement import Snapshot
from farthing.protocol.keccak import keccak

# Channels of one call; see MAX_CHANNELS in contracts/lens/ChannelLens.vy. With so many the call
# takes 8.4 million gas, which every node gives it.
MAX_CHANNELS = 378
# Below so many in a call, a node that refuses is asked without the lens.
FEW = 24

_CALL = "eth_call"
_WORD = 32
_READS = tuple(
    keccak(signature)[:4]
    for signature in (b"channels(bytes32)", b"pendingWithdrawals(bytes32)", b"refundNonce(bytes32)")
)


class Lens:
    """Reads channels of one settlement contract.

    A contract that is never deployed does it: the node runs its creation, see
    ``contracts/lens/ChannelLens.vy``. A node that does not do that is asked for every channel by
    itself.

    Args:
        w3: The node.
        settlement: The contract's address.
        chain_id: The chain it is on; another chain's answer is not taken.
    """

    def __init__(self, w3: Web3, settlement: str, chain_id: int) -> None:
        self._w3 = w3
        self._settlement = settlement
        self._address = _word(int(settlement, 16))
        self._chain_id = chain_id
        self._code = artifact("ChannelLens")
        self._most = MAX_CHANNELS

    def read(self, channel_ids: Iterable[bytes], block: int, block_hash: str) -> list[Snapshot]:
        """What the chain says of each channel after one block, in their order.

        Args:
            channel_ids: 32 bytes each.
            block, block_hash: The block's number, and its hash in hex. The hash decides: where the
                block is not the chain's any more, or not yet the node's, the node refuses.

        Raises:
            NodeUnreachable: The node does not answer.
            NodeRefused: It does not know the block, or will not be asked this way or the other.
            AnswerUnusable: Its answer is cut, or to another question.
        """
        at = {"blockHash": block_hash, "requireCanonical": True}
        left = iter(channel_ids)
        found: list[Snapshot] = []
        while batch := list(islice(left, MAX_CHANNELS)):
            words = self._words(batch, at)
            found += [_snapshot(words[i], words[i + 1], block) for i in range(0, 2 * len(batch), 2)]
        return found

    def _words(self, channel_ids: Sequence[bytes], at: dict[str, object]) -> list[int]:
        """Two words of each channel, as the lens has them."""
        words: list[int] = []
        most = self._most
        while channel_ids:
            batch, rest = channel_ids[:most], channel_ids[most:]
            try:
                words += self._through_lens(batch, at)
            except NodeRefused:
                if len(batch) >= FEW:
                    # A smaller one may be within the gas that the node gives a call.
                    most = len(batch) // 2
                    continue
                words += self._one_by_one(batch, at)
            channel_ids = rest
        # Kept only now that the smaller ones were answered, and it was not for another reason.
        self._most = most
        return words

    def _through_lens(self, channel_ids: Sequence[bytes], at: dict[str, object]) -> list[int]:
        # As the ABI has it: an array at the end, and before it where it starts.
        ids = _word(len(channel_ids)) + b"".join(channel_ids)
        data = self._code.bytecode + self._address + _word(2 * _WORD) + ids
        question = _word(self._chain_id) + self._address + _word(3 * _WORD) + ids
        answer = from_hex(_CALL, ask(self._w3, _CALL, {"data": "0x" + data.hex()}, at, as_=str))
        answer = answer.removeprefix(self._code.runtime)
        if len(answer) != _WORD * (1 + 2 * MAX_CHANNELS) or answer[:_WORD] != keccak(question):
            raise AnswerUnusable(_CALL, "it is cut, or to another question")
        return _split(answer[_WORD : _WORD * (1 + 2 * len(channel_ids))])

    def _one_by_one(self, channel_ids: Sequence[bytes], at: dict[str, object]) -> list[int]:
        words: list[int] = []
        for channel_id in channel_ids:
            channel, withdrawal, refund_nonce = (
                self._call(selector + channel_id, at) for selector in _READS
            )
            if (len(channel), len(withdrawal), len(refund_nonce)) != (2, 2, 1):
                raise AnswerUnusable(_CALL, "it is cut, or not of a settlement contract")
            words.append(channel[0] | channel[1] << 128)
            words.append(withdrawal[0] | withdrawal[1] << 128 | refund_nonce[0] << 168)
        return words

    def _call(self, data: bytes, at: dict[str, object]) -> list[int]:
        call = {"to": self._settlement, "data": "0x" + data.hex()}
        return _split(from_hex(_CALL, ask(self._w3, _CALL, call, at, as_=str)))


def _word(value: int) -> bytes:
    return value.to_bytes(_WORD, "big")


def _split(data: bytes) -> list[int]:
    if len(data) % _WORD:
        raise AnswerUnusable(_CALL, "it is cut")
    return [int.from_bytes(data[i : i + _WORD], "big") for i in range(0, len(data), _WORD)]


def _snapshot(channel: int, rest: int, block: int) -> Snapshot:
    return Snapshot(
        balance=channel & (2**128 - 1),
        total_claimed=channel >> 128,
        withdraw_amount=rest & (2**128 - 1),
        withdraw_requested_at=rest >> 128 & (2**40 - 1),
        refund_nonce=rest >> 168,
        block=block,
    )
