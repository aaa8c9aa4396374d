-- One row per host and syslog_name under which messages are logged, with whether sendmail or a qmgr logs
-- under it, and whether its delivery lines have a port: Postfix before 2.3 logs none.
with lines as (
    select
        host,
        instance,
        mailer is not null as is_by_sendmail,
        false as is_qmgr,
        relay_port is not null as has_relay_port
    from events.delivery_attempts

    union all

    select
        host,
        instance,
        false as is_by_sendmail,
        false as is_qmgr,
        false as has_relay_port
    from events.clients

    union all

    select
        host,
        instance,
        false as is_by_sendmail,
        false as is_qmgr,
        false as has_relay_port
    from events.message_ids

    union all

    select
        host,
        instance,
        false as is_by_sendmail,
        true as is_qmgr,
        false as has_relay_port
    from events.queue_activations

    union all

    select
        host,
        instance,
        false as is_by_sendmail,
        false as is_qmgr,
        false as has_relay_port
    from events.queue_removals
)

select
    host,
    instance,
    bool_or(is_by_sendmail) as is_by_sendmail,
    bool_or(is_qmgr) as is_qmgr,
    bool_or(has_relay_port) as has_relay_port
from lines
group by host, instance
