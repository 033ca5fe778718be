# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title Hostile collector
@license MIT
@notice Pulls too little, too much or nothing from the payer's allowance, and calls back into any
        contract on the way. What came of the call is kept and never stops the deposit.
"""
from ethereum.ercs import IERC20

from ..interfaces import IDepositCollector

implements: IDepositCollector

# Added to the amount asked for.
surplus: public(int256)
idle: public(bool)
callTarget: public(address)
callData: Bytes[4_096]
callSucceeded: public(bool)
callError: public(Bytes[256])


@external
def pull(surplus: int256):
    self.surplus = surplus


@external
def doNothing():
    self.idle = True


@external
def callBack(target: address, data: Bytes[4_096]):
    self.callTarget = target
    self.callData = data


@external
def collect(payer: address, token: address, amount: uint256, channel_id: bytes32, collector_data: Bytes[2_048]):
    if not self.idle:
        pulled: uint256 = convert(convert(amount, int256) + self.surplus, uint256)
        assert extcall IERC20(token).transferFrom(payer, msg.sender, pulled, default_return_value=True)
    if self.callTarget != empty(address):
        self.callSucceeded, self.callError = raw_call(
            self.callTarget, self.callData, max_outsize=256, revert_on_failure=False
        )
