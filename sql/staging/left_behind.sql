-- One row per scan of a deferred queue and message that it left there although it had been deferred before,
-- with how long the message had waited by then, and whether that is certain.
-- A wait was left behind by each scan of its instance that began more than left_behind_seconds after the
-- deferral and ended before the end of the wait, or before a gap that may hide the end. That is certain
-- only if the end of the wait was seen, and until the message was due: a message without a later sign of
-- life may have been taken and its lines lost, and a message that was due may have been tried in between. A
-- message without an end that is past its due time has left the queue unseen, and proves nothing.
with scans as (
    select
        host,
        instance,
        scan_number,
        row_number() over (
            partition by host, instance
            order by min(reactivated_at), scan_number
        ) as place,
        min(reactivated_at) as began_at,
        max(reactivated_at) as ended_at
    from staging.deferred_waits
    where scan_number is not null
    group by host, instance, scan_number
),

waits as (
    select
        waits.host,
        waits.instance,
        waits.queue_id,
        waits.lifetime,
        waits.round_number,
        waits.age_seconds,
        waits.deferred_at,
        waits.waited_until is not null as is_ended,
        -- A computed end is not exact, nor are those of what became active with it.
        least(
            if(waits.is_due_known, waits.due_by, null),
            if(
                waits.is_computed,
                waits.waited_until - to_seconds(2 * thresholds.computed_activation_seconds),
                null
            )
        ) as sure_until,
        waits.deferred_at + to_seconds(thresholds.left_behind_seconds) as left_from,
        -- least() skips a NULL.
        coalesce(
            least(
                coalesce(waits.waited_until, waits.due_by), waits.seen_until + to_microseconds(1)
            ),
            'infinity'
        ) as left_until
    from staging.deferred_waits as waits
    cross join config.thresholds as thresholds
),

spans as (
    select
        waits.*,
        unnest(range(first_scans.place, last_scans.place + 1)) as place
    from waits
    asof inner join scans as first_scans
        on
            waits.host = first_scans.host
            and waits.instance = first_scans.instance
            and waits.left_from < first_scans.began_at
    asof inner join scans as last_scans
        on
            waits.host = last_scans.host
            and waits.instance = last_scans.instance
            and waits.left_until > last_scans.ended_at
)

select
    spans.host,
    spans.instance,
    scans.scan_number,
    spans.queue_id,
    spans.lifetime,
    spans.round_number,
    spans.age_seconds,
    date_diff('millisecond', spans.deferred_at, scans.began_at) / 1000 as left_seconds,
    spans.is_ended and coalesce(scans.ended_at <= spans.sure_until, true) as is_sure,
    spans.deferred_at,
    scans.began_at
from spans
inner join scans
    on
        spans.host = scans.host
        and spans.instance = scans.instance
        and spans.place = scans.place
