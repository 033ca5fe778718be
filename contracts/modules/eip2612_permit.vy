# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title Optional EIP-2612 permit
@license MIT
@notice Sets an allowance by the owner's signature on the way, where the caller brings one. Anybody
        may have sent the same permit first, so a failing permit is reported and not fatal: whether
        the allowance is there shows when the tokens are pulled. A token that swallows the call
        gains nothing for the same reason. A permit is never taken as consent to a deposit.

        The data is abi.encode(uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s).
        The official collector has one event each for a reason, a panic and other revert data; here
        one event carries the revert data as it came, cut after MAX_REVERT_DATA bytes.
"""

DATA_SIZE: constant(uint256) = 5 * 32
MAX_REVERT_DATA: constant(uint256) = 256


event EIP2612PermitFailedWithData:
    token: indexed(address)
    owner: indexed(address)
    data: Bytes[MAX_REVERT_DATA]


@internal
def _try_permit(token: address, owner: address, spender: address, amount: uint256, data: Bytes[DATA_SIZE]):
    """
    @notice Does nothing when `data` is empty.
    """
    if len(data) == 0:
        return
    value: uint256 = 0
    deadline: uint256 = 0
    v: uint8 = 0
    r: bytes32 = empty(bytes32)
    s: bytes32 = empty(bytes32)
    value, deadline, v, r, s = abi_decode(data, (uint256, uint256, uint8, bytes32, bytes32))
    if value != amount:
        raw_revert(method_id("Permit2612AmountMismatch()"))

    success: bool = False
    reason: Bytes[MAX_REVERT_DATA] = b""
    success, reason = raw_call(
        token,
        abi_encode(
            owner,
            spender,
            value,
            deadline,
            v,
            r,
            s,
            method_id=method_id("permit(address,address,uint256,uint256,uint8,bytes32,bytes32)"),
        ),
        max_outsize=MAX_REVERT_DATA,
        revert_on_failure=False,
    )
    if not success:
        log EIP2612PermitFailedWithData(token=token, owner=owner, data=reason)
