"""What a field takes and what it refuses."""

import pickle

import pytest
from eth_utils import to_checksum_address
from hexbytes import HexBytes
from hypothesis import given
from hypothesis import strategies as st
from protocol_samples import addresses

from farthing.protocol import FarthingError, InvalidField, values

CHECKSUMMED = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"


@given(addresses)
def test_address__any_lower_case__is_stored_with_its_checksum(address):
    assert values.address("payer", address) == to_checksum_address(address)


@pytest.mark.parametrize(
    "given_as", [CHECKSUMMED, CHECKSUMMED.lower(), "0x" + CHECKSUMMED[2:].upper()]
)
def test_address__right_in_any_case__gives_the_same(given_as):
    assert values.address("payer", given_as) == CHECKSUMMED


def test_address__one_letter_in_the_wrong_case__is_refused():
    wrong = CHECKSUMMED.replace("Aeb", "aeb")
    with pytest.raises(InvalidField) as caught:
        values.address("payer", wrong)
    assert (caught.value.field, caught.value.value) == ("payer", wrong)
    assert str(caught.value) == (
        f"payer has a wrong checksum (right would be {CHECKSUMMED}), got {wrong!r}"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        CHECKSUMMED[2:],
        "0X" + CHECKSUMMED[2:],
        CHECKSUMMED[:-1],
        CHECKSUMMED + "0",
        CHECKSUMMED + "\n",
        " " + CHECKSUMMED,
        CHECKSUMMED[:-1] + "g",
        CHECKSUMMED[:-1] + "\uff11",
        "0x" + CHECKSUMMED[2:].lower()[:-2] + "_0",
        "",
        "0x",
        bytes.fromhex(CHECKSUMMED[2:]),
        int(CHECKSUMMED, 16),
        None,
    ],
)
def test_address__wrong_form__is_refused(wrong):
    with pytest.raises(InvalidField) as caught:
        values.address("token", wrong)
    assert caught.value.field == "token"
    assert caught.value.reason == "must be an address, 0x and 40 hex digits"


def test_address__zero__is_an_address_but_nobody():
    assert values.address("payer", values.ZERO_ADDRESS) == values.ZERO_ADDRESS
    with pytest.raises(InvalidField, match=r"^payer must not be the zero address, got '0x0{40}'$"):
        values.non_zero_address("payer", values.ZERO_ADDRESS)


@pytest.mark.parametrize(
    ("check", "bits"), [(values.uint40, 40), (values.uint128, 128), (values.uint256, 256)]
)
def test_uint__at_and_over_its_ends(check, bits):
    assert check("amount", 0) == 0
    assert check("amount", 2**bits - 1) == 2**bits - 1
    for outside in (-1, 2**bits, -(2**bits), 10**10_000):
        with pytest.raises(InvalidField) as caught:
            check("amount", outside)
        assert caught.value.field == "amount"
        assert caught.value.reason == f"must be 0 to 2**{bits} - 1"
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize("check", [values.uint40, values.uint128, values.uint256])
@pytest.mark.parametrize("wrong", [True, False, 1.0, float("nan"), "1", b"1", None, [1]])
def test_uint__not_an_int__is_refused(check, wrong):
    with pytest.raises(InvalidField) as caught:
        check("amount", wrong)
    assert (caught.value.field, caught.value.reason) == ("amount", "must be an int")


@given(st.integers())
def test_withdraw_delay__any_int__is_taken_only_within_bounds(delay):
    if 900 <= delay <= 2_592_000:
        assert values.withdraw_delay("withdraw_delay", delay) == delay
    else:
        with pytest.raises(InvalidField, match=r"^withdraw_delay must be "):
            values.withdraw_delay("withdraw_delay", delay)


@pytest.mark.parametrize("delay", [900, 2_592_000])
def test_withdraw_delay__at_a_bound__is_taken(delay):
    assert values.withdraw_delay("withdraw_delay", delay) == delay


