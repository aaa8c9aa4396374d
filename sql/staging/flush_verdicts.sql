-- One row per restart, with what became of the mail that waited at its end.
-- A held message is waiting at an instant if its last deferral is earlier and its wait lasts longer. A wait
-- without an end in the log (is_open) shows neither that mail was passed over nor that it was taken: no
-- verdict rests on it. No flush was needed only if no held mail waited at any instant at which the service
-- may have been up. The flush that is judged is the last one of the message's instance that took mail of
-- this restart; without one, the last flush of the host's other instances, else the last order. If a later
-- scan may have been a flush as well, it is unknown which one to judge. Gaps of the maillog leave the
-- verdict open (staging.restart_coverage), and so does a maillog that ends within the window while mail
-- waits, or within longest_attempt_seconds of the flush while flushed mail is being tried.
with restarts as (
    select
        restarts.*,
        coverage.has_maillog,
        coverage.has_manager_log,
        coverage.is_start_covered,
        coverage.has_hiding_gap,
        coverage.odd_reason,
        coverage.is_log_end,
        coverage.covered_until
    from staging.restarts as restarts
    inner join staging.restart_coverage as coverage
        on restarts.restart_id = coverage.restart_id
),

-- The order that judges is the last one that found mail of the restart waiting.
judging_orders as (
    select
        restart_orders.restart_id,
        max(restart_orders.ordered_at) as judging_ordered_at
    from staging.restart_orders as restart_orders
    inner join staging.held_waits as held_waits
        on
            restart_orders.restart_id = held_waits.restart_id
            and restart_orders.ordered_at > held_waits.deferred_at
            and restart_orders.ordered_at <= coalesce(held_waits.waited_until, 'infinity')
    group by restart_orders.restart_id
),

orders as (
    select
        restart_orders.restart_id,
        min(restart_orders.ordered_at) filter (where restart_orders.order_kind = 'commanded')
            as flush_commanded_at,
        min(restart_orders.ordered_at) filter (where restart_orders.order_kind = 'marked')
            as flush_marked_at,
        coalesce(any_value(judging_orders.judging_ordered_at), max(restart_orders.ordered_at))
            as last_ordered_at
    from staging.restart_orders as restart_orders
    left join judging_orders
        on restart_orders.restart_id = judging_orders.restart_id
    group by restart_orders.restart_id
),

-- The flushes that took mail of this restart, in its window.
flushes as (
    select
        restarts.restart_id,
        held_waits.instance,
        min(held_waits.scan_began_at) as flush_observed_at,
        max(held_waits.scan_began_at) as last_flushed_at
    from restarts
    inner join staging.held_waits as held_waits
        on
            restarts.restart_id = held_waits.restart_id
            and held_waits.is_flush
            and restarts.window_from <= held_waits.scan_began_at
            and coalesce(restarts.window_until > held_waits.scan_began_at, true)
    group by restarts.restart_id, held_waits.instance
),

restart_flushes as (
    select
        restart_id,
        min(flush_observed_at) as flush_observed_at,
        max(last_flushed_at) as last_flushed_at
    from flushes
    group by restart_id
),

-- Scans that may have been flushes as well, after the last flush of their instance or where it saw none.
later_doubts as (
    select
        restart_flushes.restart_id,
        min(held_waits.doubt) as doubt
    from restart_flushes
    inner join restarts
        on restart_flushes.restart_id = restarts.restart_id
    inner join staging.held_waits as held_waits
        on
            restart_flushes.restart_id = held_waits.restart_id
            and held_waits.is_flush is null
            and restarts.window_from <= held_waits.scan_began_at
            and coalesce(restarts.window_until > held_waits.scan_began_at, true)
    left join flushes
        on
            held_waits.restart_id = flushes.restart_id
            and held_waits.instance = flushes.instance
    where coalesce(flushes.last_flushed_at < held_waits.scan_began_at, true)
    group by restart_flushes.restart_id
),

instants as (
    select
        held_waits.*,
        restart_flushes.last_flushed_at,
        coalesce(flushes.last_flushed_at, restart_flushes.last_flushed_at, orders.last_ordered_at)
            as judged_at,
        held_waits.is_flush and held_waits.scan_began_at = flushes.last_flushed_at as is_taken,
        coalesce(held_waits.scan_began_at < restarts.window_until, held_waits.scan_began_at is not null)
            as is_in_window
    from staging.held_waits as held_waits
    inner join restarts
        on held_waits.restart_id = restarts.restart_id
    left join flushes
        on
            held_waits.restart_id = flushes.restart_id
            and held_waits.instance = flushes.instance
    left join restart_flushes
        on held_waits.restart_id = restart_flushes.restart_id
    left join orders
        on held_waits.restart_id = orders.restart_id
),

