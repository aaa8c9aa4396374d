-- One row per host and piece of advice, with the host's missing flushes of the days shown.
with missing as (
    select
        host,
        count(*) as missing_count,
        sum(avoidable_delay_total_seconds) as avoidable_seconds
    from report.restarts
    where is_missing
    group by host
)

select
    advice.host,
    advice.position,
    advice.code,
    advice.title_en,
    advice.title_ja,
    advice.text_en,
    advice.text_ja,
    advice.commands,
    coalesce(missing.missing_count, 0) as missing_count,
    coalesce(missing.avoidable_seconds, 0) as avoidable_seconds
from marts.host_advice as advice
left join missing on advice.host = missing.host
order by missing_count desc, advice.host asc, advice.position asc
