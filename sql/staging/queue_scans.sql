-- One row per scan of an instance's deferred queue: a burst of re-activations, with what it proves.
-- A scan that takes mail too young for a queue run (early) and leaves no deferred mail behind is a flush;
-- `postqueue -i` takes one message. Right after a qmgr start a re-activation of early mail proves nothing.
-- If minimal_backoff_time is only assumed, a scan that takes early mail and leaves other mail behind
-- refutes the assumption: whether that instance's scans are flushes is then unknown (NULL). So it is if the
-- log contradicts a known setting (staging.refuted_settings), or may lack lines of mail that the scan took
-- (maybe_left_count). With an assumed setting, a scan that nobody ordered is unknown too:
-- minimal_backoff_time may be shorter than assumed. So is a scan whose activations were lost, unless an
-- order came just before it: other lines of qmgr may be lost with them. doubt gives the reason.
-- qmgr runs the queue when it starts and then every queue_run_delay: a scan in that rhythm that takes no
-- early mail is a queue run. The last start, or the last scan that left younger mail, sets the rhythm.
-- sendmail runs its queue when it starts and then at the interval in its first line, and takes all mail
-- each time: a scan at any other time is a flush. A failed start leaves the previous rhythm in place, so
-- that a scan in an older rhythm is unknown too.
with queue_runs as (
    select
        scans.host,
        scans.instance,
        scans.scan_number
    from staging.scans as scans
    cross join config.thresholds as thresholds
    asof left join staging.known_runs as known_runs
        on
            scans.host = known_runs.host
            and scans.instance = known_runs.instance
            and scans.began_at > known_runs.began_at
    inner join fleet.host_history as host_history
        on
            scans.host = host_history.host
            and scans.began_at >= coalesce(host_history.valid_from, '-infinity')
            and scans.began_at < coalesce(host_history.valid_until, 'infinity')
            and is_known_setting(host_history.queue_run_delay_seconds_source)
    where
        not scans.is_by_sendmail
        and scans.early_count = 0
        and (scans.is_phase_known or known_runs.began_at > coalesce(scans.started_at, '-infinity'))
        and seconds_off_rhythm(
            scans.began_at,
            greatest(scans.started_at, known_runs.began_at),
            host_history.queue_run_delay_seconds
        )
        <= thresholds.queue_run_margin_seconds
),

sendmail_starts as (
    select
        host,
        instance,
        logged_at as started_at,
        epoch(try_cast(regexp_extract(message, 'queueing@([0-9]{2}:[0-9]{2}:[0-9]{2})', 1) as time))
            as interval_seconds
    from events.service_events
    where event_kind = 'start' and regexp_matches(message, 'queueing@[0-9]{2}:[0-9]{2}:[0-9]{2}')
),

rhythms as (
    select
        scans.host,
        scans.instance,
        scans.scan_number,
        arg_max(is_in_rhythm, started_at) as is_in_rhythm,
        bool_or(is_in_rhythm) as is_in_any_rhythm
    from (
        select
            scans.host,
            scans.instance,
            scans.scan_number,
            sendmail_starts.started_at,
            seconds_off_rhythm(
                scans.began_at, sendmail_starts.started_at, sendmail_starts.interval_seconds
            )
            <= thresholds.queue_run_margin_seconds as is_in_rhythm
        from staging.scans as scans
        cross join config.thresholds as thresholds
        inner join sendmail_starts
            on
                scans.host = sendmail_starts.host
                and scans.instance = sendmail_starts.instance
                and scans.began_at >= sendmail_starts.started_at
                and sendmail_starts.interval_seconds > 0
    ) as scans
    group by scans.host, scans.instance, scans.scan_number
),

-- Whether an order came just before the scan. Nobody ordered it for sure where the manager log covers it, or
-- an order of the minutes before had its effect.
orders as (
    select
        scans.host,
        scans.instance,
        scans.scan_number,
        coalesce(
            flush_orders.ordered_before
            >= scans.began_at - to_seconds(thresholds.order_effect_seconds),
            false
        ) as is_ordered,
        not is_ordered
        and coalesce(
            scans.ended_at <= spans.covered_until
            or flush_orders.ordered_at > scans.began_at - to_seconds(thresholds.flush_window_seconds),
            false
        ) as is_unordered
    from staging.scans as scans
    cross join config.thresholds as thresholds
    asof left join staging.flush_orders as flush_orders
        on scans.host = flush_orders.host and scans.ended_at >= flush_orders.ordered_at
    asof left join (
        select *
        from staging.covered_spans
        where log_kind = 'manager_log'
    ) as spans
        on scans.host = spans.host and scans.began_at >= spans.covered_from
)

select
    scans.host,
    scans.instance,
    scans.scan_number,
    scans.reactivated_count,
    scans.early_count,
    scans.left_behind_count,
    scans.maybe_left_count,
    scans.is_at_qmgr_start,
    queue_runs.host is not null as is_queue_run,
    case
        when scans.is_at_qmgr_start then false
        when scans.is_by_sendmail
            then
                case
                    when scans.left_behind_count > 0 or rhythms.is_in_rhythm then false
                    when scans.maybe_left_count > 0 then null
                    when rhythms.is_in_any_rhythm is false then true
                end
        when scans.early_count = 0 or scans.left_behind_count > 0 then false
        when scans.maybe_left_count > 0 or refuted.host is not null then null
        when not scans.is_backoff_known and (scans.is_computed or orders.is_unordered) then null
        when scans.is_computed and not orders.is_ordered then null
        else true
    end as is_flush,
    case
        when is_flush is not null then null
        when scans.maybe_left_count > 0 or (scans.is_backoff_known and refuted.host is null)
            then 'coverage_gap'
        else 'settings_unknown'
    end as doubt,
    scans.began_at,
    scans.ended_at
from staging.scans as scans
inner join orders
    on
        scans.host = orders.host
        and scans.instance = orders.instance
        and scans.scan_number = orders.scan_number
left join staging.refuted_settings as refuted
    on
        scans.host = refuted.host
        and scans.instance = refuted.instance
        and scans.is_backoff_known = refuted.is_backoff_known
left join queue_runs
    on
        scans.host = queue_runs.host
        and scans.instance = queue_runs.instance
        and scans.scan_number = queue_runs.scan_number
left join rhythms
    on
        scans.host = rhythms.host
        and scans.instance = rhythms.instance
        and scans.scan_number = rhythms.scan_number