-- What became of the mail that waited at the flush or order that judges it. A flush may pass over mail
-- that was deferred in the moment before it.
judgements as (
    select
        instants.restart_id,
        count(*) as judged_count,
        count(*) filter (where not coalesce(instants.is_taken, false) and not instants.is_open)
            as flush_missed_count,
        count(*) filter (where instants.is_taken and instants.is_failed_again) as flush_failed_count,
        count(*) filter (where not instants.is_ended and not instants.is_failed_again) as unended_count,
        count(*) filter (where instants.is_open) as open_count,
        -- What may have been a flush counts in the whole window, what was old enough for one only at once.
        min(instants.doubt) filter (
            where instants.is_soon or (instants.is_in_window and instants.is_flush is null)
        ) as doubt,
        count(*) filter (where instants.is_at_qmgr_start and instants.is_soon) as qmgr_start_count,
        count(*) filter (
            where not instants.is_early and instants.left_behind_count = 0 and instants.is_soon
        ) as ambiguous_count
    from (
        select
            instants.*,
            instants.reactivated_at
            <= instants.judged_at + to_seconds(thresholds.order_effect_seconds) as is_soon,
            instants.waited_until is null as is_open
        from instants
        cross join config.thresholds as thresholds
        where
            coalesce(instants.waited_until >= instants.judged_at, true)
            and (
                instants.is_taken
                or instants.deferred_at
                < instants.judged_at
                - to_seconds(if(instants.last_flushed_at is null, 0, thresholds.left_behind_seconds))
            )
        -- Two flushes in one scan may take a message twice.
        qualify
            row_number() over (
                partition by
                    instants.restart_id, instants.instance, instants.queue_id, instants.lifetime
                order by instants.deferred_at desc, instants.waited_until desc nulls first
            ) = 1
    ) as instants
    group by instants.restart_id
),

-- How the waits that were under way when the service was up again, or may have been, came to their end.
waits_at_end as (
    select
        restarts.restart_id,
        count(*) filter (where coalesce(restarts.up_at < held_waits.waited_until, true)) as waiting_count,
        count(*) as maybe_waiting_count,
        count(*) filter (
            where coalesce(held_waits.waited_until > restarts.covered_until, true)
        ) as unended_count,
        -- It was due before the log's end, and yet nothing tells of it.
        count(*) filter (
            where held_waits.waited_until is null and held_waits.due_by < restarts.covered_until
        ) as lost_count,
        count(*) filter (
            where
            held_waits.is_at_qmgr_start
            and not held_waits.is_queue_run
            and held_waits.scan_began_at < restarts.window_until
        ) as qmgr_start_count,
        count(*) filter (
            where
            held_waits.waited_until > restarts.up_at
            and (
                held_waits.is_at_qmgr_start
                or (held_waits.left_behind_count = 0 and not held_waits.is_early)
            )
            and not held_waits.is_queue_run
            and held_waits.scan_began_at < restarts.window_until
        ) as doubtful_count,
        count(*) filter (
            where
            held_waits.waited_until > restarts.up_at
        ) as sure_count,
        min(held_waits.doubt) filter (where held_waits.scan_began_at < restarts.window_until) as doubt
    from restarts
    inner join staging.held_waits as held_waits
        on
            restarts.restart_id = held_waits.restart_id
            and coalesce(
                coalesce(restarts.up_at_earliest, restarts.up_at) < held_waits.waited_until, true
            )
    group by restarts.restart_id
),

-- An outage that no attempt met although very many were to be expected, by those of the quarter hours about
-- it: lines about mail are lost. Mail comes in bursts: a few that were to be expected may not have come.
silent_outages as (
    select restarts.restart_id
    from restarts
    cross join config.thresholds as thresholds
    inner join staging.scan_attempts as attempts
        on
            restarts.host = attempts.host
            and attempts.began_at >= restarts.down_at - to_seconds(thresholds.attempt_rate_seconds)
            and attempts.began_at < restarts.down_at + to_seconds(thresholds.attempt_rate_seconds)
    where
        restarts.failure_count = 0
        and restarts.up_at_latest
        > restarts.down_at_earliest + to_seconds(thresholds.shortest_outage_seconds)
    group by
        restarts.restart_id,
        restarts.down_at_earliest,
        restarts.up_at_latest,
        thresholds.expected_attempt_count
    having
        count(*) * date_diff('microsecond', restarts.down_at_earliest, restarts.up_at_latest)
        >= thresholds.expected_attempt_count
        * date_diff('microsecond', min(attempts.began_at), max(attempts.began_at))
),

-- Mail that was released after the outage although no wait of it is seen: lines about it are lost.
late_releases as (
    select distinct restarts.restart_id
    from restarts
    inner join marts.held_messages as held_messages
        on restarts.restart_id = held_messages.restart_id and restarts.up_at < held_messages.released_at
),

-- A restart that only a command tells of, while mail that another one held was waiting: that mail's, or its
-- own. Nothing tells.
others_waiting as (
    select distinct restarts.restart_id
    from restarts
    inner join staging.held_waits as held_waits
        on
            restarts.host = held_waits.host
            and restarts.down_at > held_waits.deferred_at
            and restarts.down_at <= coalesce(held_waits.waited_until, held_waits.due_by)
    where restarts.outage_number is null and restarts.stopped_at is null and restarts.started_at is null
),

