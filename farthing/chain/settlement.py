"""The settlement contract, bound: typed values in, typed values and typed errors out."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from eth_typing import BlockNumber, ChecksumAddress
from web3 import Web3
from web3.exceptions import BadFunctionCallOutput, Web3RPCError
from web3.types import BlockIdentifier, TxReceipt

from farthing.chain.artifacts import artifact
from farthing.chain.events import Event, read_events
from farthing.chain.json_rpc import asking
from farthing.chain.reverts import ContractReverted
from farthing.chain.sender import Sender, Transaction, as_farthing_error
from farthing.chain.token import transferred
from farthing.protocol import (
    MAX_ROWS,
    ChannelConfig,
    ClaimBatch,
    DepositAuthorization,
    Domain,
    Outcome,
    Refund,
    VoucherClaim,
    decode_outcomes,
    sign,
)
from farthing.protocol.domain import DOMAIN_NAME, DOMAIN_VERSION
from farthing.protocol.errors import FarthingError
from farthing.protocol.signatures import Signer

# Rows of one claim; see MAX_CLAIMS in contracts/BatchSettlement.vy.
MAX_CLAIMS = 100

# Gas limits that spare an estimate. Measured use is below 120,000 for a deposit and below 20,000
# for a claimed row of an ECDSA payer, 42,000 for the first one of a channel; see docs/gas.md.
DEPOSIT_GAS = 250_000
CLAIM_GAS = 150_000
CLAIM_ROW_GAS = 50_000


class NotASettlement(FarthingError):
    """There is no settlement contract at an address, or one of another domain.

    Attributes:
        address: Where it was looked for.
    """

    def __init__(self, address: str, chain_id: int, reason: str) -> None:
        self.address = address
        super().__init__(
            f"no settlement contract of chain {chain_id} at {address} ({reason}): check the "
            "address and the chain, or deploy one with `ape run deploy`."
        )


class ClaimTooLong(FarthingError):
    """A claim has more rows than the contract takes.

    Attributes:
        rows: How many it has.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        super().__init__(f"a claim has at most {MAX_CLAIMS} rows, this one {rows}: split it.")


@dataclass(frozen=True)
class Channel:
    """A channel's books on the chain, in smallest token units."""

    balance: int
    total_claimed: int

    @property
    def available(self) -> int:
        """What is in escrow and not claimed."""
        return self.balance - self.total_claimed


@dataclass(frozen=True)
class PendingWithdrawal:
    """A withdrawal that waits for its delay: amount in smallest units, time in unix seconds."""

    amount: int
    initiated_at: int


@dataclass(frozen=True)
class Snapshot:
    """All the chain says of a channel, at one block.

    Attributes:
        withdraw_amount: What the payer has asked back; 0 when it has not.
        withdraw_requested_at: Unix seconds; 0 when it has not.
        block: The block's number.
    """

    balance: int
    total_claimed: int
    withdraw_amount: int
    withdraw_requested_at: int
    refund_nonce: int
    block: int


@dataclass(frozen=True)
class ReceiverAccount:
    """What was claimed for a receiver in one token, and what of it was paid out."""

    total_claimed: int
    total_settled: int


@dataclass(frozen=True)
class Settled:
    """What a settlement paid, by the contract's own event: nothing when nothing was due.

    Attributes:
        gas: Of the whole transaction.
        moved: What of it the token says that it moved to the receiver.
    """

    amount: int
    gas: int
    moved: int


@dataclass(frozen=True)
class Redeemed:
    """What a redemption did, in smallest units.

    Attributes:
        amount: What the redeemed rows added up to.
        credited: What of it the token refused to pay out; it waits for `Settlement.settle`.
        moved: What of the rest the token says that it moved to the receiver.
        outcomes: What became of each row, in their order.
    """

    amount: int
    credited: int
    moved: int
    outcomes: list[Outcome]


class NothingRedeemed(FarthingError):
    """A transaction that should have redeemed has no redemption in its receipt.

    Attributes:
        transaction: Its hash.
    """

    def __init__(self, transaction: str) -> None:
        self.transaction = transaction
        super().__init__(
            f"transaction {transaction} redeemed nothing: check the settlement contract's address."
        )


