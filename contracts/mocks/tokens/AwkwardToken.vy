# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title Awkward token
@license MIT
@notice An ERC-20 that behaves until it is told not to: a fee on every transfer, a false answer, a
        pause, blocked holders, all gas burned, balances that change by themselves, and hooks that
        call out in the middle of a transfer. Anybody may set anything. Calls it does not know
        succeed and do nothing, as with some wrapped coins; permits and authorizations are such.
"""
from ethereum.ercs import IERC20

implements: IERC20


struct Hook:
    target: address
    data: Bytes[4_096]


decimals: public(constant(uint8)) = 6

totalSupply: public(uint256)
balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])

# Smallest units, burned out of what the recipient gets.
fee: public(uint256)
answersFalse: public(bool)
paused: public(bool)
burnsGas: public(bool)
blocked: public(HashMap[address, bool])
# Called when its holder sends or gets tokens, after the balances changed.
hooks: HashMap[address, Hook]
hookCalls: public(uint256)
hookSucceeded: public(bool)
hookError: public(Bytes[256])


# ---------------------------------------------------------------- misbehaviour


@external
def setFee(fee: uint256):
    self.fee = fee


@external
def setAnswersFalse(answersFalse: bool):
    self.answersFalse = answersFalse


@external
def setPaused(paused: bool):
    self.paused = paused


@external
def setBurnsGas(burnsGas: bool):
    self.burnsGas = burnsGas


@external
def setBlocked(account: address, blocked: bool):
    self.blocked[account] = blocked


@external
def rebase(account: address, balance: uint256):
    self.totalSupply = self.totalSupply - self.balanceOf[account] + balance
    self.balanceOf[account] = balance


@external
def setHook(account: address, target: address, data: Bytes[4_096]):
    """
    @notice The zero target removes it. What comes of a call is kept and never stops the transfer.
    """
    self.hooks[account].target = target
    self.hooks[account].data = data


# ---------------------------------------------------------------- ERC-20


@external
def mint(to: address, amount: uint256):
    self.totalSupply += amount
    self.balanceOf[to] += amount
    log IERC20.Transfer(sender=empty(address), receiver=to, value=amount)


@external
def transfer(to: address, amount: uint256) -> bool:
    return self._transfer(msg.sender, to, amount)


@external
def transferFrom(owner: address, to: address, amount: uint256) -> bool:
    self.allowance[owner][msg.sender] -= amount
    return self._transfer(owner, to, amount)


@external
def approve(spender: address, amount: uint256) -> bool:
    self.allowance[msg.sender][spender] = amount
    log IERC20.Approval(owner=msg.sender, spender=spender, value=amount)
    return True


@external
def __default__():
    pass


@internal
def _transfer(owner: address, to: address, amount: uint256) -> bool:
    assert not self.burnsGas, UNREACHABLE
    assert not self.paused, "paused"
    assert not self.blocked[owner] and not self.blocked[to], "blocked"
    if self.answersFalse:
        return False
    self.balanceOf[owner] -= amount
    self.balanceOf[to] += amount - self.fee
    self.totalSupply -= self.fee
    log IERC20.Transfer(sender=owner, receiver=to, value=amount - self.fee)
    self._call_hook(owner)
    self._call_hook(to)
    return True


@internal
def _call_hook(account: address):
    if self.hooks[account].target == empty(address):
        return
    self.hookCalls += 1
    self.hookSucceeded, self.hookError = raw_call(
        self.hooks[account].target, self.hooks[account].data, max_outsize=256, revert_on_failure=False
    )