evidence as (
    select
        restarts.restart_id,
        restarts.host,
        restarts.down_at,
        restarts.up_at,
        restarts.has_maillog,
        restarts.is_start_covered,
        restarts.has_hiding_gap,
        restarts.odd_reason,
        others_waiting.restart_id is not null as is_mail_of_others_waiting,
        silent_outages.restart_id is not null or late_releases.restart_id is not null as has_lost_lines,
        orders.flush_commanded_at,
        orders.flush_marked_at,
        restart_flushes.flush_observed_at,
        coalesce(waits_at_end.waiting_count, 0) as waiting_count,
        coalesce(waits_at_end.maybe_waiting_count, 0) as maybe_waiting_count,
        coalesce(waits_at_end.sure_count, 0) as sure_count,
        waits_at_end.unended_count,
        coalesce(judgements.judged_count, 0) as judged_count,
        coalesce(judgements.flush_missed_count, 0) as flush_missed_count,
        coalesce(judgements.flush_failed_count, 0) as flush_failed_count,
        waits_at_end.doubt as waiting_doubt,
        waits_at_end.qmgr_start_count as waiting_qmgr_start_count,
        waits_at_end.doubtful_count as waiting_doubtful_count,
        later_doubts.doubt as later_doubt,
        judgements.open_count as judged_open_count,
        judgements.unended_count as judged_unended_count,
        judgements.doubt as judged_doubt,
        judgements.qmgr_start_count as judged_qmgr_start_count,
        judgements.ambiguous_count as judged_ambiguous_count,
        if(restarts.is_log_end, 'log_end', 'coverage_gap') as end_reason,
        if(restarts.is_log_end and waits_at_end.lost_count = 0, 'log_end', 'coverage_gap')
            as open_reason,
        case
            when orders.restart_id is not null then 'ordered'
            when restarts.has_manager_log and restarts.odd_reason is null then 'not_ordered'
            else 'unknown'
        end as flush_order,
        restarts.covered_until
        < restart_flushes.last_flushed_at + to_seconds(thresholds.longest_attempt_seconds)
            as is_cut_after_flush,
        coalesce(restarts.covered_until < restarts.window_until, true) as is_window_cut,
        restarts.covered_until < restarts.up_at as is_outage_cut
    from restarts
    cross join config.thresholds as thresholds
    left join orders
        on restarts.restart_id = orders.restart_id
    left join waits_at_end
        on restarts.restart_id = waits_at_end.restart_id
    left join judgements
        on restarts.restart_id = judgements.restart_id
    left join restart_flushes
        on restarts.restart_id = restart_flushes.restart_id
    left join later_doubts
        on restarts.restart_id = later_doubts.restart_id
    left join others_waiting
        on restarts.restart_id = others_waiting.restart_id
    left join silent_outages
        on restarts.restart_id = silent_outages.restart_id
    left join late_releases
        on restarts.restart_id = late_releases.restart_id
),

-- Why the verdict stays open, NULL where it does not. First what the log lacks, then what it cannot tell.
doubts as (
    select
        *,
        case
            when not has_maillog then 'no_maillog'
            when odd_reason is not null then odd_reason
            when up_at is null then 'still_down'
            when has_hiding_gap then 'coverage_gap'
            when unended_count > 0 and is_window_cut then end_reason
            when not is_start_covered then 'coverage_gap'
            when maybe_waiting_count = 0 and judged_count = 0
                then
                    case
                        when is_outage_cut then end_reason
                        when has_lost_lines then 'coverage_gap'
                        when is_mail_of_others_waiting then 'too_few_messages'
                    end
            when flush_observed_at is not null
                then
                    if(
                        judged_unended_count > 0,
                        if(is_cut_after_flush, end_reason, 'coverage_gap'),
                        later_doubt
                    )
            when flush_order = 'ordered'
                then
                    case
                        when judged_doubt is not null then judged_doubt
                        when judged_qmgr_start_count > 0 then 'qmgr_restart'
                        when judged_open_count > 0 and judged_open_count = judged_count
                            then open_reason
                        when judged_count = judged_ambiguous_count + judged_open_count
                            then 'too_few_messages'
                        when judged_count = 0 then 'too_few_messages'
                    end
            when waiting_doubt is not null then waiting_doubt
            when waiting_count > 0 and sure_count = 0 then open_reason
            -- It was taken before the service is known to have been up.
            when waiting_count = 0 then 'too_few_messages'
            when sure_count = waiting_doubtful_count
                then if(waiting_qmgr_start_count > 0, 'qmgr_restart', 'too_few_messages')
        end as verdict_reason
    from evidence
)

select
    restart_id,
    host,
    case
        when verdict_reason is not null then 'unknown'
        when maybe_waiting_count = 0 and judged_count = 0 then 'not_needed'
        when flush_observed_at is null and flush_order = 'ordered' then 'ineffective'
        when flush_observed_at is null then 'missing'
        when flush_missed_count + flush_failed_count = 0 then 'effective'
        else 'ineffective'
    end as flush_verdict,
    verdict_reason,
    flush_order,
    if(verdict_reason is null, flush_missed_count, null) as flush_missed_count,
    if(verdict_reason is null, flush_failed_count, null) as flush_failed_count,
    flush_commanded_at,
    flush_marked_at,
    flush_observed_at
from doubts
