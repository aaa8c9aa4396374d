-- One row per delivery attempt of any message, with its queue entry and whether the next hop took it.
-- It may have taken one whose session broke when the message was sent and the reply did not come (`message
-- may be sent more than once`); is_taken says so. queued_as is the queue id that the reply of a local hop
-- names: Postfix says `queued as QID`, sendmail `QID Message accepted for delivery`, and a scan service hands
-- on the reply of the MTA behind it. Another host's queue ids are of no use here.
with attempts as (
    select
        qmgr_instances.queue_number,
        attempts.host,
        attempts.queue_id,
        coalesce(later_lifetimes.lifetime, 0) as lifetime,
        attempts.recipient,
        attempts.relay_host || coalesce('[' || attempts.relay_address || ']', '')
        || coalesce(':' || attempts.relay_port, '') as relay,
        attempts.reason,
        attempts.status = 'sent' as is_sent,
        attempts.status = 'bounced' as is_bounced,
        attempts.status = 'sent'
        or coalesce(attempts.reason like '% message may be sent more than once', false) as is_taken,
        -- All recipients of a line have the same hop.
        exists(
            select 1 from staging.scan_attempts as scan_attempts
            where
                attempts.host = scan_attempts.host
                and source_order.source_number = scan_attempts.source_number
                and attempts.line_number = scan_attempts.line_number
        ) as is_scan_hop,
        coalesce(starts_with(attempts.relay_address, '127.') or attempts.relay_address = '::1', false)
            as is_loopback,
        attempts.logged_at - to_milliseconds(cast(1000 * attempts.delay_seconds as bigint)) as arrived_at,
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
)

select
    queue_number,
    host,
    queue_id,
    lifetime,
    recipient,
    relay,
    case
        when not is_sent or not (is_scan_hop or is_loopback) then null
        when reason like '% queued as %'
            then nullif(regexp_extract(reason, ' queued as ([0-9A-Za-z]{6,})', 1), '')
        when reason like '% Message accepted for delivery%'
            then nullif(regexp_extract(reason, '\b([0-9A-Za-x]{8}[0-9]{6,}) Message accepted', 1), '')
    end as queued_as,
    is_sent,
    is_bounced,
    is_taken,
    is_scan_hop,
    is_scan_hop or is_loopback as is_local_hop,
    arrived_at,
    began_at,
    logged_at
from attempts
