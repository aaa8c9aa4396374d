-- One row per gap in the logs of the hosts with news that only the old marts have, or only the present log.
-- Gaps derived from lines are left out: they are rebuilt from the lines.
with gaps_before as (
    select
        gaps.host,
        gaps.log_kind,
        gaps.gap_from,
        gaps.gap_until,
        gaps.reason
    from before.coverage as gaps
    semi join settled.news as news
        on gaps.host = news.host
    where gaps.reason not in ('missing_lines', 'clock_set_back')
),

gaps_now as (
    select
        gaps.host,
        gaps.log_kind,
        gaps.gap_from,
        gaps.gap_until,
        gaps.reason
    from staging.log_gaps as gaps
    semi join settled.news as news
        on gaps.host = news.host
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
