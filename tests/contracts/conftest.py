"""What the contract tests share: contracts, accounts with keys, signing, errors and events.

Contracts are compiled and deployed once per session, and every test starts from there; see
`standing_contracts`. Helpers are fixtures that return a function, so that a test names everything
it uses. Do not ask for a fixture with `getfixturevalue` in the body of a test, only in a fixture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import boa
import pytest
from boa.contracts.vyper.vyper_contract import StorageModel
from eth_abi import decode, encode
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils import function_signature_to_4byte_selector, keccak, to_checksum_address

CONTRACTS = Path(__file__).resolve().parents[2] / "contracts"


class ChannelConfig(NamedTuple):
    """The contract's struct, in its order; vary one with `_replace(salt=...)`."""

    payer: str
    payerAuthorizer: str  # noqa: N815
    receiver: str
    receiverAuthorizer: str  # noqa: N815
    token: str
    withdrawDelay: int  # noqa: N815
    salt: bytes


class Event(NamedTuple):
    """One log; compares equal to `("Settled", {"receiver": ...})`.

    All arguments by name, structs as tuples, addresses checksummed.
    """

    name: str
    args: dict[str, Any]


# ---------------------------------------------------------------- chain

# titanoboa prints a contract's storage with every revert. It takes the keys from what was written
# at the address in the whole session, also by another contract that stood there in another
# test, and fails on those.
StorageModel.dump = lambda _: {}


@cache
def _deployer(path: str) -> Any:
    return boa.load_partial(str(CONTRACTS / path))


def _deploy(path: str, *args: Any) -> Any:
    return _deployer(path).deploy(*args)


@pytest.fixture(scope="session")
def deploy() -> Callable[..., Any]:
    """`deploy("mocks/TestUSD.vy", *constructor_args)`: one more contract, compiled at most once."""
    return _deploy


@pytest.fixture
def now() -> Callable[[], int]:
    """The time of the next transaction, in seconds."""
    return lambda: int(boa.env.evm.patch.timestamp)


@pytest.fixture
def warp() -> Callable[[int], None]:
    """Moves the time forward by some seconds."""
    return lambda seconds: boa.env.time_travel(seconds=seconds)


# ---------------------------------------------------------------- accounts


def _account(name: str) -> LocalAccount:
    return Account.from_key(keccak(text=f"farthing test account: {name}"))


@pytest.fixture(scope="session")
def account() -> Callable[[str], LocalAccount]:
    """`account("alice")`: an account by any name, always the same for the same name."""
    return _account


@pytest.fixture(scope="session")
def payer() -> LocalAccount:
    return _account("payer")


@pytest.fixture(scope="session")
def payer_authorizer() -> LocalAccount:
    return _account("payer authorizer")


@pytest.fixture(scope="session")
def receiver() -> LocalAccount:
    return _account("receiver")


@pytest.fixture(scope="session")
def receiver_authorizer() -> LocalAccount:
    return _account("receiver authorizer")


@pytest.fixture(scope="session")
def stranger() -> LocalAccount:
    return _account("stranger")


@pytest.fixture(scope="session")
def wallet_owner() -> LocalAccount:
    return _account("wallet owner")


# ---------------------------------------------------------------- contracts


@pytest.fixture(scope="session")
def settlement() -> Any:
    return _deploy("BatchSettlement.vy")


@pytest.fixture(scope="session")
def token() -> Any:
    return _deploy("mocks/TestUSD.vy")


@pytest.fixture(scope="session")
def permit2() -> Any:
    return _deploy("mocks/Permit2.vy")


@pytest.fixture(scope="session")
def erc3009_collector(settlement: Any) -> Any:
    return _deploy("collectors/ERC3009DepositCollector.vy", settlement.address)


@pytest.fixture(scope="session")
def permit2_collector(settlement: Any, permit2: Any) -> Any:
    return _deploy("collectors/Permit2DepositCollector.vy", settlement.address, permit2.address)


@pytest.fixture(scope="session")
def allowance_collector(settlement: Any) -> Any:
    return _deploy("collectors/AllowanceDepositCollector.vy", settlement.address)


@pytest.fixture(scope="session")
def open_collector() -> Any:
    """Pulls from any allowance without a question."""
    return _deploy("mocks/TestCollector.vy")


@pytest.fixture(scope="session")
def hostile_collector() -> Any:
    return _deploy("mocks/HostileCollector.vy")


@pytest.fixture(scope="session")
def awkward_token() -> Any:
    return _deploy("mocks/tokens/AwkwardToken.vy")


