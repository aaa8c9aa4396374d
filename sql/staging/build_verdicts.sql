-- One row per host and span of unchanged settings, with what is known of its build's flush and what the
-- document says to do about it (an empty list where there is nothing to do).
-- A host whose version is not given is taken for a 9.1, the only one that the rules speak of. The product
-- flushes no other queue than Postfix's: with sendmail all that helps is to run the queue more often.
-- is_retry_short: whether the retry settings are known and as short already as advice would make them.
with verdicts as (
    select
        host_history.host,
        host_history.mta,
        host_history.wrapper_md5,
        case
            when host_history.product is null or host_history.build is null then 'unknown'
            when build_rules.build_verdict is null then 'unspecified'
            when lower(host_history.wrapper_md5) <> build_rules.wrapper_md5 then 'fixed'
            else build_rules.build_verdict
        end as build_verdict,
        build_rules.wrapper_md5 as defective_md5,
        build_rules.advice,
        build_rules.is_intermittent,
        host_history.queue_run_delay_seconds <= thresholds.advised_retry_seconds
        and host_history.minimal_backoff_seconds <= thresholds.advised_retry_seconds as is_retry_short,
        host_history.valid_from,
        host_history.valid_until
    from fleet.host_history as host_history
    cross join config.thresholds as thresholds
    left join staging.build_rules as build_rules
        on
            host_history.product = build_rules.product
            and coalesce(host_history.version, build_rules.version) = build_rules.version
            and host_history.build >= build_rules.build_from
            and host_history.build < coalesce(build_rules.build_before, host_history.build + 1)
)

select
    host,
    mta,
    build_verdict,
    case
        when mta = 'sendmail' then ['shorten_queue_interval']
        when build_verdict <> 'known_defective' then []
        -- The md5 is known already, and it is the defective one.
        when wrapper_md5 is not null and defective_md5 is not null then ['edit_wrapper']
        else advice
    end as advice,
    coalesce(is_intermittent, false) as is_intermittent,
    coalesce(is_retry_short, false) as is_retry_short,
    valid_from,
    valid_until
from verdicts
