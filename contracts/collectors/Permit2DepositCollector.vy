# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title Permit2 deposit collector
@license MIT
@notice Deposits of any ERC-20 whose owner has approved Permit2 once. The payer signs Permit2's typed
        data with the channel id as witness, so a signature is good for one channel, one amount and,
        by Permit2's nonce, one deposit. Tokens go straight from the payer to settlement.

        `collector_data` is abi.encode(uint256 nonce, uint256 deadline, bytes signature,
        bytes eip2612Data). The last may be empty, or a permit of exactly the amount that gives
        Permit2 its allowance; see `eip2612_permit`.

        Trusts Permit2 to check signature, witness, nonce and deadline.
"""
from ..interfaces import IDepositCollector
from ..modules import eip2612_permit
from ..modules import settlement_only
from ..modules import signatures

implements: IDepositCollector
initializes: settlement_only
exports: settlement_only.x402BatchSettlement


struct TokenPermissions:
    token: address
    amount: uint256


struct PermitTransferFrom:
    permitted: TokenPermissions
    nonce: uint256
    deadline: uint256


struct SignatureTransferDetails:
    to: address
    requestedAmount: uint256


interface ISignatureTransfer:
    def permitWitnessTransferFrom(
        permit: PermitTransferFrom,
        transferDetails: SignatureTransferDetails,
        owner: address,
        witness: bytes32,
        witnessTypeString: String[128],
        signature: Bytes[signatures.MAX_SIGNATURE],
    ): nonpayable


# EIP-712 wants the types a struct refers to in alphabetical order.
DEPOSIT_WITNESS_TYPE_STRING: public(constant(String[128])) = (
    "DepositWitness witness)DepositWitness(bytes32 channelId)TokenPermissions(address token,uint256 amount)"
)
DEPOSIT_WITNESS_TYPEHASH: public(constant(bytes32)) = keccak256("DepositWitness(bytes32 channelId)")

PERMIT2: public(immutable(address))


@deploy
def __init__(settlement: address, permit2: address):
    settlement_only.__init__(settlement)
    if permit2 == empty(address):
        raw_revert(method_id("InvalidPermit2Address()"))
    PERMIT2 = permit2


@external
def collect(payer: address, token: address, amount: uint256, channel_id: bytes32, collector_data: Bytes[2_048]):
    settlement_only._check_caller()

    nonce: uint256 = 0
    deadline: uint256 = 0
    signature: Bytes[signatures.MAX_SIGNATURE] = b""
    eip2612_data: Bytes[eip2612_permit.DATA_SIZE] = b""
    nonce, deadline, signature, eip2612_data = abi_decode(
        collector_data, (uint256, uint256, Bytes[signatures.MAX_SIGNATURE], Bytes[eip2612_permit.DATA_SIZE])
    )
    eip2612_permit._try_permit(token, payer, PERMIT2, amount, eip2612_data)
    extcall ISignatureTransfer(PERMIT2).permitWitnessTransferFrom(
        PermitTransferFrom(
            permitted=TokenPermissions(token=token, amount=amount), nonce=nonce, deadline=deadline
        ),
        SignatureTransferDetails(to=settlement_only.x402BatchSettlement, requestedAmount=amount),
        payer,
        keccak256(abi_encode(DEPOSIT_WITNESS_TYPEHASH, channel_id)),
        DEPOSIT_WITNESS_TYPE_STRING,
        signature,
    )