class Settlement:
    """One deployed settlement contract.

    Every method that sends takes the `Sender` whose transaction it is, waits for the receipt, and
    raises what `Sender.transact` raises.
    """

    def __init__(self, w3: Web3, address: str) -> None:
        """Binds the contract and checks that its domain is the one vouchers will be signed for.

        Raises:
            NotASettlement: Nothing of the kind is there.
            NodeUnreachable, NodeRefused: The node does not say.
        """
        self.w3 = w3
        self.address: ChecksumAddress = Web3.to_checksum_address(address)
        self._contract = w3.eth.contract(self.address, abi=artifact("BatchSettlement").abi)
        with asking("the domain of the settlement contract"):
            self.domain = self._read_domain()

    def _read_domain(self) -> Domain:
        chain_id = self.w3.eth.chain_id
        if not self.w3.eth.get_code(self.address):
            raise NotASettlement(self.address, chain_id, "there is no code")
        try:
            answer = self._contract.functions.eip712Domain().call()
        except (FarthingError, Web3RPCError):
            raise
        except Exception as error:
            raise NotASettlement(self.address, chain_id, "it has no EIP-712 domain") from error
        _, name, version, domain_chain_id, contract, *_ = answer
        found = (name, version, domain_chain_id, contract)
        if found != (DOMAIN_NAME, DOMAIN_VERSION, chain_id, self.address):
            raise NotASettlement(self.address, chain_id, f"its domain is {found}")
        return Domain(chain_id, self.address)

    # ------------------------------------------------------------ reading

    def channel(self, channel_id: bytes) -> Channel:
        """The channel's books; zeros for one that never had a deposit."""
        return Channel(*self._read("channels", channel_id))

    def pending_withdrawal(self, channel_id: bytes) -> PendingWithdrawal | None:
        """The channel's pending withdrawal, if there is one."""
        amount, initiated_at = self._read("pendingWithdrawals", channel_id)
        return PendingWithdrawal(amount, initiated_at) if initiated_at else None

    def refund_nonce(self, channel_id: bytes) -> int:
        """The nonce that the channel's next signed refund has to name."""
        nonce: int = self._read("refundNonce", channel_id)
        return nonce

    def snapshot(self, channel_id: bytes) -> Snapshot:
        """The channel's books, its pending withdrawal and its refund nonce, of one block."""
        try:
            block = self.w3.eth.block_number
        except Exception as error:
            raise as_farthing_error(error, self.address) from error
        balance, total_claimed = self._read("channels", channel_id, block=block)
        amount, requested_at = self._read("pendingWithdrawals", channel_id, block=block)
        nonce = self._read("refundNonce", channel_id, block=block)
        return Snapshot(balance, total_claimed, amount, requested_at, nonce, block)

    def receiver_account(self, receiver: str, token: str) -> ReceiverAccount:
        """What was claimed for ``receiver`` in ``token``, and what was paid out of it."""
        return ReceiverAccount(*self._read("receivers", receiver, token))

    def events(self, receipt: TxReceipt) -> list[Event]:
        """This contract's events in a receipt, in their order."""
        return read_events(self._contract, receipt)

    def _read(self, function: str, *arguments: Any, block: int | None = None) -> Any:
        at: BlockIdentifier = "latest" if block is None else BlockNumber(block)
        try:
            return self._contract.functions[function](*arguments).call(block_identifier=at)
        except Exception as error:
            raise as_farthing_error(error, self.address) from error

    # ------------------------------------------------------------ payer's side

    def plan_deposit(
        self, config: ChannelConfig, amount: int, collector: str, collector_data: bytes
    ) -> Transaction:
        """A deposit, to be sent together with others by `Sender.transact_all`."""
        arguments = (config.as_tuple(), amount, collector, collector_data)
        return self._transaction("deposit", *arguments, gas=DEPOSIT_GAS)

    def check_deposit(
        self, sender: str, config: ChannelConfig, amount: int, collector: str, collector_data: bytes
    ) -> None:
        """Runs a deposit without sending it.

        Raises:
            ContractReverted: It would be refused.
        """
        arguments = (config.as_tuple(), amount, collector, collector_data)
        try:
            call = self._contract.functions.deposit(*arguments)
            call.call({"from": Web3.to_checksum_address(sender)})
        except Exception as error:
            raise as_farthing_error(error, self.address) from error

    def deposit(
        self,
        sender: Sender,
        config: ChannelConfig,
        amount: int,
        collector: str,
        collector_data: bytes,
    ) -> TxReceipt:
        """Pulls ``amount`` of the payer's tokens into the channel through a collector.

        Anyone may send it; ``collector_data`` carries the payer's consent, see
        `farthing.protocol.deposits`.
        """
        arguments = (config.as_tuple(), amount, collector, collector_data)
        return sender.transact(self._transaction("deposit", *arguments))

    def initiate_withdraw(self, sender: Sender, config: ChannelConfig, amount: int) -> TxReceipt:
        """Starts the payer's withdrawal of ``amount``; payer or payer authorizer only."""
        return sender.transact(self._transaction("initiateWithdraw", config.as_tuple(), amount))

    def finalize_withdraw(self, sender: Sender, config: ChannelConfig) -> TxReceipt:
        """Pays a pending withdrawal to the payer once the channel's delay is over."""
        return sender.transact(self._transaction("finalizeWithdraw", config.as_tuple()))

    # ------------------------------------------------------------ receiver's side

    def claim(self, sender: Sender, claims: Sequence[VoucherClaim]) -> TxReceipt:
        """Claims 1 to 100 vouchers; ``sender`` is receiver or authorizer of every row.

        Raises, besides what `Sender.transact` raises:
            ClaimTooLong: More than 100 rows.
        """
        try:
            return sender.transact(self.plan_claim(claims))
        except ContractReverted as error:
            raise self._locate(error, claims, sender.address) from error

    def claim_with_signature(
        self, sender: Sender, claims: Sequence[VoucherClaim], signature: bytes
    ) -> TxReceipt:
        """Claims 1 to 100 vouchers of one receiver authorizer, which signed the `ClaimBatch`.

        Raises, besides what `Sender.transact` raises:
            ClaimTooLong: More than 100 rows.
        """
        try:
            return sender.transact(self.plan_claim_with_signature(claims, signature))
        except ContractReverted as error:
            authorizer = claims[0].channel.receiver_authorizer if claims else sender.address
            raise self._locate(error, claims, authorizer) from error

    def plan_claim(self, claims: Sequence[VoucherClaim]) -> Transaction:
        """A claim sent by receiver or authorizer of every row. Raises `ClaimTooLong`."""
        _check_length(claims)
        rows = [claim.as_tuple() for claim in claims]
        return self._transaction("claim", rows, gas=_claim_gas(claims))

    def plan_claim_with_signature(
        self, claims: Sequence[VoucherClaim], signature: bytes
    ) -> Transaction:
        """A claim that anybody sends, with the authorizer's signature over its rows.

        Raises `ClaimTooLong`.
        """
        _check_length(claims)
        rows = [claim.as_tuple() for claim in claims]
        return self._transaction("claimWithSignature", rows, signature, gas=_claim_gas(claims))

    def sign_claims(self, authorizer: Signer, claims: Sequence[VoucherClaim]) -> bytes:
        """The receiver authorizer's signature over exactly these rows."""
        return sign(authorizer, ClaimBatch.of(claims, self.domain), self.domain)

    def settle(self, sender: Sender, receiver: str, token: str) -> Settled:
        """Pays the receiver what was claimed and not yet paid; anyone may send it."""
        return self.settled(sender.transact(self.plan_settle(receiver, token)))

    def plan_settle(self, receiver: str, token: str) -> Transaction:
        """A settlement, which anybody sends."""
        return self._transaction("settle", receiver, token)

    def claimed(self, receipt: TxReceipt) -> int:
        """What a claim added to its channels' totals, by the contract's own events."""
        return sum(e.args["claimAmount"] for e in self.events(receipt) if e.name == "Claimed")

    def settled(self, receipt: TxReceipt) -> Settled:
        """What a settlement did."""
        events = [event for event in self.events(receipt) if event.name == "Settled"]
        return Settled(
            sum(event.args["amount"] for event in events),
            receipt["gasUsed"],
            sum(self._moved(receipt, event) for event in events),
        )

    def _moved(self, receipt: TxReceipt, event: Event) -> int:
        return transferred(receipt, event.args["token"], self.address, event.args["receiver"])

    def refund(self, sender: Sender, config: ChannelConfig, amount: int) -> TxReceipt:
        """Gives up to ``amount`` of unclaimed money back; receiver or its authorizer only."""
        return sender.transact(self._transaction("refund", config.as_tuple(), amount))

    def refund_with_signature(
        self, sender: Sender, config: ChannelConfig, amount: int, nonce: int, signature: bytes
    ) -> TxReceipt:
        """Gives money back by the receiver authorizer's signed `Refund`; anyone may send it."""
        arguments = (config.as_tuple(), amount, nonce, signature)
        return sender.transact(self._transaction("refundWithSignature", *arguments))

    def plan_refund(
        self,
        authorizer: Signer,
        config: ChannelConfig,
        amount: int,
        nonce: int,
        claims: Sequence[VoucherClaim] = (),
    ) -> Transaction:
        """A refund by the authorizer's signature, after the claims that are due: all or nothing.

        What is not claimed before a refund can be given away by it.
        """
        refund = Refund(config.channel_id(self.domain), nonce, amount)
        signature = sign(authorizer, refund, self.domain)
        arguments = (config.as_tuple(), amount, nonce, signature)
        if not claims:
            return self._transaction("refundWithSignature", *arguments)
        rows = [claim.as_tuple() for claim in claims]
        claim_call = self._transaction(
            "claimWithSignature", rows, self.sign_claims(authorizer, claims)
        )
        refund_call = self._transaction("refundWithSignature", *arguments)
        return self.plan_multicall([claim_call.data, refund_call.data])

    def plan_multicall(self, calls: Sequence[bytes], gas: int | None = None) -> Transaction:
        """Up to 16 calls of this contract by one sender, all or nothing."""
        return self._transaction("multicall", list(calls), gas=gas)

    # ------------------------------------------------------------ Farthing's extension

    @cached_property
    def has_redeem(self) -> bool:
        """Whether the contract has the packed redemption; the official x402 contract has not."""
        try:
            rows: int = self._contract.functions.MAX_ROWS().call()
        except Exception as error:
            if isinstance(as_farthing_error(error, self.address), ContractReverted):
                return False
            if isinstance(error, BadFunctionCallOutput):
                return False
            raise as_farthing_error(error, self.address) from error
        return rows == MAX_ROWS

    def plan_deposit_with_authorization(
        self, config: ChannelConfig, authorization: DepositAuthorization, signature: bytes
    ) -> Transaction:
        """An ERC-3009 deposit straight into escrow: the authorization's payee is this contract."""
        return self._transaction(
            "depositWithAuthorization",
            config.as_tuple(),
            authorization.amount,
            authorization.valid_after,
            authorization.valid_before,
            authorization.salt,
            signature,
            gas=DEPOSIT_GAS,
        )

    def plan_redeem(self, call: bytes, gas: int) -> Transaction:
        """A redemption sent by the receiver or its authorizer; see `redeem_call`."""
        return Transaction(self.address, call, gas)

    def plan_redeem_with_signature(self, call: bytes, signature: bytes, gas: int) -> Transaction:
        """A redemption that anybody sends, with the authorizer's signature over its call."""
        return self._transaction("redeemWithSignature", call, signature, gas=gas)

    def redeemed(self, receipt: TxReceipt) -> Redeemed:
        """What a redemption did, by the contract's own events.

        Raises:
            NothingRedeemed: The receipt has no redemption of this contract.
        """
        events = self.events(receipt)
        credited = sum(e.args["amount"] for e in events if e.name == "PayoutCredited")
        for event in events:
            if event.name == "Redeemed":
                outcomes = decode_outcomes(event.args["redeemed"], event.args["skipped"])
                moved = self._moved(receipt, event)
                return Redeemed(event.args["amount"], credited, moved, outcomes)
        raise NothingRedeemed(receipt["transactionHash"].hex())

    # ------------------------------------------------------------ internal

    def _transaction(self, function: str, *arguments: Any, gas: int | None = None) -> Transaction:
        data = self._contract.encode_abi(function, args=list(arguments))
        return Transaction(self.address, bytes.fromhex(data[2:]), gas)

    def _locate(
        self, error: ContractReverted, claims: Sequence[VoucherClaim], claimer: str
    ) -> ContractReverted:
        """Finds the row a batch was refused for, by asking the contract about each row alone."""
        for row, claim in enumerate(claims):
            try:
                claim_alone = self._contract.functions.claim([claim.as_tuple()])
                claim_alone.call({"from": Web3.to_checksum_address(claimer)})
            except Exception as refusal:  # every kind becomes a FarthingError
                found = as_farthing_error(refusal, claimer)
                # Alone a row can be refused for what the batch was not, and not be the one.
                if isinstance(found, ContractReverted) and type(found) is type(error):
                    return found.at(row, self._describe(claim))
        return error

    def _describe(self, claim: VoucherClaim) -> str:
        channel_id = claim.channel.channel_id(self.domain)
        channel = self.channel(channel_id)
        return (
            f"channel 0x{channel_id.hex()}, claim {claim.total_claimed} under a ceiling of "
            f"{claim.max_claimable_amount}, balance {channel.balance}, claimed before "
            f"{channel.total_claimed}"
        )


def _check_length(claims: Sequence[VoucherClaim]) -> None:
    if len(claims) > MAX_CLAIMS:
        raise ClaimTooLong(len(claims))


def _claim_gas(claims: Sequence[VoucherClaim]) -> int | None:
    # A contract wallet may burn much more than a key; its rows are left to the node's estimate.
    if any(len(claim.signature) != 65 for claim in claims):
        return None
    return CLAIM_GAS + CLAIM_ROW_GAS * len(claims)
