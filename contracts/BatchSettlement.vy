# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title Batch settlement
@license MIT
@notice Escrow for x402 `batch-settlement`: a payer deposits once into a channel, signs cumulative
        vouchers off chain, and the receiver claims the latest voucher of many channels at once.

        Trusted with what:
        - The payer (or its authorizer) can commit the channel's money by signing, and can take back
          what is not claimed after `withdrawDelay`, without anybody's consent.
        - The receiver (or its authorizer) can claim up to the highest voucher the payer signed, at
          most what the channel holds, and can give unclaimed money back at once.
        - A collector is chosen by whoever sends the deposit; it is not trusted: what counts is that
          this contract's balance grew by exactly the amount.
        - The token is chosen by the parties of a channel and is trusted by them alone. A token that
          takes balances away hurts the channels of that token and no others.
        - There is no owner, no pause, no upgrade and no fee.

        Not protected against: a receiver that serves on a voucher and does not claim it before the
        payer's withdrawal is final; signed vouchers do not reserve money, only claims do.

        A channel's id is the EIP-712 digest of its config, bound to this chain and this contract.
"""
from ethereum.ercs import IERC20

from interfaces import IBatchSettlement
from interfaces import IDepositCollector
from modules import eip712_domain
from modules import signatures

implements: IBatchSettlement
initializes: eip712_domain
exports: eip712_domain.eip712Domain

# Rows of one claim. A longer array than this by one reverts with `BatchTooLong`; the ABI decoder
# refuses still longer ones without a reason.
MAX_CLAIMS: public(constant(uint256)) = 100
# Calls of one multicall, and the bytes of each.
MAX_CALLS: public(constant(uint256)) = 16
MAX_CALL_SIZE: constant(uint256) = 4_096
MAX_RESULT_SIZE: constant(uint256) = 512
# A payer's signature, of a voucher or of a direct deposit. Longer ones come through a collector, and
# wallets that make them name a key as payer authorizer.
MAX_VOUCHER_SIGNATURE: constant(uint256) = 256
MAX_COLLECTOR_DATA: constant(uint256) = 2_048

MIN_WITHDRAW_DELAY: public(constant(uint40)) = 900
MAX_WITHDRAW_DELAY: public(constant(uint40)) = 2_592_000

CHANNEL_CONFIG_TYPEHASH: public(constant(bytes32)) = keccak256(
    "ChannelConfig(address payer,address payerAuthorizer,address receiver,address receiverAuthorizer,address token,uint40 withdrawDelay,bytes32 salt)"
)
VOUCHER_TYPEHASH: public(constant(bytes32)) = keccak256("Voucher(bytes32 channelId,uint128 maxClaimableAmount)")
REFUND_TYPEHASH: public(constant(bytes32)) = keccak256("Refund(bytes32 channelId,uint256 nonce,uint128 amount)")
CLAIM_ENTRY_TYPEHASH: public(constant(bytes32)) = keccak256(
    "ClaimEntry(bytes32 channelId,uint128 maxClaimableAmount,uint128 totalClaimed)"
)
CLAIM_BATCH_TYPEHASH: public(constant(bytes32)) = keccak256(
    "ClaimBatch(ClaimEntry[] claims)ClaimEntry(bytes32 channelId,uint128 maxClaimableAmount,uint128 totalClaimed)"
)

# Rows of one redemption, and words that rows keep their rarer parts in.
MAX_ROWS: public(constant(uint256)) = 128
MAX_EXTRAS: public(constant(uint256)) = 128
# A call of `redeem` in full: selector, terms and two offsets, then rows and extras with their counts.
REDEEM_SELECTOR: constant(bytes4) = method_id(
    "redeem((address,address,address,uint40),(uint256,uint256,uint256)[],uint256[])", output_type=bytes4
)
MAX_REDEEM_CALL: constant(uint256) = 4 + 32 * (6 + 1 + 3 * (MAX_ROWS + 1) + 1 + MAX_EXTRAS)
# Where in it the second of the terms stands.
AUTHORIZER_OFFSET: constant(uint256) = 4 + 32

REDEMPTION_TYPEHASH: public(constant(bytes32)) = keccak256("Redemption(bytes call)")

# The head of a row, from the top: payer (20 bytes), flags (1), total (11).
PAYER_SHIFT: constant(uint256) = 96
FLAG_BITS: constant(uint256) = 255 * 2**88
HAS_AUTHORIZER: constant(uint256) = 2**88
HAS_SALT: constant(uint256) = 2**89
HAS_CEILING: constant(uint256) = 2**90
TOTAL_BITS: constant(uint256) = 2**88 - 1

# A redeemed row in the event, from the top: start of the channel id (20 bytes), new total (12).
ID_BITS: constant(uint256) = (2**160 - 1) * 2**96
# Why a row was skipped. Four bits for each row, the first row's lowest, 64 rows in a word.
STALE: constant(uint256) = 1
OVER_CEILING: constant(uint256) = 2
BAD_SIGNATURE: constant(uint256) = 3
EMPTY: constant(uint256) = 4
CONTRACT_PAYER: constant(uint256) = 5
REASON_SIZE: constant(uint256) = 4
REASONS_IN_WORD: constant(uint256) = 64
# A signer that no signature recovers to.
NOBODY: constant(uint256) = max_value(uint256)

# What the token may spend on a payout, and what must be left besides to finish without it.
PAYOUT_GAS: constant(uint256) = 200_000
PAYOUT_RESERVE: constant(uint256) = 50_000

# EIP-712 preimages as words, ready to be hashed, so that a row only replaces what is its own.
struct ChannelWords:
    typehash: bytes32
    payer: uint256
    payerAuthorizer: uint256
    receiver: address
    receiverAuthorizer: address
    token: address
    withdrawDelay: uint40
    salt: uint256


struct VoucherWords:
    typehash: bytes32
    channelId: bytes32
    maxClaimableAmount: uint256


interface IERC3009:
    def receiveWithAuthorization(
        owner: address,
        to: address,
        amount: uint256,
        validAfter: uint256,
        validBefore: uint256,
        nonce: bytes32,
        signature: Bytes[MAX_VOUCHER_SIGNATURE],
    ): nonpayable


# What a run of rows with the same receiver and token adds to that receiver's account.
struct Credit:
    receiver: address
    token: address
    amount: uint256


# Two amounts share one storage word, the first in the low half; see `_pack`, `_low` and `_high`.
LOW_HALF: constant(uint256) = 2**128 - 1
HALF: constant(uint256) = 128

# channel id -> balance, total claimed
_channels: HashMap[bytes32, uint256]
# channel id -> amount, initiated at (seconds; zero when nothing is pending)
_withdrawals: HashMap[bytes32, uint256]
# receiver -> token -> total claimed, total settled
_receivers: HashMap[address, HashMap[address, uint256]]
# Next nonce of a signed refund. Every refund takes one, also a direct one and one that moves nothing.
refundNonce: public(HashMap[bytes32, uint256])


@deploy
def __init__():
    eip712_domain.__init__("x402 Batch Settlement", "1")


# ---------------------------------------------------------------- deposit


@external
@nonreentrant
def deposit(
    config: IBatchSettlement.ChannelConfig,
    amount: uint128,
    collector: address,
    collectorData: Bytes[MAX_COLLECTOR_DATA],
):
    self._check_deposit(config, amount)
    if collector == empty(address):
        raw_revert(method_id("InvalidCollector()"))
    units: uint256 = convert(amount, uint256)
    channel_id: bytes32 = self._channel_id(eip712_domain._separator(), config)
    channel: uint256 = self._book_deposit(channel_id, units)

    held: uint256 = staticcall IERC20(config.token).balanceOf(self, skip_contract_check=True)
    extcall IDepositCollector(collector).collect(
        config.payer, config.token, units, channel_id, collectorData
    )
    self._finish_deposit(channel_id, channel, config, units, held)


@external
@nonreentrant
def depositWithAuthorization(
    config: IBatchSettlement.ChannelConfig,
    amount: uint128,
    validAfter: uint256,
    validBefore: uint256,
    salt: uint256,
    signature: Bytes[MAX_VOUCHER_SIGNATURE],
):
    self._check_deposit(config, amount)
    units: uint256 = convert(amount, uint256)
    channel_id: bytes32 = self._channel_id(eip712_domain._separator(), config)
    channel: uint256 = self._book_deposit(channel_id, units)

    held: uint256 = staticcall IERC20(config.token).balanceOf(self, skip_contract_check=True)
    # The nonce names the channel, so nobody can turn the payer's signature to another one.
    extcall IERC3009(config.token).receiveWithAuthorization(
        config.payer,
        self,
        units,
        validAfter,
        validBefore,
        keccak256(abi_encode(channel_id, salt)),
        signature,
        skip_contract_check=True,
    )
    self._finish_deposit(channel_id, channel, config, units, held)


# ---------------------------------------------------------------- claim and settle


@external
@nonreentrant
def claim(voucherClaims: DynArray[IBatchSettlement.VoucherClaim, MAX_CLAIMS + 1]):
    self._check_batch_length(len(voucherClaims), MAX_CLAIMS)
    domain: bytes32 = eip712_domain._separator()
    total: Credit = empty(Credit)
    for row: IBatchSettlement.VoucherClaim in voucherClaims:
        if msg.sender != row.voucher.channel.receiverAuthorizer and msg.sender != row.voucher.channel.receiver:
            raw_revert(method_id("NotAuthorizedToClaim()"))
        if row.voucher.channel.receiver != total.receiver or row.voucher.channel.token != total.token:
            self._credit(total)
            total = Credit(receiver=row.voucher.channel.receiver, token=row.voucher.channel.token, amount=0)
        total.amount += self._claim(domain, self._channel_id(domain, row.voucher.channel), row)
    self._credit(total)


@external
@nonreentrant
def claimWithSignature(
    voucherClaims: DynArray[IBatchSettlement.VoucherClaim, MAX_CLAIMS + 1],
    authorizerSignature: Bytes[signatures.MAX_SIGNATURE],
):
    self._check_batch_length(len(voucherClaims), MAX_CLAIMS)
    domain: bytes32 = eip712_domain._separator()
    channel_ids: DynArray[bytes32, MAX_CLAIMS + 1] = []
    entries: DynArray[bytes32, MAX_CLAIMS + 1] = []
    for row: IBatchSettlement.VoucherClaim in voucherClaims:
        channel_id: bytes32 = self._channel_id(domain, row.voucher.channel)
        channel_ids.append(channel_id)
        entries.append(self._claim_entry_hash(channel_id, row.voucher.maxClaimableAmount, row.totalClaimed))

    authorizer: address = voucherClaims[0].voucher.channel.receiverAuthorizer
    if not signatures._is_valid(authorizer, self._claim_batch_digest(domain, entries), authorizerSignature):
        raw_revert(method_id("InvalidSignature()"))

    total: Credit = empty(Credit)
    i: uint256 = 0
    for row: IBatchSettlement.VoucherClaim in voucherClaims:
        channel: IBatchSettlement.ChannelConfig = row.voucher.channel
        if channel.receiverAuthorizer != authorizer:
            raw_revert(method_id("NotReceiverAuthorizer()"))
        if channel.receiver != total.receiver or channel.token != total.token:
            self._credit(total)
            total = Credit(receiver=channel.receiver, token=channel.token, amount=0)
        total.amount += self._claim(domain, channel_ids[i], row)
        i += 1
    self._credit(total)


@external
@nonreentrant
def settle(receiver: address, token: address):
    account: uint256 = self._receivers[receiver][token]
    claimed: uint256 = self._low(account)
    settled: uint256 = self._high(account)
    amount: uint256 = claimed - settled
    if amount == 0:
        return
    self._receivers[receiver][token] = self._pack(claimed, claimed)
    self._transfer(token, receiver, amount)
    log IBatchSettlement.Settled(
        receiver=receiver, token=token, sender=msg.sender, amount=convert(amount, uint128)
    )


# ---------------------------------------------------------------- redeem


@external
@nonreentrant
def redeem(
    terms: IBatchSettlement.Terms,
    rows: DynArray[IBatchSettlement.Row, MAX_ROWS + 1],
    extras: DynArray[uint256, MAX_EXTRAS],
):
    # `redeemWithSignature` calls from here, after it has checked the authorizer's signature.
    if msg.sender != terms.receiver and msg.sender != terms.receiverAuthorizer and msg.sender != self:
        raw_revert(method_id("NotAuthorizedToClaim()"))
    self._check_batch_length(len(rows), MAX_ROWS)

    # Every EIP-712 digest starts with these bytes.
    prefix: Bytes[34] = concat(0x1901, eip712_domain._separator())
    config: ChannelWords = ChannelWords(
        typehash=CHANNEL_CONFIG_TYPEHASH,
        payer=0,
        payerAuthorizer=0,
        receiver=terms.receiver,
        receiverAuthorizer=terms.receiverAuthorizer,
        token=terms.token,
        withdrawDelay=terms.withdrawDelay,
        salt=0,
    )
    voucher: VoucherWords = VoucherWords(
        typehash=VOUCHER_TYPEHASH, channelId=empty(bytes32), maxClaimableAmount=0
    )
    next_extra: uint256 = 0
    paid: uint256 = 0
    redeemed: DynArray[uint256, MAX_ROWS] = []
    skipped: uint256[2] = empty(uint256[2])
    index: uint256 = max_value(uint256)

    for row: IBatchSettlement.Row in rows:
        index = unsafe_add(index, 1)
        # Read: most payers sign for themselves, up to what is redeemed, in a channel without a salt.
        new_claimed: uint256 = row.head & TOTAL_BITS
        voucher.maxClaimableAmount = new_claimed
        signer: uint256 = row.head >> PAYER_SHIFT
        config.payer = signer
        config.payerAuthorizer = signer
        config.salt = 0
        if row.head & FLAG_BITS != 0:
            if row.head & HAS_AUTHORIZER != 0:
                config.payerAuthorizer = extras[next_extra]
                signer = self._voucher_signer(config.payer, extras[next_extra])
                next_extra += 1
            if row.head & HAS_SALT != 0:
                config.salt = extras[next_extra]
                next_extra += 1
            if row.head & HAS_CEILING != 0:
                voucher.maxClaimableAmount = extras[next_extra]
                next_extra += 1
            if new_claimed > voucher.maxClaimableAmount or signer == NOBODY:
                new_claimed = 0

        # Check: a withdrawal may have got in first, then the row takes what is left.
        voucher.channelId = keccak256(concat(prefix, keccak256(abi_encode(config))))
        channel: uint256 = self._channels[voucher.channelId]
        if channel & LOW_HALF < new_claimed:
            new_claimed = channel & LOW_HALF
        if new_claimed <= channel >> HALF:
            skipped[index // REASONS_IN_WORD] |= self._why_not_due(
                index, row.head & TOTAL_BITS, voucher.maxClaimableAmount, signer, channel >> HALF
            )
            continue

        # Verify.
        s: uint256 = row.vs & signatures.S_BITS
        if s > signatures.MAX_S:
            skipped[index // REASONS_IN_WORD] |= self._reason(index, BAD_SIGNATURE)
            continue
        if signer != convert(
            ecrecover(
                keccak256(concat(prefix, keccak256(abi_encode(voucher)))),
                unsafe_add(27, row.vs >> signatures.V_SHIFT),
                row.r,
                s,
            ),
            uint256,
        ):
            skipped[index // REASONS_IN_WORD] |= self._reason(index, BAD_SIGNATURE)
            continue

        # Record. What is claimed stands in the high half; neither sum can pass what was deposited.
        amount: uint256 = unsafe_sub(new_claimed, channel >> HALF)
        self._channels[voucher.channelId] = unsafe_add(channel, amount << HALF)
        paid = unsafe_add(paid, amount)
        redeemed.append((convert(voucher.channelId, uint256) & ID_BITS) | new_claimed)

    log IBatchSettlement.Redeemed(
        receiver=terms.receiver, token=terms.token, amount=paid, redeemed=redeemed, skipped=skipped
    )
    if paid != 0:
        self._pay_out(terms.token, terms.receiver, paid)


@external
def redeemWithSignature(
    redeemCall: Bytes[MAX_REDEEM_CALL], authorizerSignature: Bytes[signatures.MAX_SIGNATURE]
):
    # Only a redemption: this contract must not be talked into any other call to itself.
    if len(redeemCall) < AUTHORIZER_OFFSET + 32 or convert(slice(redeemCall, 0, 4), bytes4) != REDEEM_SELECTOR:
        raw_revert(method_id("NotARedemption()"))
    authorizer: address = extract32(redeemCall, AUTHORIZER_OFFSET, output_type=address)
    digest: bytes32 = self._redemption_digest(redeemCall)
    if not signatures._is_valid(authorizer, digest, authorizerSignature):
        raw_revert(method_id("InvalidSignature()"))
    raw_call(self, redeemCall)


@external
def payOut(token: address, receiver: address, amount: uint256):
    # A call of its own, so that all a token did in a transfer it then refuses is undone.
    if msg.sender != self:
        raw_revert(method_id("OnlySelf()"))
    self._transfer(token, receiver, amount)


# ---------------------------------------------------------------- withdraw and refund


@external
@nonreentrant
def initiateWithdraw(config: IBatchSettlement.ChannelConfig, amount: uint128):
    if msg.sender != config.payer and msg.sender != config.payerAuthorizer:
        raw_revert(method_id("InvalidChannel()"))
    if amount == 0:
        raw_revert(method_id("NothingToWithdraw()"))
    channel_id: bytes32 = self._channel_id(eip712_domain._separator(), config)
    if self._withdrawals[channel_id] != 0:
        raw_revert(method_id("WithdrawalAlreadyPending()"))
    if convert(amount, uint256) > self._available(channel_id):
        raw_revert(method_id("WithdrawAmountExceedsAvailable()"))
    self._withdrawals[channel_id] = self._pack(convert(amount, uint256), block.timestamp)
    log IBatchSettlement.WithdrawInitiated(
        channelId=channel_id,
        amount=amount,
        finalizeAfter=convert(block.timestamp, uint40) + config.withdrawDelay,
    )


@external
@nonreentrant
def finalizeWithdraw(config: IBatchSettlement.ChannelConfig):
    if msg.sender != config.payer and msg.sender != config.payerAuthorizer:
        raw_revert(method_id("NotAuthorizedToFinalizeWithdraw()"))
    channel_id: bytes32 = self._channel_id(eip712_domain._separator(), config)
    withdrawal: uint256 = self._withdrawals[channel_id]
    requested: uint256 = self._low(withdrawal)
    initiated_at: uint256 = self._high(withdrawal)
    if initiated_at == 0:
        raw_revert(method_id("WithdrawalNotPending()"))
    if block.timestamp < initiated_at + convert(config.withdrawDelay, uint256):
        raw_revert(method_id("WithdrawDelayNotElapsed()"))

    amount: uint256 = min(requested, self._available(channel_id))
    self._withdrawals[channel_id] = 0
    emptied: bool = self._release(channel_id, amount)
    log IBatchSettlement.WithdrawFinalized(
        channelId=channel_id, sender=msg.sender, amount=convert(amount, uint128)
    )
    if emptied:
        log IBatchSettlement.ChannelClosed(channelId=channel_id, config=config)
    if amount != 0:
        self._transfer(config.token, config.payer, amount)


@external
@nonreentrant
def refund(config: IBatchSettlement.ChannelConfig, amount: uint128):
    if not self._is_receiver_side(config):
        raw_revert(method_id("NotAuthorizedToRefund()"))
    self._refund(self._channel_id(eip712_domain._separator(), config), config, amount)


@external
@nonreentrant
def refundWithSignature(
    config: IBatchSettlement.ChannelConfig,
    amount: uint128,
    nonce: uint256,
    receiverAuthorizerSignature: Bytes[signatures.MAX_SIGNATURE],
):
    domain: bytes32 = eip712_domain._separator()
    channel_id: bytes32 = self._channel_id(domain, config)
    if nonce != self.refundNonce[channel_id]:
        raw_revert(method_id("InvalidRefundNonce()"))
    digest: bytes32 = self._refund_digest(domain, channel_id, nonce, amount)
    if not signatures._is_valid(config.receiverAuthorizer, digest, receiverAuthorizerSignature):
        raw_revert(method_id("InvalidSignature()"))
    self._refund(channel_id, config, amount)


# ---------------------------------------------------------------- multicall


@external
def multicall(data: DynArray[Bytes[MAX_CALL_SIZE], MAX_CALLS]) -> DynArray[Bytes[MAX_RESULT_SIZE], MAX_CALLS]:
    # Each call runs with the caller as its sender, and locks for itself.
    results: DynArray[Bytes[MAX_RESULT_SIZE], MAX_CALLS] = []
    for call: Bytes[MAX_CALL_SIZE] in data:
        results.append(raw_call(self, call, max_outsize=MAX_RESULT_SIZE, is_delegate_call=True))
    return results


# ---------------------------------------------------------------- views


@external
@view
def channels(channelId: bytes32) -> (uint128, uint128):
    """
    @return Escrowed balance, total claimed.
    """
    channel: uint256 = self._channels[channelId]
    return convert(self._low(channel), uint128), convert(self._high(channel), uint128)


@external
@view
def pendingWithdrawals(channelId: bytes32) -> (uint128, uint40):
    """
    @return Amount asked for, time it was asked at (zero when nothing is pending).
    """
    withdrawal: uint256 = self._withdrawals[channelId]
    return convert(self._low(withdrawal), uint128), convert(self._high(withdrawal), uint40)


@external
@view
def receivers(receiver: address, token: address) -> (uint128, uint128):
    """
    @return Total claimed for the receiver, total settled to it.
    """
    account: uint256 = self._receivers[receiver][token]
    return convert(self._low(account), uint128), convert(self._high(account), uint128)


@external
@view
def getChannelId(config: IBatchSettlement.ChannelConfig) -> bytes32:
    return self._channel_id(eip712_domain._separator(), config)


@external
@view
def getVoucherDigest(channelId: bytes32, maxClaimableAmount: uint128) -> bytes32:
    return self._voucher_digest(eip712_domain._separator(), channelId, maxClaimableAmount)


@external
@view
def getRedemptionDigest(redeemCall: Bytes[MAX_REDEEM_CALL]) -> bytes32:
    return self._redemption_digest(redeemCall)


@external
@view
def getRefundDigest(channelId: bytes32, nonce: uint256, amount: uint128) -> bytes32:
    return self._refund_digest(eip712_domain._separator(), channelId, nonce, amount)


@external
@view
def getClaimBatchDigest(voucherClaims: DynArray[IBatchSettlement.VoucherClaim, MAX_CLAIMS + 1]) -> bytes32:
    domain: bytes32 = eip712_domain._separator()
    entries: DynArray[bytes32, MAX_CLAIMS + 1] = []
    for row: IBatchSettlement.VoucherClaim in voucherClaims:
        channel_id: bytes32 = self._channel_id(domain, row.voucher.channel)
        entries.append(self._claim_entry_hash(channel_id, row.voucher.maxClaimableAmount, row.totalClaimed))
    return self._claim_batch_digest(domain, entries)


# ---------------------------------------------------------------- internal: accounting


@internal
@pure
def _check_deposit(config: IBatchSettlement.ChannelConfig, amount: uint128):
    if (
        config.payer == empty(address)
        or config.receiver == empty(address)
        or config.receiverAuthorizer == empty(address)
        or config.token == empty(address)
    ):
        raw_revert(method_id("InvalidChannel()"))
    if config.withdrawDelay < MIN_WITHDRAW_DELAY or config.withdrawDelay > MAX_WITHDRAW_DELAY:
        raw_revert(method_id("WithdrawDelayOutOfRange()"))
    if amount == 0:
        raw_revert(method_id("ZeroDeposit()"))


@internal
def _book_deposit(channel_id: bytes32, amount: uint256) -> uint256:
    """
    @return The channel's books with the deposit in them.
    """
    channel: uint256 = self._channels[channel_id]
    if amount > unsafe_sub(LOW_HALF, channel & LOW_HALF):
        raw_revert(method_id("DepositOverflow()"))
    channel = unsafe_add(channel, amount)
    self._channels[channel_id] = channel
    return channel


@internal
def _finish_deposit(
    channel_id: bytes32,
    channel: uint256,
    config: IBatchSettlement.ChannelConfig,
    amount: uint256,
    held: uint256,
):
    grown: uint256 = staticcall IERC20(config.token).balanceOf(self, skip_contract_check=True)
    if unsafe_sub(grown, held) != amount:
        raw_revert(method_id("DepositCollectionFailed()"))
    # Nothing was in the channel before, and nothing was ever claimed from it.
    if channel == amount:
        log IBatchSettlement.ChannelCreated(channelId=channel_id, config=config)
    log IBatchSettlement.Deposited(
        channelId=channel_id,
        sender=msg.sender,
        amount=convert(amount, uint128),
        newBalance=convert(channel & LOW_HALF, uint128),
    )


@internal
def _claim(domain: bytes32, channel_id: bytes32, row: IBatchSettlement.VoucherClaim) -> uint256:
    """
    @return What the row adds to the receiver's account; zero for a row that is not news.
    """
    # Check.
    channel: uint256 = self._channels[channel_id]
    balance: uint256 = self._low(channel)
    claimed: uint256 = self._high(channel)
    new_claimed: uint256 = convert(row.totalClaimed, uint256)
    if new_claimed <= claimed:
        return 0
    if row.totalClaimed > row.voucher.maxClaimableAmount:
        raw_revert(method_id("ClaimExceedsCeiling()"))
    if new_claimed > balance:
        raw_revert(method_id("ClaimExceedsBalance()"))

    # Verify.
    digest: bytes32 = self._voucher_digest(domain, channel_id, row.voucher.maxClaimableAmount)
    payer_authorizer: address = row.voucher.channel.payerAuthorizer
    if payer_authorizer != empty(address):
        if signatures._recover(digest, row.signature) != payer_authorizer:
            raw_revert(method_id("InvalidSignature()"))
    elif not signatures._is_valid(row.voucher.channel.payer, digest, row.signature):
        raw_revert(method_id("InvalidSignature()"))

    # Record.
    amount: uint256 = new_claimed - claimed
    self._channels[channel_id] = self._pack(balance, new_claimed)
    log IBatchSettlement.Claimed(
        channelId=channel_id,
        sender=msg.sender,
        claimAmount=convert(amount, uint128),
        newTotalClaimed=row.totalClaimed,
    )
    return amount


@internal
@view
def _voucher_signer(payer: uint256, authorizer: uint256) -> uint256:
    """
    @return Who must have signed: the authorizer where there is one, the payer itself where there is
            none. A payer with code signs by ERC-1271, which has no place in a packed row: nobody.
    """
    if authorizer != 0:
        return authorizer
    if convert(payer, address).is_contract:
        return NOBODY
    return payer


@internal
@pure
def _why_not_due(index: uint256, total: uint256, ceiling: uint256, signer: uint256, claimed: uint256) -> uint256:
    if signer == NOBODY:
        return self._reason(index, CONTRACT_PAYER)
    if total > ceiling:
        return self._reason(index, OVER_CEILING)
    if total <= claimed:
        return self._reason(index, STALE)
    return self._reason(index, EMPTY)


@internal
@pure
def _reason(index: uint256, reason: uint256) -> uint256:
    return reason << (index % REASONS_IN_WORD * REASON_SIZE)


@internal
def _pay_out(token: address, receiver: address, amount: uint256):
    """
    @notice Sends the receiver its money; where the token refuses, puts it on the receiver's account
            for a later `settle`, so that a blocked receiver never blocks a redemption.
    """
    # With less, the sender could make a transfer fail that the token would have done.
    if msg.gas < PAYOUT_GAS + PAYOUT_RESERVE:
        raw_revert(method_id("NotEnoughGas()"))
    paid: bool = raw_call(
        self,
        abi_encode(token, receiver, amount, method_id=method_id("payOut(address,address,uint256)")),
        gas=PAYOUT_GAS,
        revert_on_failure=False,
    )
    if not paid:
        self._credit(Credit(receiver=receiver, token=token, amount=amount))
        log IBatchSettlement.PayoutCredited(receiver=receiver, token=token, amount=amount)


@internal
def _refund(channel_id: bytes32, config: IBatchSettlement.ChannelConfig, amount: uint128):
    if amount == 0:
        raw_revert(method_id("ZeroRefund()"))
    # The nonce moves first and always, so that no signed refund can be used a second time.
    self.refundNonce[channel_id] = unsafe_add(self.refundNonce[channel_id], 1)
    refunded: uint256 = min(convert(amount, uint256), self._available(channel_id))
    if refunded == 0:
        return
    emptied: bool = self._release(channel_id, refunded)

    withdrawal: uint256 = self._withdrawals[channel_id]
    requested: uint256 = self._low(withdrawal)
    initiated_at: uint256 = self._high(withdrawal)
    if initiated_at != 0:
        if refunded >= requested:
            self._withdrawals[channel_id] = 0
        else:
            self._withdrawals[channel_id] = self._pack(requested - refunded, initiated_at)

    log IBatchSettlement.Refunded(channelId=channel_id, sender=msg.sender, amount=convert(refunded, uint128))
    if emptied:
        log IBatchSettlement.ChannelClosed(channelId=channel_id, config=config)
    self._transfer(config.token, config.payer, refunded)


@internal
def _credit(credit: Credit):
    if credit.amount == 0:
        return
    account: uint256 = self._receivers[credit.receiver][credit.token]
    # A receiver's total cannot pass 128 bits, or it would run into what is settled.
    assert self._low(account) + credit.amount <= LOW_HALF
    self._receivers[credit.receiver][credit.token] = account + credit.amount


@internal
@view
def _available(channel_id: bytes32) -> uint256:
    channel: uint256 = self._channels[channel_id]
    return self._low(channel) - self._high(channel)


@internal
def _release(channel_id: bytes32, amount: uint256) -> bool:
    """
    @notice Takes unclaimed money out of a channel's books.
    @return Whether the channel is empty and nothing was ever claimed from it.
    """
    channel: uint256 = self._channels[channel_id]
    balance: uint256 = self._low(channel)
    claimed: uint256 = self._high(channel)
    self._channels[channel_id] = self._pack(balance - amount, claimed)
    return balance == amount and claimed == 0


@internal
def _transfer(token: address, to: address, amount: uint256):
    # Tokens that return nothing are taken at their word; those that return false are not.
    if not extcall IERC20(token).transfer(to, amount, default_return_value=True):
        raw_revert(abi_encode(token, method_id=method_id("SafeERC20FailedOperation(address)")))


# ---------------------------------------------------------------- internal: rules


@internal
@pure
def _check_batch_length(rows: uint256, limit: uint256):
    if rows == 0:
        raw_revert(method_id("EmptyBatch()"))
    if rows > limit:
        raw_revert(method_id("BatchTooLong()"))


@internal
@view
def _is_receiver_side(config: IBatchSettlement.ChannelConfig) -> bool:
    return msg.sender == config.receiverAuthorizer or msg.sender == config.receiver


# ---------------------------------------------------------------- internal: hashes


@internal
@pure
def _channel_id(domain: bytes32, config: IBatchSettlement.ChannelConfig) -> bytes32:
    # Spelled out, as is the voucher's: a call of `_digest` would cost every row some more.
    return keccak256(concat(0x1901, domain, keccak256(abi_encode(CHANNEL_CONFIG_TYPEHASH, config))))


@internal
@pure
def _voucher_digest(domain: bytes32, channel_id: bytes32, max_claimable: uint128) -> bytes32:
    return keccak256(
        concat(0x1901, domain, keccak256(abi_encode(VOUCHER_TYPEHASH, channel_id, max_claimable)))
    )


@internal
@pure
def _refund_digest(domain: bytes32, channel_id: bytes32, nonce: uint256, amount: uint128) -> bytes32:
    return eip712_domain._digest(domain, keccak256(abi_encode(REFUND_TYPEHASH, channel_id, nonce, amount)))


@internal
@pure
def _claim_entry_hash(channel_id: bytes32, max_claimable: uint128, total_claimed: uint128) -> bytes32:
    return keccak256(abi_encode(CLAIM_ENTRY_TYPEHASH, channel_id, max_claimable, total_claimed))


@internal
@pure
def _claim_batch_digest(domain: bytes32, entries: DynArray[bytes32, MAX_CLAIMS + 1]) -> bytes32:
    # EIP-712 hashes an array as its elements side by side, without their count.
    counted: Bytes[32 + 32 * (MAX_CLAIMS + 1)] = abi_encode(entries, ensure_tuple=False)
    entries_hash: bytes32 = keccak256(slice(counted, 32, 32 * len(entries)))
    return eip712_domain._digest(domain, keccak256(abi_encode(CLAIM_BATCH_TYPEHASH, entries_hash)))


@internal
@view
def _redemption_digest(redeem_call: Bytes[MAX_REDEEM_CALL]) -> bytes32:
    return eip712_domain._digest(
        eip712_domain._separator(), keccak256(abi_encode(REDEMPTION_TYPEHASH, keccak256(redeem_call)))
    )


# ---------------------------------------------------------------- internal: words


@internal
@pure
def _pack(low: uint256, high: uint256) -> uint256:
    # Callers keep both below 2**128.
    return low | (high << HALF)


@internal
@pure
def _low(word: uint256) -> uint256:
    return word & LOW_HALF


@internal
@pure
def _high(word: uint256) -> uint256:
    return word >> HALF
