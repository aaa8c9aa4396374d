-- One row per host and syslog_name that writes of messages, with the qmgr that they belong to.
-- A service may log under a name of its own (master.cf: -o syslog_name=...), such as the transport to the
-- scan service or the port behind it: where no qmgr uses that name and the host has a single qmgr, its
-- messages belong to that one. sendmail's queues have their own. queue_number stands for host and instance.
with qmgrs as (
    select
        host,
        instance,
        count(*) over (partition by host) as qmgr_count
    from (select distinct
        host,
        instance
    from events.queue_activations) as activating
),

lines as (
    select
        host,
        instance,
        mailer is not null as is_by_sendmail
    from events.delivery_attempts

    union all by name

    select
        host,
        instance
    from events.clients

    union all by name

    select
        host,
        instance
    from events.message_ids

    union all by name

    select
        host,
        instance
    from events.queue_activations

    union all by name

    select
        host,
        instance
    from events.queue_removals
),

loggers as (
    select
        host,
        instance as logging_instance,
        coalesce(bool_or(is_by_sendmail), false) as is_by_sendmail
    from lines
    group by host, instance
)

select
    loggers.host,
    loggers.logging_instance,
    coalesce(own.instance, sole.instance, loggers.logging_instance) as instance,
    dense_rank() over (
        order by loggers.host, coalesce(own.instance, sole.instance, loggers.logging_instance)
    ) as queue_number
from loggers
left join qmgrs as own
    on loggers.host = own.host and loggers.logging_instance = own.instance
left join qmgrs as sole
    on loggers.host = sole.host and sole.qmgr_count = 1 and not loggers.is_by_sendmail
