-- One row per host, with what is known about its build, how it behaved, and what to do.
-- behaviour and the current_ counts cover the restarts since the last change of product, build, wrapper or
-- MTA; all other counts and delays cover all restarts. A restart is evidence if mail waited after it, its
-- verdict is known, and the queue was not flushed by somebody else. If the defect is intermittent, a flush
-- is as expected; with sendmail, which the product does not flush, a missing one is.
with texts as (
    select
        host,
        position,
        code,
        text_en,
        text_ja,
        if(
            len(commands) = 0, '',
            chr(10) || '    ' || array_to_string(commands, chr(10) || '    ')
        ) as commands
    from marts.host_advice
),

advice as (
    select
        host,
        list(code order by position) as advice,
        string_agg(text_en || commands, chr(10) || chr(10) order by position) as advice_text,
        string_agg(text_ja || commands, chr(10) || chr(10) order by position) as advice_text_ja
    from texts
    group by host
)

select
    evidence.host,
    evidence.product,
    evidence.version,
    evidence.build,
    evidence.wrapper_md5,
    evidence.mta,
    evidence.build_verdict,
    case
        when evidence.current_flushed_count + evidence.current_missing_count = 0 then 'no_evidence'
        when evidence.mta = 'sendmail' then 'as_expected'
        when evidence.build_verdict = 'fixed'
            then if(evidence.current_missing_count = 0, 'as_expected', 'unexpected_missing')
        when evidence.build_verdict = 'known_defective'
            then
                if(
                    evidence.current_missing_count > 0 or evidence.is_intermittent,
                    'as_expected',
                    'defect_not_seen'
                )
        else if(evidence.current_missing_count = 0, 'defect_not_seen', 'defect_found')
    end as behaviour,
    coalesce(advice.advice, []) as advice,
    coalesce(advice.advice_text, '') as advice_text,
    coalesce(advice.advice_text_ja, '') as advice_text_ja,
    evidence.queue_run_delay_seconds,
    evidence.minimal_backoff_seconds,
    evidence.maximal_backoff_seconds,
    evidence.bounce_queue_lifetime_seconds,
    evidence.restart_count,
    evidence.restarts_with_held_mail_count,
    evidence.missing_flush_count,
    evidence.not_noticed_count,
    evidence.wrapper_defect_count,
    evidence.order_without_effect_count,
    evidence.overlong_count,
    evidence.held_message_count,
    evidence.lost_message_count,
    evidence.lost_bounce_count,
    evidence.current_restart_count,
    evidence.current_flushed_count,
    evidence.current_missing_count,
    evidence.current_not_noticed_count,
    evidence.current_overlong_count,
    evidence.restart_delay_p50_seconds,
    evidence.restart_delay_p95_seconds,
    evidence.restart_delay_max_seconds,
    evidence.missing_wait_max_seconds,
    evidence.retry_wait_max_seconds,
    evidence.advised_wait_max_seconds,
    evidence.current_from
from staging.host_evidence as evidence
left join advice
    on evidence.host = advice.host
