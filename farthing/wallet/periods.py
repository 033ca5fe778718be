"""ISO 8601 repeating intervals: when a budget begins anew.

``R/2026-01-01T00:00:00+09:00/P1M`` is every month from midnight in Seoul on; ``R3/…/P1D`` is three
days and then never again; ``R/start/end`` repeats the time between two moments. Months are counted
from the start, so what began on the 31st begins on a short month's last day and on the 31st again.
A day has 24 hours: the offset of the start is that of every period, as ISO 8601 has it.

``R/2026-01-01T00:00[Europe/Berlin]/P1D`` begins at midnight as clocks in Berlin have it, summer and
winter: a zone is named as in RFC 9557, in the place of the offset. Days have 23 to 25 hours there,
and a time that the clocks leave out is as much later.
"""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from farthing.protocol import InvalidField

# The slashes of a zone's name are its own.
_SLASH = re.compile(r"/(?![^\[]*\])")
_ZONE = re.compile(r"([^\[]*)\[([A-Za-z0-9_+/-]{1,64})\]")
_REPEAT = re.compile(r"R([0-9]{0,6})")
_DURATION = re.compile(
    r"P(?!$)(?:([0-9]{1,4})Y)?(?:([0-9]{1,4})M)?(?:([0-9]{1,4})W)?(?:([0-9]{1,5})D)?"
    r"(?:T(?!$)(?:([0-9]{1,6})H)?(?:([0-9]{1,6})M)?(?:([0-9]{1,8})S)?)?"
)
# What a month has on average; only a first guess is made with it.
_MONTH = 2_629_746
_DAY = 86_400


@dataclass(frozen=True)
class Period:
    """A repeating interval.

    Attributes:
        text: As it was written.
        start: When the first begins; it has an offset from UTC, or a zone.
        months, days, seconds: How long each is.
        count: How many there are; None is no end.
    """

    text: str
    start: datetime
    months: int
    days: int
    seconds: int
    count: int | None

    @classmethod
    def parse(cls, text: str) -> Period:
        """Reads ``R[n]/start/duration`` or ``R[n]/start/end``.

        Raises:
            InvalidField: It is not one, has no offset and no known zone, or lasts no time.
        """
        parts = _SLASH.split(text) if isinstance(text, str) else []
        repeat = _REPEAT.fullmatch(parts[0]) if len(parts) == 3 else None
        if repeat is None:
            raise InvalidField("period", text, "must be R/start/duration, as R/2026-01-01T00Z/P1M")
        start = _moment(text, parts[1])
        months, days, seconds = _length(text, start, parts[2])
        count = int(repeat[1]) if repeat[1] else None
        if _average(months, days, seconds) <= 0 or count == 0:
            raise InvalidField("period", text, "must last some time")
        period = cls(text, start, months, days, seconds, count)
        try:
            period._begin(1)
        except OverflowError:
            raise InvalidField("period", text, "must end before the year 10000") from None
        return period

    def window(self, now: int) -> tuple[int, int] | None:
        """Begin and end, unix seconds, of the interval that ``now`` is in; its end is excluded.

        None before the first and after the last.
        """
        if now < self._begin(0):
            return None
        index = (now - self._begin(0)) // _average(self.months, self.days, self.seconds)
        # The guess is a few off: months and days differ in length.
        while self._begin(index) > now:
            index -= 1
        while self._begin(index + 1) <= now:
            index += 1
        if self.count is not None and index >= self.count:
            return None
        return self._begin(index), self._begin(index + 1)

    def _begin(self, index: int) -> int:
        month = self.start.month - 1 + index * self.months
        year, month = self.start.year + month // 12, month % 12 + 1
        if year > 9999:
            raise OverflowError
        day = min(self.start.day, monthrange(year, month)[1])
        moment = self.start.replace(year=year, month=month, day=day)
        # Days by the clock on the wall, seconds by the one that never jumps.
        return int((moment + timedelta(days=index * self.days)).timestamp()) + index * self.seconds


def _average(months: int, days: int, seconds: int) -> int:
    return months * _MONTH + days * _DAY + seconds


def _moment(text: str, written: str) -> datetime:
    named = _ZONE.fullmatch(written)
    try:
        moment = datetime.fromisoformat(written if named is None else named[1])
    except ValueError:
        raise InvalidField("period", text, "must begin at a time of ISO 8601") from None
    if (moment.tzinfo is None) == (named is None):
        reason = "must name an offset from UTC, as Z or +09:00, or a zone, as [Europe/Berlin]"
        raise InvalidField("period", text, reason)
    if named is not None:
        moment = moment.replace(tzinfo=_zone(text, named[2]))
    return moment.replace(microsecond=0)


def _zone(text: str, name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (OSError, KeyError, ValueError):
        raise InvalidField("period", text, f"must name a time zone, which {name} is not") from None


def _length(text: str, start: datetime, written: str) -> tuple[int, int, int]:
    """Months, days and seconds of a duration, or of the time until an end."""
    if not written.startswith("P"):
        return 0, 0, int(_moment(text, written).timestamp() - start.timestamp())
    found = _DURATION.fullmatch(written)
    if found is None:
        raise InvalidField("period", text, "must have a duration, as P1M, P1D or PT1H")
    years, months, weeks, days, hours, minutes, seconds = (
        int(each or 0) for each in found.groups()
    )
    return (
        years * 12 + months,
        weeks * 7 + days,
        hours * 3_600 + minutes * 60 + seconds,
    )
