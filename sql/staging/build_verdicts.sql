-- One row per host and span of unchanged settings, with what is known of its build's flush and what the
-- document says to do about it (an empty list where there is nothing to do).
-- An unknown version is taken for 9.1, the only version in the rules. The product flushes only Postfix's
-- queue: with sendmail, the only help is to run the queue more often. A guessed product says nothing about
-- the build. is_md5_defective: whether the wrapper script, of whatever build, is the defective one; IMSVA
-- has a different problem.
-- is_retry_short: whether the retry settings are known and already as short as advised.
with hosts as (
    select
        host_history.*,
        if(host_history.product_source = 'guess', null, host_history.product) as told_product
    from fleet.host_history as host_history
),

defective_wrappers as (
    select distinct wrapper_md5
    from staging.build_rules
    where wrapper_md5 is not null
),

verdicts as (
    select
        hosts.host,
        hosts.mta,
        hosts.product,
        hosts.build,
        hosts.time_zone,
        hosts.wrapper_md5,
        case
            when hosts.told_product is null or hosts.build is null then 'unknown'
            when build_rules.build_verdict is null then 'unspecified'
            when lower(hosts.wrapper_md5) <> build_rules.wrapper_md5 then 'fixed'
            else build_rules.build_verdict
        end as build_verdict,
        build_rules.wrapper_md5 as defective_md5,
        build_rules.advice,
        build_rules.is_intermittent,
        defective_wrappers.wrapper_md5 is not null
        and coalesce(hosts.told_product <> 'imsva', true) as is_md5_defective,
        hosts.queue_run_delay_seconds <= thresholds.advised_retry_seconds
        and hosts.minimal_backoff_seconds <= thresholds.advised_retry_seconds as is_retry_short,
        hosts.valid_from,
        hosts.valid_until
    from hosts
    cross join config.thresholds as thresholds
    left join staging.build_rules as build_rules
        on
            hosts.told_product = build_rules.product
            and coalesce(hosts.version, build_rules.version) = build_rules.version
            and hosts.build >= build_rules.build_from
            and hosts.build < coalesce(build_rules.build_before, hosts.build + 1)
    left join defective_wrappers
        on lower(hosts.wrapper_md5) = defective_wrappers.wrapper_md5
)

select
    host,
    mta,
    product,
    build,
    time_zone,
    build_verdict,
    case
        when mta = 'sendmail' then ['shorten_queue_interval']
        when build_verdict <> 'known_defective' then []
        -- The md5 is known already, and it is the defective one.
        when wrapper_md5 is not null and defective_md5 is not null then ['edit_wrapper']
        else advice
    end as advice,
    coalesce(is_intermittent, false) as is_intermittent,
    is_md5_defective,
    coalesce(is_retry_short, false) as is_retry_short,
    valid_from,
    valid_until
from verdicts
