-- One row per scan of an instance's deferred queue: a burst of re-activations, with what it proves.
-- A scan that takes mail too young for a queue run (early) and leaves no deferred mail behind is a flush;
-- `postqueue -i` takes one message. Right after a qmgr start a re-activation of early mail proves nothing.
-- Where minimal_backoff_time is only assumed, a scan that takes early mail and leaves other mail behind
-- refutes the assumption: whether that instance's scans are flushes is then NULL, not known.
-- qmgr runs the queue when it starts and then every queue_run_delay: a scan in that rhythm that takes no
-- early mail is a queue run. The rhythm is that of the last start, or of the last scan that left younger
-- mail.
-- sendmail runs its queue when it starts and then at the interval that its first line tells, and takes all
-- mail each time: a scan at any other time is a flush. A start that failed leaves the rhythm of the one
-- before in place, so that a scan in an older rhythm is not known either.
with scans as (
    select
        host,
        instance,
        scan_number,
        bool_and(is_backoff_known) as is_backoff_known,
        bool_and(is_by_sendmail) as is_by_sendmail,
        count(*) as reactivated_count,
        count(*) filter (where is_early) as early_count,
        min(reactivated_at) as began_at,
        max(reactivated_at) as ended_at
    from staging.waits
    where scan_number is not null
    group by host, instance, scan_number
),

left_behind as (
    select
        host,
        instance,
        scan_number,
        count(*) as left_behind_count
    from staging.left_behind
    group by host, instance, scan_number
),

judged as (
    select
        scans.*,
        coalesce(left_behind.left_behind_count, 0) as left_behind_count,
        qmgr_starts.started_at,
        coalesce(
            qmgr_starts.started_at >= scans.began_at - to_seconds(thresholds.qmgr_start_seconds),
            false
        ) as is_at_qmgr_start
    from scans
    cross join config.thresholds as thresholds
    left join left_behind
        on
            scans.host = left_behind.host
            and scans.instance = left_behind.instance
            and scans.scan_number = left_behind.scan_number
    asof left join staging.qmgr_starts as qmgr_starts
        on
            scans.host = qmgr_starts.host
            and scans.instance = qmgr_starts.instance
            and scans.ended_at >= qmgr_starts.started_at
),

known_runs as (
    select
        host,
        instance,
        began_at
    from judged
    where early_count = 0 and left_behind_count > 0 and not is_at_qmgr_start and not is_by_sendmail
),

queue_runs as (
    select
        judged.host,
        judged.instance,
        judged.scan_number
    from judged
    cross join config.thresholds as thresholds
    asof left join known_runs
        on
            judged.host = known_runs.host
            and judged.instance = known_runs.instance
            and judged.began_at > known_runs.began_at
    inner join fleet.host_history as host_history
        on
            judged.host = host_history.host
            and judged.began_at >= coalesce(host_history.valid_from, '-infinity')
            and judged.began_at < coalesce(host_history.valid_until, 'infinity')
            and host_history.queue_run_delay_seconds_source
            in ('fleet_file', 'inventory', 'fleet_defaults')
    where
        not judged.is_by_sendmail
        and judged.early_count = 0
        and abs(
            (
                epoch(judged.began_at - greatest(judged.started_at, known_runs.began_at))
                + host_history.queue_run_delay_seconds / 2
            ) % host_history.queue_run_delay_seconds
            - host_history.queue_run_delay_seconds / 2
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
            -- Seconds to the nearest queue run.
            abs(
                (
                    epoch(scans.began_at - sendmail_starts.started_at)
                    + sendmail_starts.interval_seconds / 2
                ) % sendmail_starts.interval_seconds
                - sendmail_starts.interval_seconds / 2
            )
            <= thresholds.queue_run_margin_seconds as is_in_rhythm
        from scans
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

refuted as (
    select distinct
        host,
        instance
    from judged
    where not is_backoff_known and early_count > 0 and left_behind_count > 0 and not is_at_qmgr_start
)

select
    judged.host,
    judged.instance,
    judged.scan_number,
    judged.reactivated_count,
    judged.early_count,
    judged.left_behind_count,
    judged.is_at_qmgr_start,
    queue_runs.host is not null as is_queue_run,
    case
        when judged.is_at_qmgr_start then false
        when judged.is_by_sendmail
            then
                case
                    when judged.left_behind_count > 0 or rhythms.is_in_rhythm then false
                    when rhythms.is_in_any_rhythm is false then true
                end
        when judged.early_count = 0 or judged.left_behind_count > 0 then false
        when not judged.is_backoff_known and refuted.host is not null then null
        else true
    end as is_flush,
    judged.began_at,
    judged.ended_at
from judged
left join refuted
    on judged.host = refuted.host and judged.instance = refuted.instance
left join queue_runs
    on
        judged.host = queue_runs.host
        and judged.instance = queue_runs.instance
        and judged.scan_number = queue_runs.scan_number
left join rhythms
    on
        judged.host = rhythms.host
        and judged.instance = rhythms.instance
        and judged.scan_number = rhythms.scan_number
