-- One row per scan of an instance's deferred queue: a burst of re-activations, with what it took and what
-- it left behind, certainly or possibly.
-- Right after a qmgr start (is_at_qmgr_start) mail may become active that was active before.
with scans as (
    select
        host,
        instance,
        scan_number,
        bool_and(is_backoff_known) as is_backoff_known,
        bool_and(is_by_sendmail) as is_by_sendmail,
        count(*) as reactivated_count,
        count(*) filter (where is_early) as early_count,
        coalesce(bool_or(is_computed), false) as is_computed,
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
        count(*) filter (where is_sure) as left_behind_count,
        count(*) filter (where not is_sure) as maybe_left_count
    from staging.left_behind
    group by host, instance, scan_number
),

judged as (
    select
        scans.*,
        -- Where lines of the scan itself are lost, so may be those of what else it took.
        if(scans.is_computed, 0, coalesce(left_behind.left_behind_count, 0)) as left_behind_count,
        coalesce(left_behind.maybe_left_count, 0)
        + if(scans.is_computed, coalesce(left_behind.left_behind_count, 0), 0) as maybe_left_count,
        qmgr_starts.started_at,
        coalesce(qmgr_starts.is_phase_known, false) as is_phase_known,
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
)

select
    host,
    instance,
    scan_number,
    is_backoff_known,
    is_by_sendmail,
    reactivated_count,
    early_count,
    left_behind_count,
    maybe_left_count,
    is_computed,
    is_at_qmgr_start,
    is_phase_known,
    started_at,
    began_at,
    ended_at
from judged
