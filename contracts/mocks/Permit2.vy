# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title Permit2 for tests
@license MIT
@notice The witness transfer of Permit2's SignatureTransfer, with its typed data, unordered nonces,
        deadline and error names. Unlike the real one it refuses compact 64-byte signatures and high
        s, which collectors here never need.
"""
from ethereum.ercs import IERC20

from ..modules import eip712_domain
from ..modules import signatures


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


# Permit2's domain has no version.
DOMAIN_TYPEHASH: constant(bytes32) = keccak256(
    "EIP712Domain(string name,uint256 chainId,address verifyingContract)"
)
TOKEN_PERMISSIONS_TYPEHASH: constant(bytes32) = keccak256("TokenPermissions(address token,uint256 amount)")
# The caller's witness type string completes it.
WITNESS_TYPE_STUB: constant(String[128]) = (
    "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,"
)

# owner -> word -> 256 nonces, one per bit
nonceBitmap: public(HashMap[address, HashMap[uint256, uint256]])


@external
def permitWitnessTransferFrom(
    permit: PermitTransferFrom,
    transferDetails: SignatureTransferDetails,
    owner: address,
    witness: bytes32,
    witnessTypeString: String[512],
    signature: Bytes[signatures.MAX_SIGNATURE],
):
    # Check.
    if block.timestamp > permit.deadline:
        raw_revert(abi_encode(permit.deadline, method_id=method_id("SignatureExpired(uint256)")))
    if transferDetails.requestedAmount > permit.permitted.amount:
        raw_revert(abi_encode(permit.permitted.amount, method_id=method_id("InvalidAmount(uint256)")))
    # Consume.
    self._use_nonce(owner, permit.nonce)
    # Verify.
    struct_hash: bytes32 = keccak256(
        abi_encode(
            keccak256(concat(WITNESS_TYPE_STUB, witnessTypeString)),
            keccak256(abi_encode(TOKEN_PERMISSIONS_TYPEHASH, permit.permitted)),
            msg.sender,
            permit.nonce,
            permit.deadline,
            witness,
        )
    )
    self._verify(owner, eip712_domain._digest(self._separator(), struct_hash), signature)
    # Transfer.
    assert extcall IERC20(permit.permitted.token).transferFrom(
        owner, transferDetails.to, transferDetails.requestedAmount, default_return_value=True
    ), "TRANSFER_FROM_FAILED"


@external
@view
def DOMAIN_SEPARATOR() -> bytes32:
    return self._separator()


@internal
@view
def _separator() -> bytes32:
    return keccak256(abi_encode(DOMAIN_TYPEHASH, keccak256("Permit2"), chain.id, self))


@internal
def _use_nonce(owner: address, nonce: uint256):
    bit: uint256 = 1 << (nonce & 255)
    word: uint256 = self.nonceBitmap[owner][nonce >> 8]
    if word & bit != 0:
        raw_revert(method_id("InvalidNonce()"))
    self.nonceBitmap[owner][nonce >> 8] = word | bit


@internal
@view
def _verify(owner: address, digest: bytes32, signature: Bytes[signatures.MAX_SIGNATURE]):
    if owner.is_contract:
        if not signatures._is_valid(owner, digest, signature):
            raw_revert(method_id("InvalidContractSignature()"))
        return
    if len(signature) != signatures.ECDSA_LENGTH:
        raw_revert(method_id("InvalidSignatureLength()"))
    signer: address = signatures._recover(digest, signature)
    if signer == empty(address):
        raw_revert(method_id("InvalidSignature()"))
    if signer != owner:
        raw_revert(method_id("InvalidSigner()"))
