-- One row per span in which a maillog visibly lacks lines about a message.
-- Postfix ends each activation with a delivery (status=) for every recipient, and logs a message from its
-- arrival on. Lines are lost if a message was activated and, without a delivery in between, activated again
-- (other than by the start of a qmgr, which logs its active mail again) or removed; if it was activated and
-- the log goes on for longest_attempt_seconds without another line about it; or if the delay of its
-- deliveries implies an arrival more than lost_arrival_seconds before its first line. Other lines, such as
-- those of a flush, may have been lost with them. A line that exists but proves nothing
-- (events.unparsed_lines) is not lost: a sender's text must not put a verdict in doubt.
with unanswered_rounds as (
    select
        rounds.host,
        rounds.instance,
        rounds.queue_id,
        rounds.activated_at as lost_from,
        coalesce(rounds.removed_at, rounds.reactivated_at) as lost_until
    from staging.delivery_rounds as rounds
    asof left join staging.qmgr_starts as qmgr_starts
        on
            rounds.host = qmgr_starts.host
            and rounds.instance = qmgr_starts.instance
            and coalesce(rounds.removed_at, rounds.reactivated_at) >= qmgr_starts.started_at
    where
        rounds.activated_at is not null
        and rounds.attempt_count = 0
        and not rounds.is_computed
        and not coalesce(rounds.is_skipped, false)
        and not coalesce(rounds.is_expired, false)
        and (rounds.taken_out_at is null or rounds.taken_out_at = rounds.removed_at)
        and (rounds.removed_at is not null or rounds.reactivated_at is not null)
        and coalesce(qmgr_starts.started_at < rounds.activated_at, true)
),

unanswered_entries as (
    select
        host,
        instance,
        queue_id,
        arrived_at as lost_from,
        left_at as lost_until
    from staging.queue_entries
    where outcome = 'removed' and size_bytes is not null and not is_deferred and not is_reactivated
),

logs as (
    select
        host,
        min(first_logged_at) as log_from,
        max(last_logged_at) as log_until
    from ops.line_counts
    where log_kind = 'maillog'
    group by host
),

unread_lines as (
    select distinct
        host,
        regexp_extract(line, ': ([0-9A-Za-z]{6,}): ', 1) as queue_id
    from events.unparsed_lines
    where reason <> 'no_header'
),

unended_rounds as (
    select
        rounds.host,
        rounds.instance,
        rounds.queue_id,
        rounds.activated_at
    from staging.delivery_rounds as rounds
    where
        rounds.activated_at is not null
        and rounds.attempt_count = 0
        and not rounds.is_computed
        and not coalesce(rounds.is_skipped, false)
        and not coalesce(rounds.is_expired, false)
        and rounds.taken_out_at is null
        and rounds.reactivated_at is null

    union all

    select
        host,
        instance,
        queue_id,
        coalesce(told_arrival_at, first_logged_at) as activated_at
    from staging.entry_facts
    where
        activated_recipient_count is not null
        and last_attempted_at is null
        and removed_at is null
        and not is_expired
        and not is_reactivated
),

unended as (
    select
        rounds.host,
        rounds.instance,
        rounds.queue_id,
        rounds.activated_at as lost_from,
        rounds.activated_at + to_seconds(thresholds.longest_attempt_seconds) as lost_until
    from unended_rounds as rounds
    cross join config.thresholds as thresholds
    inner join logs
        on
            rounds.host = logs.host
            and rounds.activated_at + to_seconds(thresholds.longest_attempt_seconds) < logs.log_until
),

beheaded_entries as (
    select
        facts.host,
        facts.instance,
        facts.queue_id,
        facts.told_arrival_at as lost_from,
        facts.first_logged_at as lost_until
    from staging.entry_facts as facts
    cross join config.thresholds as thresholds
    inner join logs
        on facts.host = logs.host and facts.told_arrival_at > logs.log_from
    where
        facts.first_logged_at
        > facts.told_arrival_at + to_seconds(thresholds.lost_arrival_seconds)
)

select distinct
    spans.host,
    spans.lost_from,
    -- Stamps of whole seconds are cut.
    spans.lost_until + to_seconds(1) as lost_until
from (
    select * from unanswered_rounds

    union all

    select * from unanswered_entries

    union all

    select * from unended

    union all

    select * from beheaded_entries
) as spans
anti join unread_lines
    on spans.host = unread_lines.host and spans.queue_id = unread_lines.queue_id
-- sendmail tells neither.
anti join staging.log_instances as sendmails
    on
        spans.host = sendmails.host
        and spans.instance = sendmails.instance
        and sendmails.is_by_sendmail
