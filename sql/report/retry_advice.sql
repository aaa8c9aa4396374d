-- One row per host with Postfix whose held mail the page shows, with the retry settings that are recommended.
select
    retry_advice.host,
    retry_advice.reason,
    retry_advice.recommended_queue_run_delay_seconds,
    retry_advice.recommended_minimal_backoff_seconds,
    retry_advice.daily_extra_retry_count,
    retry_advice.advised_daily_queue_run_count - retry_advice.daily_queue_run_count
        as daily_extra_queue_run_count
from marts.retry_advice as retry_advice
where
    exists (
        select 1
        from report.restarts as restarts
        where retry_advice.host = restarts.host and restarts.held_message_count > 0
    )
order by retry_advice.host
