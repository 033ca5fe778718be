# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title Settlement only
@license MIT
@notice What every collector shares: it serves one settlement contract, fixed at deployment, and
        nobody else. Without this anybody could point a payer's authorization at a collector and have
        the tokens moved into escrow with no channel credited.
"""

x402BatchSettlement: public(immutable(address))


@deploy
def __init__(settlement: address):
    if settlement == empty(address):
        raw_revert(method_id("InvalidX402BatchSettlementAddress()"))
    x402BatchSettlement = settlement


@internal
@view
def _check_caller():
    if msg.sender != x402BatchSettlement:
        raw_revert(method_id("OnlyX402BatchSettlement()"))