@pytest.mark.parametrize("delay", [899, 2_592_001])
def test_withdraw_delay__just_outside__is_refused(delay):
    with pytest.raises(InvalidField) as caught:
        values.withdraw_delay("withdraw_delay", delay)
    assert str(caught.value) == f"withdraw_delay must be 900 to 2592000 seconds, got {delay}"


@given(st.binary(max_size=70))
def test_bytes32__any_bytes__are_taken_only_at_32(raw):
    if len(raw) == 32:
        assert values.bytes32("salt", raw) == raw
    else:
        with pytest.raises(InvalidField, match=r"^salt must be 32 bytes"):
            values.bytes32("salt", raw)


@pytest.mark.parametrize("wrong", [bytearray(32), "0" * 32, "0x" + "00" * 32, 0, None])
def test_bytes32__not_bytes__is_refused(wrong):
    with pytest.raises(InvalidField, match=r"^salt must be 32 bytes"):
        values.bytes32("salt", wrong)


def test_bytes__of_a_subclass__are_stored_as_plain_bytes():
    for check in (values.bytes32, values.signature_bytes):
        stored = check("salt", HexBytes(bytes(32)))
        assert (type(stored), stored) == (bytes, bytes(32))


@given(st.binary(min_size=32, max_size=32))
def test_bytes32_from_hex__either_case__gives_the_bytes(raw):
    assert values.bytes32_from_hex("salt", "0x" + raw.hex()) == raw
    assert values.bytes32_from_hex("salt", "0x" + raw.hex().upper()) == raw


@pytest.mark.parametrize(
    "wrong",
    [
        "00" * 32,
        "0x" + "00" * 31,
        "0x" + "00" * 31 + "  ",
        "0x" + "0g" * 32,
        "0x" + "00" * 31 + "\u0660\u0660",
        "0x" + "00" * 32 + "\n",
        bytes(32),
        None,
    ],
)
def test_bytes32_from_hex__wrong_form__is_refused(wrong):
    with pytest.raises(InvalidField, match=r"^salt must be 32 bytes, 0x and 64 hex digits"):
        values.bytes32_from_hex("salt", wrong)


@given(st.integers(0, 2**128 - 1))
def test_decimal_amount__any_amount__is_read(amount):
    assert values.uint128_from_decimal("amount", str(amount)) == amount


@pytest.mark.parametrize(
    "wrong",
    ["", "-1", "+1", "1.0", "1e3", "1_000", " 1", "1\n", "0x1", "\uff11", "9" * 40, 1, None],
)
def test_decimal_amount__wrong_form__is_refused(wrong):
    with pytest.raises(InvalidField, match=r"^amount must be a decimal string of 1 to 39 digits"):
        values.uint128_from_decimal("amount", wrong)


def test_decimal_amount__39_digits_over_128_bits__is_refused():
    with pytest.raises(InvalidField, match=r"^amount must be 0 to 2\*\*128 - 1"):
        values.uint128_from_decimal("amount", str(2**128))


def test_signature_bytes__at_and_over_the_contracts_bound():
    assert values.signature_bytes("signature", bytes(768)) == bytes(768)
    with pytest.raises(InvalidField, match=r"^signature must be at most 768 bytes"):
        values.signature_bytes("signature", bytes(769))


@pytest.mark.parametrize(
    "hostile",
    ["x" * 10**6, b"x" * 10**6, 10**10_000, [10**10_000], {"a": "b" * 10**6}],
    ids=["str", "bytes", "int", "list", "dict"],
)
def test_error__hostile_value__stays_one_short_line(hostile):
    sentence = str(InvalidField("salt", hostile, "must be 32 bytes"))
    assert sentence.startswith("salt must be 32 bytes, got ")
    assert len(sentence) < 500
    assert "\n" not in sentence


def test_error__is_ours_and_a_value_error_and_survives_pickling():
    error = InvalidField("salt", 7, "must be 32 bytes")
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(error, FarthingError)
    assert isinstance(error, ValueError)
    assert (again.field, again.value, again.reason) == ("salt", 7, "must be 32 bytes")
    assert str(again) == "salt must be 32 bytes, got 7"
