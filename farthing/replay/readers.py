"""The readers of a log as payers: each with a key, a channel, and its latest voucher."""

from collections.abc import Iterator
from dataclasses import dataclass

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak

from farthing.protocol import ChannelConfig, Domain, Voucher, VoucherClaim, is_payer_signature, sign
from farthing.protocol.errors import FarthingError


class VoucherRejected(FarthingError):
    """A reader's voucher is not signed as the contract wants it; nothing would be paid for it."""

    def __init__(self, client: str) -> None:
        self.client = client
        super().__init__(f"the voucher of reader {client} is not validly signed: report this bug.")


@dataclass(frozen=True)
class Terms:
    """What all readers' channels share: the publisher, its token, and where the escrow stands.

    ``run`` tells replays on one chain apart: readers of another run are other payers.
    """

    domain: Domain
    receiver: str
    receiver_authorizer: str
    token: str
    withdraw_delay: int
    run: int


class Reader:
    """One client address of the log: key, channel, charged total and latest voucher."""

    def __init__(self, client: str, terms: Terms) -> None:
        # Whoever has the log could derive these keys. They only ever hold the test dollar.
        secret = keccak(text=f"farthing replay {terms.run} reader {client}")
        self.account: LocalAccount = Account.from_key(secret)
        self.client = client
        self.channel = ChannelConfig(
            payer=self.account.address,
            payer_authorizer=self.account.address,
            receiver=terms.receiver,
            receiver_authorizer=terms.receiver_authorizer,
            token=terms.token,
            withdraw_delay=terms.withdraw_delay,
            salt=bytes(32),
        )
        self.channel_id = self.channel.channel_id(terms.domain)
        self.domain = terms.domain
        self.charged = 0
        self.signature = b""

    def pay(self, price: int) -> None:
        """Signs a voucher for ``price`` more; the publisher checks it and keeps it as the latest.

        Raises:
            VoucherRejected: The publisher cannot accept the signature.
        """
        voucher = Voucher(self.channel_id, self.charged + price)
        signature = sign(self.account, voucher, self.domain)
        if not is_payer_signature(self.channel, voucher.digest(self.domain), signature):
            raise VoucherRejected(self.client)
        self.charged, self.signature = voucher.max_claimable_amount, signature

    def claim(self) -> VoucherClaim:
        """The latest voucher as a row to redeem, for all that was charged."""
        return VoucherClaim(self.channel, self.charged, self.signature, self.charged)


class Readers:
    """All readers met so far, by client address, in the order of their first paid read."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._by_client: dict[str, Reader] = {}

    def pay(self, client: str, price: int) -> None:
        """Charges a read to a client; see `Reader.pay`."""
        reader = self._by_client.get(client)
        if reader is None:
            reader = self._by_client[client] = Reader(client, self._terms)
        reader.pay(price)

    def __iter__(self) -> Iterator[Reader]:
        return iter(self._by_client.values())

    def __len__(self) -> int:
        return len(self._by_client)

    @property
    def charged(self) -> int:
        """What all readers were charged, in smallest units."""
        return sum(reader.charged for reader in self)
