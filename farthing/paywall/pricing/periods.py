"""Calendar periods: an hour, a day, a month, as ISO 8601 writes how long they are."""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from farthing.paywall.pricing.rules import PricingInvalid

_DURATION = re.compile(r"P(?:([1-9][0-9]{0,3})([YMWD])|T([1-9][0-9]{0,5})([HMS]))")
_SECONDS = {"W": 604_800, "D": 86_400, "TH": 3_600, "TM": 60, "TS": 1}
_MONTHS = {"Y": 12, "M": 1}
# A year, a month and a week begin on that day, so that periods begin where the calendar's do.
_ANCHOR = datetime(2001, 1, 1, tzinfo=UTC)
_ANCHOR_SECONDS = int(_ANCHOR.timestamp())


@dataclass(frozen=True)
class Period:
    """So long, in UTC: ``PT1H``, ``P1D``, ``P30D``, ``P1W``, ``P1M``.

    Those of one length follow each other from the first day of 2001, a Monday: hours, days, weeks,
    months and years begin where the calendar's do.
    """

    text: str
    months: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> Period:
        """Reads a duration of one unit.

        Raises:
            PricingInvalid: It is none.
        """
        found = _DURATION.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise PricingInvalid(f"{text!r} is no period: write one like 'PT1H', 'P1D' or 'P1M'")
        count = int(found[1] or found[3])
        unit = found[2] or f"T{found[4]}"
        return cls(text, _MONTHS.get(unit, 0) * count, _SECONDS.get(unit, 0) * count)

    def begin(self, now: int) -> int:
        """When the period began that ``now`` is in, unix seconds."""
        if not self.months:
            return now - (now - _ANCHOR_SECONDS) % self.seconds
        moment = datetime.fromtimestamp(now, UTC)
        passed = (moment.year - _ANCHOR.year) * 12 + moment.month - 1
        return _after(_ANCHOR, passed - passed % self.months)

    def end(self, begin: int) -> int:
        """When one ends that begins then, unix seconds. What began on the 31st ends on a short
        month's last day."""
        if not self.months:
            return begin + self.seconds
        return _after(datetime.fromtimestamp(begin, UTC), self.months)


def _after(moment: datetime, months: int) -> int:
    month = moment.month - 1 + months
    year, month = moment.year + month // 12, month % 12 + 1
    day = min(moment.day, monthrange(year, month)[1])
    start = datetime(year, month, day, tzinfo=UTC)
    clock = timedelta(hours=moment.hour, minutes=moment.minute, seconds=moment.second)
    return int((start + clock).timestamp())
