-- One row per wait of a message in the deferred queue, from the end of a round of deliveries to its
-- re-activation, with the scan of the queue that ended it.
-- A round that left nothing deferred is followed by no wait: what becomes active after it was active
-- already (a restarted qmgr logs such mail again). A scan is a burst of re-activations of one instance. A
-- message that a restarting qmgr found still being delivered (is_skipped) comes back after 60 s, whatever
-- the settings say, and is part of no scan.
-- waited_until: re-activation, or the end of the waiting by hold or removal; NULL if not seen.
-- seen_until: from here on a gap of the log may hide what became of the message; NULL if there is none.
with numbered as (
    select
        *,
        count(*) filter (where event_kind = 'activation') over (
            partition by host, instance, queue_id, lifetime
            order by event_number
            rows unbounded preceding
        ) as round_number
    from staging.message_events
),

rounds as (
    select
        host,
        instance,
        queue_id,
        lifetime,
        round_number,
        min(logged_at) filter (where event_kind = 'activation') as activated_at,
        max(logged_at) filter (where event_kind in ('deferral', 'attempt')) as last_attempted_at,
        min(logged_at) filter (where event_kind in ('held', 'removed', 'deleted', 'requeued'))
            as taken_out_at,
        count(*) filter (where event_kind = 'deferral') as deferral_count,
        bool_or(event_kind = 'skipped') as is_skipped,
        bool_or(is_by_sendmail) as is_by_sendmail
    from numbered
    group by host, instance, queue_id, lifetime, round_number
),

followed as (
    select
        *,
        lead(activated_at) over (
            partition by host, instance, queue_id, lifetime
            order by round_number
        ) as reactivated_at
    from rounds
),

waits as (
    select
        followed.host,
        followed.instance,
        followed.queue_id,
        followed.lifetime,
        followed.round_number,
        followed.is_skipped,
        followed.is_by_sendmail,
        followed.last_attempted_at as deferred_at,
        followed.reactivated_at,
        coalesce(followed.taken_out_at, followed.reactivated_at) as waited_until,
        date_diff('millisecond', messages.arrived_at, followed.last_attempted_at) / 1000
            as age_seconds,
        date_diff('millisecond', followed.last_attempted_at, followed.reactivated_at) / 1000
            as waited_seconds,
        followed.reactivated_at is not null and followed.is_skipped is not true as is_in_scan,
        gaps.gap_from as seen_until
    from followed
    inner join staging.messages as messages
        on
            followed.host = messages.host
            and followed.instance = messages.instance
            and followed.queue_id = messages.queue_id
            and followed.lifetime = messages.lifetime
    asof left join (
        select
            host,
            gap_until,
            min(gap_from) as gap_from
        from marts.coverage
        where log_kind = 'maillog' and reason <> 'silence'
        group by host, gap_until
    ) as gaps
        on followed.host = gaps.host and followed.last_attempted_at < gaps.gap_until
    where followed.deferral_count > 0
),

marked as (
    select
        waits.*,
        waits.is_in_scan
        and coalesce(
            waits.reactivated_at
            > lag(waits.reactivated_at)
                over (
                    partition by waits.host, waits.instance, waits.is_in_scan
                    order by waits.reactivated_at
                )
            + to_seconds(thresholds.scan_gap_seconds),
            true
        ) as is_first
    from waits
    cross join config.thresholds as thresholds
)

select
    host,
    instance,
    queue_id,
    lifetime,
    round_number,
    if(
        is_in_scan,
        count(*) filter (where is_first) over (
            partition by host, instance, is_in_scan
            order by reactivated_at
            range unbounded preceding
        ),
        null
    ) as scan_number,
    age_seconds,
    waited_seconds,
    is_skipped,
    is_by_sendmail,
    deferred_at,
    reactivated_at,
    waited_until,
    seen_until
from marked
