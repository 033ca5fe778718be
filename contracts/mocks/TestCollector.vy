# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title Test collector
@license MIT
@notice Pulls whatever it is told from the payer's allowance to the caller. For tests of settlement
        only: with an allowance to it, anybody can take the payer's tokens.
"""
from ethereum.ercs import IERC20

from ..interfaces import IDepositCollector

implements: IDepositCollector


@external
def collect(payer: address, token: address, amount: uint256, channel_id: bytes32, collector_data: Bytes[2_048]):
    assert extcall IERC20(token).transferFrom(payer, msg.sender, amount, default_return_value=True)
