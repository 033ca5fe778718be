import pytest

from farthing.protocol import Domain, SigningFailed, Voucher, is_payer_signature
from farthing.protocol.errors import FarthingError
from farthing.replay import readers as readers_module
from farthing.replay.readers import Reader, Readers, Terms, VoucherRejected

TERMS = Terms(
    domain=Domain(1, "0x" + "11" * 20),
    receiver="0x" + "22" * 20,
    receiver_authorizer="0x" + "33" * 20,
    token="0x" + "44" * 20,
    withdraw_delay=86_400,
    run=7,
)


def test_reader__the_same_client_is_the_same_channel() -> None:
    first, again = Reader("192.0.2.1", TERMS), Reader("192.0.2.1", TERMS)
    other = Reader("192.0.2.2", TERMS)
    assert first.account.address == again.account.address != other.account.address
    assert first.channel_id == again.channel_id != other.channel_id


def test_reader__channel_by_the_terms() -> None:
    reader = Reader("192.0.2.1", TERMS)
    address = reader.account.address
    assert reader.channel.as_tuple() == (
        address,
        address,
        TERMS.receiver,
        TERMS.receiver_authorizer,
        TERMS.token,
        86_400,
        bytes(32),
    )
    assert reader.channel_id == reader.channel.channel_id(TERMS.domain)


def test_pay__keeps_the_latest_voucher_for_all_that_was_charged() -> None:
    reader = Reader("192.0.2.1", TERMS)
    seen = []
    for price in (20_000, 1, 50_000):
        reader.pay(price)
        seen.append((reader.charged, reader.signature))
    assert [charged for charged, _ in seen] == [20_000, 20_001, 70_001]
    for charged, signature in seen:
        digest = Voucher(reader.channel_id, charged).digest(TERMS.domain)
        assert is_payer_signature(reader.channel, digest, signature)
    claim = reader.claim()
    assert (claim.channel, claim.signature) == (reader.channel, seen[-1][1])
    assert (claim.max_claimable_amount, claim.total_claimed) == (70_001, 70_001)


def test_pay__a_signature_the_contract_would_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader("192.0.2.1", TERMS)
    reader.pay(20_000)
    kept = reader.claim()
    monkeypatch.setattr(readers_module, "sign", lambda *_: bytes(65))
    with pytest.raises(VoucherRejected) as caught:
        reader.pay(20_000)
    assert isinstance(caught.value, FarthingError)
    assert not isinstance(caught.value, SigningFailed)
    assert caught.value.client == "192.0.2.1"
    # What was accepted before is still what can be redeemed.
    assert reader.claim() == kept


def test_readers__in_the_order_of_their_first_read() -> None:
    readers = Readers(TERMS)
    assert (len(readers), readers.charged, list(readers)) == (0, 0, [])
    for client, price in [("b", 5), ("a", 7), ("b", 11), ("c", 13)]:
        readers.pay(client, price)
    assert [(reader.client, reader.charged) for reader in readers] == [
        ("b", 16),
        ("a", 7),
        ("c", 13),
    ]
    assert (len(readers), readers.charged) == (3, 36)