@pytest.fixture(scope="session")
def no_return_token() -> Any:
    return _deploy("mocks/tokens/NoReturnToken.vy")


@pytest.fixture(scope="session")
def wallet(wallet_owner: LocalAccount) -> Any:
    """An honest contract wallet whose key is `wallet_owner`."""
    return _deploy("mocks/wallets/Wallet1271.vy", wallet_owner.address)


@pytest.fixture(scope="session")
def hostile_wallet() -> Any:
    return _deploy("mocks/wallets/HostileWallet.vy")


@pytest.fixture(scope="session", autouse=True)
def standing_contracts(
    settlement: Any,
    token: Any,
    permit2: Any,
    erc3009_collector: Any,
    permit2_collector: Any,
    allowance_collector: Any,
    open_collector: Any,
    hostile_collector: Any,
    awkward_token: Any,
    no_return_token: Any,
    wallet: Any,
    hostile_wallet: Any,
) -> None:
    """Deploys the contracts above before anything else, where every test starts from.

    titanoboa's pytest plugin takes the chain back to there after each test, what fixtures did
    included. A contract that is first asked for in the middle of a test would confuse it.
    """


# ---------------------------------------------------------------- channels


@pytest.fixture(scope="session")
def channel_config(
    payer: LocalAccount,
    payer_authorizer: LocalAccount,
    receiver: LocalAccount,
    receiver_authorizer: LocalAccount,
    token: Any,
) -> Callable[..., ChannelConfig]:
    """`channel_config(salt=..., payerAuthorizer=...)`: the named accounts where nothing is said."""
    standard = ChannelConfig(
        payer=payer.address,
        payerAuthorizer=payer_authorizer.address,
        receiver=receiver.address,
        receiverAuthorizer=receiver_authorizer.address,
        token=to_checksum_address(token.address),
        withdrawDelay=900,
        salt=b"\0" * 32,
    )
    return standard._replace


@pytest.fixture(scope="session")
def config(channel_config: Callable[..., ChannelConfig]) -> ChannelConfig:
    """The standard channel."""
    return channel_config()


@pytest.fixture(scope="session")
def fund(open_collector: Any) -> Callable[..., None]:
    """`fund(token, owner, amount, spender=...)`: mints, and allows the spender exactly that.

    The spender is `open_collector` where none is named.
    """

    def prepare(token: Any, owner: str, amount: int, spender: Any = open_collector) -> None:
        token.mint(owner, amount)
        token.approve(spender.address, amount, sender=owner)

    return prepare


@pytest.fixture(scope="session")
def deposit(
    settlement: Any, token: Any, open_collector: Any, fund: Callable[..., None]
) -> Callable[..., bytes]:
    """`deposit(config, amount)`: new money into a channel through `open_collector`; returns its id.

    `token=` the contract of `config.token`, where that is not the standard one.
    """
    standard = token

    def put(config: ChannelConfig, amount: int, *, token: Any = standard) -> bytes:
        fund(token, config.payer, amount)
        channel_id = bytes(settlement.getChannelId(config))
        settlement.deposit(config, amount, open_collector.address, b"")
        return channel_id

    return put


# ---------------------------------------------------------------- signatures


def _sign(signer: LocalAccount, digest: bytes) -> bytes:
    return bytes(signer.unsafe_sign_hash(digest).signature)


@pytest.fixture(scope="session")
def sign() -> Callable[[LocalAccount, bytes], bytes]:
    """`sign(account, digest)`: the 65 bytes r, s, v."""
    return _sign


@pytest.fixture(scope="session")
def sign_voucher(settlement: Any, payer_authorizer: LocalAccount) -> Callable[..., bytes]:
    """`sign_voucher(config, ceiling, by=account)`; the payer authorizer where nobody is named."""

    def signed(config: ChannelConfig, ceiling: int, by: LocalAccount = payer_authorizer) -> bytes:
        channel_id = settlement.getChannelId(config)
        return _sign(by, settlement.getVoucherDigest(channel_id, ceiling))

    return signed


@pytest.fixture(scope="session")
def sign_refund(settlement: Any, receiver_authorizer: LocalAccount) -> Callable[..., bytes]:
    """`sign_refund(config, nonce, amount, by=account)`; else by the receiver authorizer."""

    def signed(
        config: ChannelConfig, nonce: int, amount: int, by: LocalAccount = receiver_authorizer
    ) -> bytes:
        channel_id = settlement.getChannelId(config)
        return _sign(by, settlement.getRefundDigest(channel_id, nonce, amount))

    return signed


