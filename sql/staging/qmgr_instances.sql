-- One row per host and syslog_name under which messages are logged, with the qmgr that they belong to.
-- A service may log under a separate name (master.cf: -o syslog_name=...), such as the transport to the
-- scan service or the port behind it: if no qmgr uses that name and the host has a single qmgr, the
-- messages belong to that qmgr. sendmail's queues have separate names. queue_number stands for host and
-- instance.
with qmgrs as (
    select
        host,
        instance,
        count(*) over (partition by host) as qmgr_count
    from staging.log_instances
    where is_qmgr
)

select
    loggers.host,
    loggers.instance as logging_instance,
    coalesce(own.instance, sole.instance, loggers.instance) as instance,
    dense_rank() over (
        order by loggers.host, coalesce(own.instance, sole.instance, loggers.instance)
    ) as queue_number
from staging.log_instances as loggers
left join qmgrs as own
    on loggers.host = own.host and loggers.instance = own.instance
left join qmgrs as sole
    on loggers.host = sole.host and sole.qmgr_count = 1 and not loggers.is_by_sendmail
