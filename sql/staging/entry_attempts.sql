-- One row per delivery attempt of any message, with its queue entry and whether the next hop took it.
-- It may have taken one whose session broke when the message was sent and the reply did not come (`message
-- may be sent more than once`); is_taken says so. queued_as is the queue id that the reply names: Postfix
-- says `queued as QID`, sendmail `QID Message accepted for delivery`, and a scan service hands on the reply
-- of the MTA behind it.
with attempts as (
    select
        attempts.host,
        qmgr_instances.instance,
        attempts.queue_id,
        coalesce(later_lifetimes.lifetime, 0) as lifetime,
        attempts.recipient,
        attempts.relay_host || coalesce('[' || attempts.relay_address || ']', '')
        || coalesce(':' || attempts.relay_port, '') as relay,
        attempts.reason,
        attempts.status = 'sent' as is_sent,
        attempts.status = 'sent'
        or coalesce(attempts.reason like '% message may be sent more than once', false) as is_taken,
        scan_attempts.host is not null as is_scan_hop,
        scan_attempts.host is not null
        or starts_with(attempts.relay_address, '127.')
        or attempts.relay_address = '::1' as is_local_hop,
        -- Where the parts of the delay are not logged, any instant since the arrival.
        attempts.logged_at - to_microseconds(
            cast(
                1e6 * coalesce(
                    attempts.connection_setup_seconds + attempts.transmission_seconds,
                    attempts.transmission_seconds,
                    attempts.delay_seconds
                )
                as bigint
            )
        ) as began_at,
        attempts.logged_at
    from events.delivery_attempts as attempts
    inner join staging.source_order as source_order
        on attempts.source_id = source_order.source_id
    inner join staging.qmgr_instances as qmgr_instances
        on
            attempts.host = qmgr_instances.host
            and attempts.instance = qmgr_instances.logging_instance
    left join staging.later_lifetimes as later_lifetimes
        on
            attempts.source_id = later_lifetimes.source_id
            and attempts.line_number = later_lifetimes.line_number
    left join staging.scan_attempts as scan_attempts
        on
            attempts.host = scan_attempts.host
            and source_order.source_number = scan_attempts.source_number
            and attempts.line_number = scan_attempts.line_number
            and attempts.recipient is not distinct from scan_attempts.recipient
)

select
    entries.entry_number,
    attempts.host,
    entries.message_id,
    attempts.recipient,
    attempts.relay,
    case
        when not attempts.is_sent then null
        when attempts.reason like '% queued as %'
            then nullif(regexp_extract(attempts.reason, ' queued as ([0-9A-Za-z]{6,})', 1), '')
        when attempts.reason like '% Message accepted for delivery%'
            then
                nullif(
                    regexp_extract(attempts.reason, '\b([0-9A-Za-x]{8}[0-9]{6,}) Message accepted', 1),
                    ''
                )
    end as queued_as,
    attempts.is_sent,
    attempts.is_taken,
    attempts.is_scan_hop,
    coalesce(attempts.is_local_hop, false) as is_local_hop,
    attempts.began_at,
    attempts.logged_at
from attempts
inner join staging.queue_entries as entries
    on
        attempts.host = entries.host
        and attempts.instance = entries.instance
        and attempts.queue_id = entries.queue_id
        and attempts.lifetime = entries.lifetime
