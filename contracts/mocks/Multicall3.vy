# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title Multicall3 for tests
@license MIT
@notice The two functions of Multicall3 by which programs read many contracts in one call. x402's own
        facilitators look for it at the address it has on every public chain. Unlike the real one it
        takes 32 calls of 4,096 bytes at a time, with answers of 1,024 bytes.
"""


struct Call:
    target: address
    callData: Bytes[4096]


struct Call3:
    target: address
    allowFailure: bool
    callData: Bytes[4096]


struct Result:
    success: bool
    returnData: Bytes[1024]


@external
@payable
def tryAggregate(requireSuccess: bool, calls: DynArray[Call, 32]) -> DynArray[Result, 32]:
    """
    @notice Calls each target in turn.
    @param requireSuccess Whether all of it fails when one call does.
    @param calls What is called with what.
    @return What each answered.
    """
    results: DynArray[Result, 32] = []
    for each: Call in calls:
        results.append(self._call(each.target, each.callData, requireSuccess))
    return results


@external
@payable
def aggregate3(calls: DynArray[Call3, 32]) -> DynArray[Result, 32]:
    """
    @notice The same; each call says whether it may fail.
    @param calls What is called with what.
    @return What each answered.
    """
    results: DynArray[Result, 32] = []
    for each: Call3 in calls:
        results.append(self._call(each.target, each.callData, not each.allowFailure))
    return results


@internal
def _call(target: address, data: Bytes[4096], is_needed: bool) -> Result:
    success: bool = False
    answer: Bytes[1024] = b""
    success, answer = raw_call(target, data, max_outsize=1024, revert_on_failure=False)
    assert success or not is_needed, "Multicall3: call failed"
    return Result(success=success, returnData=answer)
