# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title Signature checks
@license MIT
@notice ECDSA: exactly 65 bytes r, s, v; v is 27 or 28; s in the lower half of the curve's order.
        Contract wallets: ERC-1271 by a static call with bounded gas, of whose answer only the first
        word is read. Every check answers false (or the zero address) and never reverts, whatever the
        bytes or the wallet.
"""

# The longest signature a contract wallet may bring. A Safe with eleven owners or a passkey fits.
MAX_SIGNATURE: constant(uint256) = 768
# What a wallet may spend on one check: enough for a P-256 signature verified without a precompile.
ERC1271_GAS: constant(uint256) = 500_000
# A word that starts with the selector of isValidSignature(bytes32,bytes) and holds nothing else.
ERC1271_MAGIC: constant(bytes32) = 0x1626ba7e00000000000000000000000000000000000000000000000000000000

ECDSA_LENGTH: constant(uint256) = 65
# v is the last byte of the word that ends with the signature.
V_OFFSET: constant(uint256) = ECDSA_LENGTH - 32
LAST_BYTE: constant(uint256) = 255
# Half the order of secp256k1. A higher s is the same signature a second time.
MAX_S: constant(uint256) = 57896044618658097711785492504343953926418782139537452191302581570759080747168
# EIP-2098: s and, in its top bit that a low s leaves free, v - 27.
S_BITS: constant(uint256) = 2**255 - 1
V_SHIFT: constant(uint256) = 255


@internal
@pure
def _recover(digest: bytes32, signature: Bytes[MAX_SIGNATURE]) -> address:
    """
    @return The signer, or the zero address for every signature that is not a strict one.
    """
    if len(signature) != ECDSA_LENGTH:
        return empty(address)
    r: uint256 = extract32(signature, 0, output_type=uint256)
    s: uint256 = extract32(signature, 32, output_type=uint256)
    v: uint256 = extract32(signature, V_OFFSET, output_type=uint256) & LAST_BYTE
    # Below 27 the difference wraps around to a huge number.
    if s > MAX_S or unsafe_sub(v, 27) > 1:
        return empty(address)
    return ecrecover(digest, v, r, s)


@internal
@view
def _is_valid(signer: address, digest: bytes32, signature: Bytes[MAX_SIGNATURE]) -> bool:
    """
    @notice ERC-1271 where the signer has code, ECDSA where it has none.
    """
    if not signer.is_contract:
        return signer != empty(address) and self._recover(digest, signature) == signer
    success: bool = False
    answer: Bytes[32] = b""
    success, answer = raw_call(
        signer,
        abi_encode(digest, signature, method_id=method_id("isValidSignature(bytes32,bytes)")),
        max_outsize=32,
        gas=ERC1271_GAS,
        is_static_call=True,
        revert_on_failure=False,
    )
    return success and len(answer) == 32 and convert(answer, bytes32) == ERC1271_MAGIC
