"""When a budget begins anew."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.protocol import InvalidField
from farthing.wallet import Period


def seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def window(period: str, now: str) -> tuple[str, str] | None:
    found = Period.parse(period).window(seconds(now))
    if found is None:
        return None
    begin, end = (datetime.fromtimestamp(each, UTC).isoformat() for each in found)
    return begin.removesuffix(":00+00:00"), end.removesuffix(":00+00:00")


@pytest.mark.parametrize(
    ("period", "now", "begin", "end"),
    [
        ("R/2026-01-01T00:00Z/P1M", "2026-02-28T23:59:59Z", "2026-02-01T00:00", "2026-03-01T00:00"),
        ("R/2026-01-01T00:00Z/P1M", "2026-03-01T00:00:00Z", "2026-03-01T00:00", "2026-04-01T00:00"),
        # What begins on the 31st begins on a short month's last day, and on the 31st again.
        ("R/2026-01-31T00:00Z/P1M", "2026-03-01T00:00:00Z", "2026-02-28T00:00", "2026-03-31T00:00"),
        ("R/2024-02-29T00:00Z/P1Y", "2027-02-28T00:00:00Z", "2027-02-28T00:00", "2028-02-29T00:00"),
        # Midnight in Seoul is 15:00 the day before in London.
        ("R/2026-01-01T00:00+09:00/P1D", "2026-06-01T14:59:59Z", "2026-05-31T15:00",
         "2026-06-01T15:00"),
        ("R/2026-01-01T00:00+09:00/P1D", "2026-06-01T15:00:00Z", "2026-06-01T15:00",
         "2026-06-02T15:00"),
        ("R/2026-01-01T00:00-05:00/P1M", "2026-02-01T04:59:59Z", "2026-01-01T05:00",
         "2026-02-01T05:00"),
        ("R/2026-01-05T00:00Z/P1W", "2026-11-21T16:00:00Z", "2026-11-16T00:00", "2026-11-23T00:00"),
        ("R/2026-01-01T00:00Z/PT1H30M", "2026-01-01T03:00:00Z", "2026-01-01T03:00",
         "2026-01-01T04:30"),
        ("R/2026-01-01T00:00Z/2026-01-03T00:00Z", "2026-01-04T00:00:00Z", "2026-01-03T00:00",
         "2026-01-05T00:00"),
        ("R2/2026-01-01T00:00Z/P1D", "2026-01-02T23:59:59Z", "2026-01-02T00:00",
         "2026-01-03T00:00"),
        # Midnight in Berlin, before, on and after the days on which its clocks are set.
        ("R/2026-01-01T00:00[Europe/Berlin]/P1D", "2026-03-28T23:30:00Z", "2026-03-28T23:00",
         "2026-03-29T22:00"),
        ("R/2026-01-01T00:00[Europe/Berlin]/P1D", "2026-07-01T21:59:59Z", "2026-06-30T22:00",
         "2026-07-01T22:00"),
        ("R/2026-01-01T00:00[Europe/Berlin]/P1D", "2026-10-25T22:59:59Z", "2026-10-24T22:00",
         "2026-10-25T23:00"),
        ("R/2026-01-01T00:00[Europe/Berlin]/P1M", "2026-04-01T00:00:00Z", "2026-03-31T22:00",
         "2026-04-30T22:00"),
        ("R/2026-01-05T00:00[America/New_York]/P1W", "2026-11-01T12:00:00Z", "2026-10-26T04:00",
         "2026-11-02T05:00"),
        # Hours pass whatever the clocks are set to.
        ("R/2026-03-29T00:00[Europe/Berlin]/PT1H", "2026-03-29T01:30:00Z", "2026-03-29T01:00",
         "2026-03-29T02:00"),
        # A quarter of an hour that is left out, and one that comes twice.
        ("R/2026-03-01T02:15[Europe/Berlin]/P1D", "2026-03-29T01:20:00Z", "2026-03-29T01:15",
         "2026-03-30T00:15"),
        ("R/2026-10-01T02:15[Europe/Berlin]/P1D", "2026-10-25T01:20:00Z", "2026-10-25T00:15",
         "2026-10-26T01:15"),
        ("R/2026-01-01T00:00[Europe/Berlin]/2026-01-02T00:00[Europe/Berlin]",
         "2026-01-02T23:00:00Z", "2026-01-02T23:00", "2026-01-03T23:00"),
    ],
)  # fmt: skip
def test_window__of_a_moment(period: str, now: str, begin: str, end: str) -> None:
    assert window(period, now) == (begin, end)


def test_window__before_the_first_and_after_the_last__none() -> None:
    assert window("R2/2026-01-01T00:00Z/P1D", "2025-12-31T23:59:59Z") is None
    assert window("R2/2026-01-01T00:00Z/P1D", "2026-01-03T00:00:00Z") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "P1D",
        "2026-01-01T00:00Z/P1D",
        "R/2026-01-01T00:00/P1D",
        "R/2026-01-01T00:00Z/P",
        "R/2026-01-01T00:00Z/PT",
        "R/2026-01-01T00:00Z/P1DT",
        "R/2026-01-01T00:00Z/P0D",
        "R0/2026-01-01T00:00Z/P1D",
        "R-1/2026-01-01T00:00Z/P1D",
        "R/2026-13-01T00:00Z/P1D",
        "R/2026-01-02T00:00Z/2026-01-01T00:00Z",
        "R/P1D/2026-01-01T00:00Z",
        "R/2026-01-01T00:00Z/P1.5D",
        "R/9999-12-31T00:00Z/P1M",
        "R/2026-01-01T00:00Z/P1D/P1D",
        "R/2026-01-01T00:00[Europe/Nowhere]/P1D",
        "R/2026-01-01T00:00[Europe]/P1D",
        "R/2026-01-01T00:00[../zone]/P1D",
        "R/2026-01-01T00:00Z[Europe/Berlin]/P1D",
        "R/2026-01-01T00:00[Europe/Berlin/P1D",
        "R/2026-01-01T00:00[]/P1D",
    ],
)
def test_parse__of_what_is_no_period__refused(text: str) -> None:
    with pytest.raises(InvalidField):
        Period.parse(text)


@given(
    start=st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1)),
    offset=st.integers(-14 * 60, 14 * 60),
    months=st.integers(0, 30),
    days=st.integers(0, 40),
    later=st.integers(0, 40 * 366 * 86_400),
)
def test_window__of_any_period__holds_the_moment_and_meets_its_neighbours(
    start: datetime, offset: int, months: int, days: int, later: int
) -> None:
    sign, away = "+" if offset >= 0 else "-", abs(offset)
    zone = f"{sign}{away // 60:02}:{away % 60:02}"
    written = start.replace(microsecond=0)
    period = Period.parse(f"R/{written.isoformat()}{zone}/P{months}M{days or 1}D")
    begin, end = check_neighbours(period, seconds(f"{written.isoformat()}{zone}") + later)
    assert timedelta(seconds=end - begin) >= timedelta(days=days or 1)


@given(
    start=st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1)),
    zone=st.sampled_from(("Europe/Berlin", "America/Santiago", "Asia/Beirut", "Pacific/Apia")),
    months=st.integers(0, 30),
    days=st.integers(0, 40),
    hours=st.integers(0, 30),
    later=st.integers(0, 20 * 366 * 86_400),
)
def test_window__of_any_period_in_a_zone__holds_the_moment_and_meets_its_neighbours(
    start: datetime, zone: str, months: int, days: int, hours: int, later: int
) -> None:
    written = start.replace(microsecond=0)
    length = f"P{months}M{days}DT{hours or 1}H"
    period = Period.parse(f"R/{written.isoformat()}[{zone}]/{length}")
    now = int(written.replace(tzinfo=ZoneInfo(zone)).timestamp()) + later
    check_neighbours(period, now)


def check_neighbours(period: Period, now: int) -> tuple[int, int]:
    """The window of a moment, which is where the next one begins when it ends."""
    found = period.window(now)
    assert found is not None
    begin, end = found
    assert begin <= now < end
    assert period.window(begin) == period.window(end - 1) == found
    following = period.window(end)
    assert following is not None and following[0] == end
    return found
