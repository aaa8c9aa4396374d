-- One row per queue entry whose mail the scan service kept: it was taken, and never came back.
-- This needs a log that shows mail coming back from the scan service and goes on long enough, and a message
-- id by which the mail would have been found; otherwise nobody knows.
with not_seen_again as (
    select
        entries.entry_number,
        entries.host,
        entries.message_id,
        entries.scan_began_from as began_at,
        entries.left_at + to_seconds(thresholds.reinjection_seconds) as awaited_until
    from staging.queue_entries as entries
    anti join staging.next_hops as next_hops
        on entries.entry_number = next_hops.parent_number
    cross join config.thresholds as thresholds
    where
        entries.outcome = 'delivered'
        and entries.is_scanned
        and entries.queued_as is null
        and entries.message_id not in ('', '<>')
),

-- What may be theirs, as nothing but the message id tells whose it is.
uncertain_arrivals as (
    select
        entries.entry_number,
        entries.host,
        entries.message_id,
        entries.arrived_at
    from staging.queue_entries as entries
    semi join not_seen_again
        on entries.message_id = not_seen_again.message_id
    left join staging.entry_links as links
        on entries.entry_number = links.child_number
    where entries.is_from_loopback and (links.link is null or links.link = 'message_id')
)

select not_seen_again.entry_number
from not_seen_again
inner join staging.reinjection_spans as spans
    on
        not_seen_again.host = spans.host
        and not_seen_again.began_at >= spans.covered_from
        and not_seen_again.awaited_until <= spans.covered_until
asof left join (
    select * from events.service_events
    where event_kind = 'lines_lost'
) as losses
    on not_seen_again.host = losses.host and not_seen_again.began_at <= losses.logged_at
asof left join uncertain_arrivals
    on
        not_seen_again.host = uncertain_arrivals.host
        and not_seen_again.message_id = uncertain_arrivals.message_id
        and not_seen_again.awaited_until >= uncertain_arrivals.arrived_at
where
    coalesce(losses.logged_at > not_seen_again.awaited_until, true)
    and coalesce(
        uncertain_arrivals.arrived_at < not_seen_again.began_at - to_seconds(1)
        or uncertain_arrivals.entry_number <= not_seen_again.entry_number,
        true
    )
