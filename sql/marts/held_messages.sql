-- One row per message and restart that held it, with how long it waited.
-- A message is held if a restart made an attempt fail. A recipient's hold ends at the next
-- attempt that the service answered, or that failed in a later restart (which then holds it); the
-- message's hold ends with its last held recipient's. released_at is that end: a message that expired, was
-- deleted or requeued, or is pending has none. Attempts after the end of the hold do not count.
with held_messages as (
    select
        restart_id,
        host,
        instance,
        queue_id,
        lifetime,
        count(*) as held_recipient_count,
        -- max() skips the recipients whose hold has no end.
        if(bool_and(released_at is not null), max(released_at), null) as released_at
    from staging.held_recipients
    group by restart_id, host, instance, queue_id, lifetime
),

failures as (
    select
        held_recipients.restart_id,
        held_recipients.host,
        held_recipients.instance,
        held_recipients.queue_id,
        held_recipients.lifetime,
        count(*) as failed_attempt_count,
        arg_min(attempts.cause, attempts.attempt_number) as first_cause,
        bool_or(attempts.is_interrupted) as is_interrupted,
        bool_or(attempts.is_hop_inferred) as is_hop_inferred,
        min(attempts.logged_at) as first_deferred_at,
        max(attempts.logged_at) as last_deferred_at
    from staging.held_recipients as held_recipients
    inner join staging.held_attempts as attempts
        on
            held_recipients.restart_id = attempts.restart_id
            and held_recipients.instance = attempts.instance
            and held_recipients.queue_id = attempts.queue_id
            and held_recipients.lifetime = attempts.lifetime
            and held_recipients.recipient is not distinct from attempts.recipient
            and coalesce(held_recipients.end_number > attempts.attempt_number, true)
    group by
        held_recipients.restart_id,
        held_recipients.host,
        held_recipients.instance,
        held_recipients.queue_id,
        held_recipients.lifetime
),

described as (
    select
        held_messages.restart_id,
        held_messages.host,
        held_messages.instance,
        held_messages.queue_id,
        held_messages.lifetime,
        held_messages.held_recipient_count,
        failures.failed_attempt_count,
        failures.first_cause,
        failures.is_interrupted,
        failures.is_hop_inferred,
        failures.first_deferred_at,
        failures.last_deferred_at,
        messages.message_id,
        messages.sender,
        messages.size_bytes,
        messages.recipient_count,
        messages.outcome,
        messages.arrived_at,
        -- One recipient may be answered after another failed in a later restart: that one holds the
        -- message from then on.
        least(
            held_messages.released_at,
            lead(failures.first_deferred_at) over (
                partition by
                    held_messages.host,
                    held_messages.instance,
                    held_messages.queue_id,
                    held_messages.lifetime
                order by failures.first_deferred_at, held_messages.restart_id
            )
        ) as released_at,
        messages.removed_at
    from held_messages
    inner join failures
        on
            held_messages.restart_id = failures.restart_id
            and held_messages.instance = failures.instance
            and held_messages.queue_id = failures.queue_id
            and held_messages.lifetime = failures.lifetime
    inner join staging.messages as messages
        on
            held_messages.host = messages.host
            and held_messages.instance = messages.instance
            and held_messages.queue_id = messages.queue_id
            and held_messages.lifetime = messages.lifetime
),

-- The re-activation that led to the release, and the scan that it was part of.
with_release as (
    select
        described.*,
        waits.is_by_sendmail,
        waits.scan_number,
        waits.reactivated_at
    from described
    asof left join (
        select *
        from staging.waits
        where reactivated_at is not null
        qualify
            row_number() over (
                partition by host, instance, queue_id, lifetime, reactivated_at
                order by round_number desc
            ) = 1
    ) as waits
        on
            described.host = waits.host
            and described.instance = waits.instance
            and described.queue_id = waits.queue_id
            and described.lifetime = waits.lifetime
            and described.released_at >= waits.reactivated_at
)

select
    with_release.restart_id,
    with_release.host,
    with_release.instance,
    with_release.queue_id,
    with_release.lifetime,
    with_release.message_id,
    with_release.sender,
    with_release.first_cause,
    with_release.outcome,
    case
        when with_release.released_at is null then null
        when scans.is_flush then 'flush'
        when scans.is_queue_run then 'queue_run'
        -- A scan of due mail that leaves younger mail is no flush; what sendmail does in its rhythm is none.
        when
            scans.is_flush is false
            and not scans.is_at_qmgr_start
            and scans.early_count = 0
            and (scans.left_behind_count > 0 or with_release.is_by_sendmail)
            then 'queue_run'
        else 'unknown'
    end as released_by,
    with_release.size_bytes,
    with_release.recipient_count,
    with_release.held_recipient_count,
    with_release.failed_attempt_count,
    date_diff('millisecond', with_release.first_deferred_at, with_release.released_at) / 1000
        as restart_delay_seconds,
    date_diff('millisecond', with_release.arrived_at, with_release.released_at) / 1000
        as total_delay_seconds,
    with_release.first_cause = 'suspended' as is_never_tried,
    with_release.is_interrupted,
    with_release.is_hop_inferred,
    if(with_release.outcome = 'pending', pending_proofs.is_listed, null) as is_pending_proved,
    with_release.arrived_at,
    with_release.first_deferred_at,
    with_release.last_deferred_at,
    if(with_release.released_at is null, null, with_release.reactivated_at) as reactivated_at,
    with_release.released_at,
    with_release.removed_at
from with_release
left join staging.queue_scans as scans
    on
        with_release.host = scans.host
        and with_release.instance = scans.instance
        and with_release.scan_number = scans.scan_number
left join staging.pending_proofs as pending_proofs
    on
        with_release.host = pending_proofs.host
        and with_release.instance = pending_proofs.instance
        and with_release.queue_id = pending_proofs.queue_id
        and with_release.lifetime = pending_proofs.lifetime
