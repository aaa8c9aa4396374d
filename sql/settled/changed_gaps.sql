-- One row per gap in the logs of `$host` that only the old marts have, or only the present log.
-- Gaps derived from lines are left out: they are rebuilt from the lines.
with gaps_before as (
    select
        host,
        log_kind,
        gap_from,
        gap_until,
        reason
    from before.coverage
    where reason not in ('missing_lines', 'clock_set_back')
),

gaps_now as (
    select
        host,
        log_kind,
        gap_from,
        gap_until,
        reason
    from staging.log_gaps
    where host = $host
)

(
    from gaps_now

    except

    from gaps_before
)

union all

(
    from gaps_before

    except

    from gaps_now
)
