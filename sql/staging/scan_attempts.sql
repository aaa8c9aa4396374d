-- One row per delivery attempt to the scan service, with what it shows about the service.
with attempts as (
    select
        *,
        -- A stamp of whole seconds was cut: the line was written at any instant up to a second later.
        to_seconds(if(microsecond(logged_at) % 1000000 = 0, 1, 0)) as cut
    from staging.attempts
    where is_scan_hop
)

select
    host,
    instance,
    queue_id,
    recipient,
    status,
    cause,
    source_number,
    line_number,
    status = 'sent' or cause = 'rejected' as is_answered,
    cause in ('refused', 'greeting_lost', 'session_lost', 'timed_out', 'turned_away') as is_real_failure,
    is_fresh_connection,
    coalesce(cause = 'session_lost', false) as is_interrupted,
    is_possible_duplicate,
    is_hop_inferred,
    began_at,
    began_at + cut as began_before,
    logged_at,
    logged_at + cut as logged_before
from attempts
