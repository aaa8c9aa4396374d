"""Marts of days whose events have expired: their rows are carried from the marts before to the new ones."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from transforms.ledger import FrozenDays

# The instant of each row of a mart, in UTC, by which it is frozen; the others are made of these.
TIMES = {
    "marts.coverage": "gap_until",
    "marts.fleet_daily": "date",
    "marts.held_messages": "strptime(regexp_extract(restart_id, '-([0-9]{8}T[0-9]{6})Z(-[0-9]+)?$', 1), "
    "'%Y%m%dT%H%M%S')",
    "marts.message_trace": "coalesce(arrived_at, left_at)",
    "marts.missing_flushes": "down_at",
    "marts.restarts": "down_at",
}


def frozen_hosts(frozen: "Iterable[FrozenDays]") -> pl.DataFrame:
    """Return frozen.hosts: until when the marts of each host are frozen."""
    return pl.DataFrame(
        [(days.host, days.frozen_before) for days in frozen],
        schema={"host": pl.String(), "frozen_before": pl.Date()},
        orient="row",
    )


def with_frozen_rows(mart: str, sql: str) -> str:
    """Return the query of a mart with the rows of frozen days from frozen.<its name>, by frozen.hosts."""
    instant = TIMES[mart]
    return f"""
        select derived.*
        from (
            {sql}
        ) as derived
        left join frozen.hosts as hosts on derived.host = hosts.host
        where coalesce({instant} >= hosts.frozen_before, true)

        union all by name

        select kept.*
        from frozen.{mart.removeprefix("marts.")} as kept
        inner join frozen.hosts as hosts on kept.host = hosts.host
        where {instant} < hosts.frozen_before
    """
