# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title Test USD
@license MIT
@notice A dollar for tests and demos, that anybody can mint: ERC-20, EIP-2612 and ERC-3009 with both
        signature forms, as the common stablecoins have them. Never for real value.

        Vyper has one function per name. The `bytes signature` form of each ERC-3009 function is an
        ordinary function; the `uint8 v, bytes32 r, bytes32 s` form of the same name is recognised by
        its selector in `__default__` and does not appear in the compiler's ABI.
"""
from ethereum.ercs import IERC20

from ..modules import eip712_domain
from ..modules import signatures

implements: IERC20
initializes: eip712_domain
exports: eip712_domain.eip712Domain


event AuthorizationUsed:
    authorizer: indexed(address)
    nonce: indexed(bytes32)


event AuthorizationCanceled:
    authorizer: indexed(address)
    nonce: indexed(bytes32)


name: public(constant(String[8])) = "Test USD"
symbol: public(constant(String[4])) = "TUSD"
version: public(constant(String[1])) = "1"
decimals: public(constant(uint8)) = 6

PERMIT_TYPEHASH: public(constant(bytes32)) = keccak256(
    "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
)
TRANSFER_WITH_AUTHORIZATION_TYPEHASH: public(constant(bytes32)) = keccak256(
    "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)
RECEIVE_WITH_AUTHORIZATION_TYPEHASH: public(constant(bytes32)) = keccak256(
    "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)
CANCEL_AUTHORIZATION_TYPEHASH: public(constant(bytes32)) = keccak256(
    "CancelAuthorization(address authorizer,bytes32 nonce)"
)

# The forms with v, r, s that `__default__` serves, and the bytes of their arguments.
TRANSFER_VRS: constant(bytes4) = method_id(
    "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)",
    output_type=bytes4,
)
RECEIVE_VRS: constant(bytes4) = method_id(
    "receiveWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)",
    output_type=bytes4,
)
CANCEL_VRS: constant(bytes4) = method_id(
    "cancelAuthorization(address,bytes32,uint8,bytes32,bytes32)", output_type=bytes4
)
MOVE_ARGUMENTS: constant(uint256) = 9 * 32
CANCEL_ARGUMENTS: constant(uint256) = 5 * 32

MAX_BATCH: constant(uint256) = 1_000

totalSupply: public(uint256)
balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])
nonces: public(HashMap[address, uint256])
authorizationState: public(HashMap[address, HashMap[bytes32, bool]])


@deploy
def __init__():
    eip712_domain.__init__(name, version)


# ---------------------------------------------------------------- minting


@external
def mint(to: address, amount: uint256):
    self._mint(to, amount)


@external
def mintBatch(accounts: DynArray[address, MAX_BATCH], amount: uint256):
    for account: address in accounts:
        self._mint(account, amount)


# ---------------------------------------------------------------- ERC-20


@external
def transfer(to: address, amount: uint256) -> bool:
    self._transfer(msg.sender, to, amount)
    return True


@external
def transferFrom(owner: address, to: address, amount: uint256) -> bool:
    allowed: uint256 = self.allowance[owner][msg.sender]
    if allowed != max_value(uint256):
        if allowed < amount:
            raw_revert(
                abi_encode(
                    msg.sender,
                    allowed,
                    amount,
                    method_id=method_id("ERC20InsufficientAllowance(address,uint256,uint256)"),
                )
            )
        self.allowance[owner][msg.sender] = unsafe_sub(allowed, amount)
    self._transfer(owner, to, amount)
    return True


@external
def approve(spender: address, amount: uint256) -> bool:
    self._approve(msg.sender, spender, amount)
    return True


# ---------------------------------------------------------------- EIP-2612


@external
@view
def DOMAIN_SEPARATOR() -> bytes32:
    return eip712_domain._separator()


@external
def permit(
    owner: address, spender: address, amount: uint256, deadline: uint256, v: uint8, r: bytes32, s: bytes32
):
    if block.timestamp > deadline:
        raw_revert(abi_encode(deadline, method_id=method_id("ERC2612ExpiredSignature(uint256)")))
    nonce: uint256 = self.nonces[owner]
    self.nonces[owner] = unsafe_add(nonce, 1)
    digest: bytes32 = self._digest(
        keccak256(abi_encode(PERMIT_TYPEHASH, owner, spender, amount, nonce, deadline))
    )
    signature: Bytes[65] = self._join(v, r, s)
    if owner == empty(address) or (
        signatures._recover(digest, signature) != owner and not signatures._is_valid(owner, digest, signature)
    ):
        raw_revert(method_id("InvalidSignature()"))
    self._approve(owner, spender, amount)


# ---------------------------------------------------------------- ERC-3009


@external
def transferWithAuthorization(
    owner: address,
    to: address,
    amount: uint256,
    validAfter: uint256,
    validBefore: uint256,
    nonce: bytes32,
    signature: Bytes[signatures.MAX_SIGNATURE],
):
    digest: bytes32 = self._use(
        TRANSFER_WITH_AUTHORIZATION_TYPEHASH, owner, to, amount, validAfter, validBefore, nonce
    )
    # Nearly every owner is a key: asking first whether it has code would cost each of them 2,600 gas.
    if owner == empty(address) or (
        signatures._recover(digest, signature) != owner and not signatures._is_valid(owner, digest, signature)
    ):
        raw_revert(method_id("InvalidSignature()"))
    self._transfer(owner, to, amount)


@external
def receiveWithAuthorization(
    owner: address,
    to: address,
    amount: uint256,
    validAfter: uint256,
    validBefore: uint256,
    nonce: bytes32,
    signature: Bytes[signatures.MAX_SIGNATURE],
):
    if msg.sender != to:
        raw_revert(method_id("CallerMustBePayee()"))
    digest: bytes32 = self._use(
        RECEIVE_WITH_AUTHORIZATION_TYPEHASH, owner, to, amount, validAfter, validBefore, nonce
    )
    # Nearly every owner is a key: asking first whether it has code would cost each of them 2,600 gas.
    if owner == empty(address) or (
        signatures._recover(digest, signature) != owner and not signatures._is_valid(owner, digest, signature)
    ):
        raw_revert(method_id("InvalidSignature()"))
    self._transfer(owner, to, amount)


@external
def cancelAuthorization(authorizer: address, nonce: bytes32, signature: Bytes[signatures.MAX_SIGNATURE]):
    self._cancel(authorizer, nonce, signature)


@external
def __default__():
    selector: bytes4 = convert(slice(msg.data, 0, 4), bytes4)
    if selector == CANCEL_VRS:
        self._cancel_vrs(slice(msg.data, 4, CANCEL_ARGUMENTS))
    elif selector == TRANSFER_VRS:
        self._move_vrs(TRANSFER_WITH_AUTHORIZATION_TYPEHASH, slice(msg.data, 4, MOVE_ARGUMENTS))
    elif selector == RECEIVE_VRS:
        self._move_vrs(RECEIVE_WITH_AUTHORIZATION_TYPEHASH, slice(msg.data, 4, MOVE_ARGUMENTS))
    else:
        raw_revert(b"")


# ---------------------------------------------------------------- internal


@internal
def _mint(to: address, amount: uint256):
    if to == empty(address):
        raw_revert(abi_encode(to, method_id=method_id("ERC20InvalidReceiver(address)")))
    self.totalSupply += amount
    self.balanceOf[to] = unsafe_add(self.balanceOf[to], amount)
    log IERC20.Transfer(sender=empty(address), receiver=to, value=amount)


@internal
def _transfer(owner: address, to: address, amount: uint256):
    if to == empty(address):
        raw_revert(abi_encode(to, method_id=method_id("ERC20InvalidReceiver(address)")))
    balance: uint256 = self.balanceOf[owner]
    if balance < amount:
        raw_revert(
            abi_encode(
                owner,
                balance,
                amount,
                method_id=method_id("ERC20InsufficientBalance(address,uint256,uint256)"),
            )
        )
    self.balanceOf[owner] = unsafe_sub(balance, amount)
    # No balance can pass the total supply, and that was checked when it was minted.
    self.balanceOf[to] = unsafe_add(self.balanceOf[to], amount)
    log IERC20.Transfer(sender=owner, receiver=to, value=amount)


@internal
def _approve(owner: address, spender: address, amount: uint256):
    self.allowance[owner][spender] = amount
    log IERC20.Approval(owner=owner, spender=spender, value=amount)


@internal
def _use(
    typehash: bytes32,
    owner: address,
    to: address,
    amount: uint256,
    valid_after: uint256,
    valid_before: uint256,
    nonce: bytes32,
) -> bytes32:
    """
    @notice Spends an authorization that the caller has yet to check the signature of.
    @return What the owner must have signed.
    """
    if block.timestamp <= valid_after:
        raw_revert(method_id("AuthorizationNotYetValid()"))
    if block.timestamp >= valid_before:
        raw_revert(method_id("AuthorizationExpired()"))
    self._consume(owner, nonce)
    log AuthorizationUsed(authorizer=owner, nonce=nonce)
    struct_hash: bytes32 = keccak256(
        abi_encode(typehash, owner, to, amount, valid_after, valid_before, nonce)
    )
    return eip712_domain._digest(eip712_domain._separator(), struct_hash)


@internal
def _cancel(authorizer: address, nonce: bytes32, signature: Bytes[signatures.MAX_SIGNATURE]):
    self._consume(authorizer, nonce)
    struct_hash: bytes32 = keccak256(abi_encode(CANCEL_AUTHORIZATION_TYPEHASH, authorizer, nonce))
    if not signatures._is_valid(authorizer, self._digest(struct_hash), signature):
        raw_revert(method_id("InvalidSignature()"))
    log AuthorizationCanceled(authorizer=authorizer, nonce=nonce)


@internal
def _move_vrs(typehash: bytes32, arguments: Bytes[MOVE_ARGUMENTS]):
    owner: address = empty(address)
    to: address = empty(address)
    amount: uint256 = 0
    valid_after: uint256 = 0
    valid_before: uint256 = 0
    nonce: bytes32 = empty(bytes32)
    v: uint8 = 0
    r: bytes32 = empty(bytes32)
    s: bytes32 = empty(bytes32)
    owner, to, amount, valid_after, valid_before, nonce, v, r, s = abi_decode(
        arguments, (address, address, uint256, uint256, uint256, bytes32, uint8, bytes32, bytes32)
    )
    if typehash == RECEIVE_WITH_AUTHORIZATION_TYPEHASH and msg.sender != to:
        raw_revert(method_id("CallerMustBePayee()"))
    digest: bytes32 = self._use(typehash, owner, to, amount, valid_after, valid_before, nonce)
    signature: Bytes[65] = self._join(v, r, s)
    if owner == empty(address) or (
        signatures._recover(digest, signature) != owner and not signatures._is_valid(owner, digest, signature)
    ):
        raw_revert(method_id("InvalidSignature()"))
    self._transfer(owner, to, amount)


@internal
def _cancel_vrs(arguments: Bytes[CANCEL_ARGUMENTS]):
    authorizer: address = empty(address)
    nonce: bytes32 = empty(bytes32)
    v: uint8 = 0
    r: bytes32 = empty(bytes32)
    s: bytes32 = empty(bytes32)
    authorizer, nonce, v, r, s = abi_decode(arguments, (address, bytes32, uint8, bytes32, bytes32))
    self._cancel(authorizer, nonce, self._join(v, r, s))


@internal
def _consume(authorizer: address, nonce: bytes32):
    if self.authorizationState[authorizer][nonce]:
        raw_revert(method_id("AuthorizationUsedOrCanceled()"))
    self.authorizationState[authorizer][nonce] = True


@internal
@view
def _digest(struct_hash: bytes32) -> bytes32:
    return eip712_domain._digest(eip712_domain._separator(), struct_hash)


@internal
@pure
def _join(v: uint8, r: bytes32, s: bytes32) -> Bytes[65]:
    return concat(r, s, convert(v, bytes1))
