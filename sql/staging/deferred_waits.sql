-- One row per wait of a message in the deferred queue, from the end of a round of deliveries to its
-- re-activation, with the scan of the queue that ended it.
-- A round that left nothing deferred is not followed by a wait: mail that becomes active after it was
-- already active (a restarted qmgr logs such mail again). A scan is a burst of re-activations of one
-- instance. A message that a restarting qmgr found still being delivered (is_skipped) comes back after 60
-- s, whatever the settings say, and is part of no scan.
-- waited_until: re-activation, or the end of the waiting by hold or removal; NULL if not seen. `postsuper
-- -r ALL` (-d, -h) names no message: if its total is at least the number of open waits, it ends them all;
-- otherwise they are in doubt (seen_until).
-- seen_until: from here on a gap of the log may hide what became of the message; NULL if there is none.
-- due_by: Postfix tries a deferred message again in the first queue run after
-- max(min(age, maximal_backoff_time), minimal_backoff_time) since its last deferral (qmgr_active.c), so at
-- the latest queue_run_delay after that, plus due_margin_seconds for a busy qmgr. A message without a sign
-- of life by then has left the queue unseen. NULL for sendmail, which has no such rule. is_due_known:
-- whether the settings are known, not assumed.
with hiding_gaps as (
    select
        host,
        gap_from,
        gap_until
    from staging.log_gaps
    where log_kind = 'maillog' and reason <> 'silence'

    union all

    select
        host,
        told_twice_from as gap_from,
        told_twice_until as gap_until
    from staging.clock_steps
),

waits as (
    select
        rounds.host,
        rounds.instance,
        rounds.queue_id,
        rounds.lifetime,
        rounds.round_number,
        rounds.is_skipped,
        rounds.is_by_sendmail,
        rounds.last_attempted_at as deferred_at,
        rounds.reactivated_at,
        coalesce(rounds.is_reactivation_computed, false) as is_computed,
        coalesce(rounds.taken_out_at, rounds.reactivated_at) as waited_until,
        date_diff('millisecond', messages.arrived_at, rounds.last_attempted_at) / 1000
            as age_seconds,
        date_diff('millisecond', rounds.last_attempted_at, rounds.reactivated_at) / 1000
            as waited_seconds,
        rounds.reactivated_at is not null and rounds.is_skipped is not true as is_in_scan,
        gaps.gap_from as seen_until
    from staging.delivery_rounds as rounds
    inner join staging.messages as messages
        on
            rounds.host = messages.host
            and rounds.instance = messages.instance
            and rounds.queue_id = messages.queue_id
            and rounds.lifetime = messages.lifetime
    asof left join (
        select
            host,
            gap_until,
            min(gap_from) as gap_from
        from hiding_gaps
        group by host, gap_until
    ) as gaps
        on rounds.host = gaps.host and rounds.last_attempted_at < gaps.gap_until
    where rounds.deferral_count > 0
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
        ) as is_first,
        if(
            waits.is_by_sendmail,
            null,
            waits.deferred_at + to_seconds(
                greatest(
                    least(waits.age_seconds, host_history.maximal_backoff_seconds),
                    host_history.minimal_backoff_seconds
                )
                + host_history.queue_run_delay_seconds
                + thresholds.due_margin_seconds
            )
        ) as due_by,
        is_known_setting(host_history.minimal_backoff_seconds_source)
        and is_known_setting(host_history.queue_run_delay_seconds_source) as is_due_known
    from waits
    cross join config.thresholds as thresholds
    inner join fleet.host_history as host_history
        on
            waits.host = host_history.host
            and waits.deferred_at >= coalesce(host_history.valid_from, '-infinity')
            and waits.deferred_at < coalesce(host_history.valid_until, 'infinity')
),

totals as (
    select
        events.host,
        qmgr_instances.instance,
        events.message_count,
        events.logged_at as ended_at
    from events.service_events as events
    inner join staging.qmgr_instances as qmgr_instances
        on events.host = qmgr_instances.host and events.instance = qmgr_instances.logging_instance
    where events.event_kind in ('requeued', 'deleted', 'held') and events.message_count > 0
),

with_totals as (
    select
        marked.*,
        if(
            marked.waited_until is null and coalesce(marked.due_by >= totals.ended_at, true),
            totals.ended_at,
            null
        ) as total_at,
        totals.message_count >= count(total_at) over (
            partition by marked.host, marked.instance, total_at
        ) as is_covered
    from marked
    asof left join totals
        on
            marked.host = totals.host
            and marked.instance = totals.instance
            and marked.deferred_at <= totals.ended_at
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
    is_computed,
    deferred_at,
    reactivated_at,
    coalesce(waited_until, if(is_covered, total_at, null)) as waited_until,
    if(is_covered, seen_until, least(seen_until, total_at)) as seen_until,
    due_by,
    is_due_known
from with_totals
