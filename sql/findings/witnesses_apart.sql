-- One row per host whose maillog shows outages whole half hours away from those in its other logs, with the
-- distance.
-- These outages have one witness only. Two outages are a pair if they are whole half hours
-- (`$step_seconds`) apart, give or take `$margin_seconds`, and 15 hours at most. Some pairs arise by
-- chance: at least `$fewest_apart` pairs, and half of all possible pairs, must be the same distance apart.
with alone as (
    select
        host,
        restart_id,
        down_at,
        evidence = ['maillog'] as is_by_maillog
    from marts.restarts
    where evidence = ['maillog'] or not list_contains(evidence, 'maillog')
),

pairs as (
    select
        by_maillog.host,
        by_maillog.restart_id,
        others.restart_id as other_id,
        epoch(by_maillog.down_at) - epoch(others.down_at) as apart_seconds,
        cast(round(apart_seconds / $step_seconds) as bigint) as half_hours
    from alone as by_maillog
    inner join alone as others
        on
            by_maillog.host = others.host
            and by_maillog.is_by_maillog
            and not others.is_by_maillog
            and others.down_at between by_maillog.down_at - interval 15 hours
            and by_maillog.down_at + interval 15 hours
    where
        half_hours <> 0
        and abs(apart_seconds - half_hours * $step_seconds) <= $margin_seconds
),

counts as (
    select
        host,
        least(count(*) filter (where is_by_maillog), count(*) filter (where not is_by_maillog)) as pair_count
    from alone
    group by host
)

select
    pairs.host,
    pairs.half_hours,
    least(count(distinct pairs.restart_id), count(distinct pairs.other_id)) as apart_count
from pairs
inner join counts
    on pairs.host = counts.host
group by pairs.host, pairs.half_hours, counts.pair_count
having apart_count >= $fewest_apart and 2 * apart_count >= counts.pair_count
qualify row_number() over (partition by pairs.host order by apart_count desc, abs(pairs.half_hours) asc) = 1
order by pairs.host
