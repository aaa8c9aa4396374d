-- One row per host and span of unchanged settings, with what is known of its build's flush.
-- A host whose version is not given is taken for a 9.1, the only one that the rules speak of. The product
-- flushes no other queue than Postfix's: with sendmail all that helps is to run the queue more often.
select
    host_history.host,
    case
        when host_history.product is null or host_history.build is null then 'unknown'
        when build_rules.build_verdict is null then 'unspecified'
        when lower(host_history.wrapper_md5) <> build_rules.wrapper_md5 then 'fixed'
        else build_rules.build_verdict
    end as build_verdict,
    case
        when host_history.mta = 'sendmail' then 'shorten_queue_interval'
        when build_rules.advice = 'edit_wrapper' and host_history.wrapper_md5 is null then 'check_wrapper'
        else build_rules.advice
    end as advice,
    host_history.valid_from,
    host_history.valid_until
from fleet.host_history as host_history
left join staging.build_rules as build_rules
    on
        host_history.product = build_rules.product
        and coalesce(host_history.version, build_rules.version) = build_rules.version
        and host_history.build >= build_rules.build_from
        and host_history.build < coalesce(build_rules.build_before, host_history.build + 1)