@pytest.fixture(scope="session")
def sign_claim_batch(settlement: Any, receiver_authorizer: LocalAccount) -> Callable[..., bytes]:
    """`sign_claim_batch(rows, by=account)`; the receiver authorizer where nobody is named."""

    def signed(rows: Sequence[Any], by: LocalAccount = receiver_authorizer) -> bytes:
        return _sign(by, settlement.getClaimBatchDigest(rows))

    return signed


@pytest.fixture(scope="session")
def voucher_claim(sign_voucher: Callable[..., bytes]) -> Callable[..., Any]:
    """`voucher_claim(config, ceiling, total=..., by=account, signature=...)`: one row of a claim.

    The whole ceiling is claimed where no total is given.
    """

    def row(
        config: ChannelConfig,
        ceiling: int,
        *,
        total: int | None = None,
        signature: bytes | None = None,
        **signing: Any,
    ) -> Any:
        if signature is None:
            signature = sign_voucher(config, ceiling, **signing)
        return ((config, ceiling), signature, ceiling if total is None else total)

    return row


# ---------------------------------------------------------------- errors and events


def _call_data(signature: str | None, args: tuple[Any, ...]) -> bytes:
    if signature is None:
        return b""
    types = [name for name in signature[signature.index("(") + 1 : -1].split(",") if name]
    return function_signature_to_4byte_selector(signature) + encode(types, args)


@contextmanager
def _expect_error(error: str | None, *args: Any) -> Iterator[None]:
    with pytest.raises(boa.BoaError) as caught:
        yield
    assert caught.value.call_trace.output.hex() == _call_data(error, args).hex()


@pytest.fixture(scope="session")
def expect_error() -> Callable[..., AbstractContextManager[None]]:
    """`with expect_error("InvalidNonce()"):` the call reverts with exactly this data.

    `expect_error("SignatureExpired(uint256)", 5)` for an error with arguments,
    `expect_error("Error(string)", "paused")` for a reason, `expect_error(None)` for no data at all.
    """
    return _expect_error


def _type_of(field: dict[str, Any]) -> str:
    kind: str = field["type"]
    if not kind.startswith("tuple"):
        return kind
    inner = ",".join(_type_of(part) for part in field["components"])
    return f"({inner}){kind.removeprefix('tuple')}"


def _plain(field: dict[str, Any], value: Any) -> Any:
    if field["type"] == "address":
        return to_checksum_address(value)
    if field["type"] == "tuple":
        return tuple(map(_plain, field["components"], value))
    return value


def _decode_log(address: str, topics: Sequence[int], data: bytes) -> Event:
    for entry in boa.env.lookup_contract(address).abi:
        if entry["type"] != "event":
            continue
        fields = entry["inputs"]
        signature = f"{entry['name']}({','.join(map(_type_of, fields))})"
        if int.from_bytes(keccak(text=signature)) != topics[0]:
            continue
        indexed = iter(topics[1:])
        others = iter(decode([_type_of(f) for f in fields if not f["indexed"]], data))
        args = {}
        for field in fields:
            if field["indexed"]:
                (value,) = decode([_type_of(field)], next(indexed).to_bytes(32))
            else:
                value = next(others)
            args[field["name"]] = _plain(field, value)
        return Event(entry["name"], args)
    raise AssertionError(f"{address} logged something its ABI does not know: {topics[0]:#x}")


@pytest.fixture(scope="session")
def events() -> Callable[..., list[Event]]:
    """`events(settlement)`: what the last call to it logged, in order, whichever contract it was.

    `events(settlement, of=token)` keeps what one contract logged. Reading a view is a call too, so
    take the events before asking for balances.
    """

    def read(called: Any, of: Any = None) -> list[Event]:
        logs = sorted(called._computation.get_raw_log_entries())
        return [
            _decode_log(to_checksum_address(address), topics, data)
            for _, address, topics, data in logs
            if of is None or to_checksum_address(address) == of.address
        ]

    return read


@pytest.fixture(scope="session")
def call_by_signature() -> Callable[..., bytes]:
    """`call_by_signature(contract, "f(uint256)", 1, sender=...)`: for functions not in the ABI.

    `raw=` bytes come after what is encoded, or alone where the signature is None. Errors and events
    are read as after any other call.
    """

    def call(
        contract: Any,
        signature: str | None,
        *args: Any,
        sender: str | None = None,
        raw: bytes = b"",
    ) -> bytes:
        data = _call_data(signature, args) + raw
        contract._computation = boa.env.execute_code(contract.address, sender=sender, data=data)
        if contract._computation.is_error:
            contract.handle_error(contract._computation)
        return bytes(contract._computation.output)

    return call
