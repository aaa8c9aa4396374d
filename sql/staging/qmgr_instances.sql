-- One row per host and syslog_name that writes delivery attempts, with the qmgr that they belong to.
-- A transport may log under a name of its own (master.cf: -o syslog_name=...): where no qmgr uses that
-- name and the host has a single qmgr, its attempts belong to that one. sendmail's queues have their own.
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

loggers as (
    select distinct
        host,
        instance as logging_instance,
        mailer is not null as is_by_sendmail
    from events.delivery_attempts
)

select
    loggers.host,
    loggers.logging_instance,
    coalesce(own.instance, sole.instance, loggers.logging_instance) as instance
from loggers
left join qmgrs as own
    on loggers.host = own.host and loggers.logging_instance = own.instance
left join qmgrs as sole
    on loggers.host = sole.host and sole.qmgr_count = 1 and not loggers.is_by_sendmail
