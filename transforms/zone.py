"""A host's time zone, by name or by offset, and what its clocks show."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

FARTHEST_OFFSET = timedelta(hours=14)
# ZoneInfo takes dots for packages, as many as there are.
IANA_NAME = re.compile(r"[A-Za-z0-9_+-]{1,32}(/[A-Za-z0-9_+-]{1,32}){0,3}")


@dataclass(frozen=True)
class Zone:
    """The zone of a host's local stamps: an IANA name, or an offset as in `GMT+09:00`.

    `source` is fleet_file; the kind of the host's log with an offset (manager_log, system_events,
    message_tracking, maillog); fleet (the one zone of all other hosts) or default. The last two are assumed.
    """

    name: str
    source: str

    @property
    def is_assumed(self) -> bool:
        """Whether neither the host's files nor the fleet file state the zone."""
        return self.source in ("fleet", "default")

    @property
    def offset(self) -> timedelta | None:
        """The fixed offset from UTC, None for an IANA zone."""
        if not (parts := re.fullmatch(r"GMT([+-])([0-9]{2}):([0-9]{2})", self.name)):
            return None
        offset = timedelta(hours=int(parts[2]), minutes=int(parts[3]))
        if offset > FARTHEST_OFFSET:
            raise ValueError(f"{self.name} is farther from UTC than any zone")
        return -offset if parts[1] == "-" else offset

    def midnight(self, day: date) -> datetime:
        """Return the UTC instant at which a local day begins."""
        return self.to_utc(datetime.combine(day, time()))

    def to_utc(self, local: datetime) -> datetime:
        """Return the UTC instant of a naive local time; the first one in an hour that comes twice."""
        if (offset := self.offset) is not None:
            return local.replace(tzinfo=UTC) - offset
        return local.replace(tzinfo=ZoneInfo(self.name)).astimezone(UTC)

    def to_local(self, instant: datetime) -> datetime:
        """Return an aware instant as this zone's clocks show it."""
        offset = self.offset
        return instant.astimezone(ZoneInfo(self.name) if offset is None else timezone(offset))

    def is_known(self) -> bool:
        """Tell whether the name can be used: an IANA zone of this system, or a sound offset."""
        try:
            if self.offset is None:
                return bool(IANA_NAME.fullmatch(self.name) and ZoneInfo(self.name))
        except (ValueError, OSError, KeyError):
            return False
        return True
