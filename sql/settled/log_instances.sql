-- One row per host and syslog_name, with what its lines showed so far: the lines that were read now, and
-- all earlier ones.
with instances as (
    select
        host,
        instance,
        is_by_sendmail,
        is_qmgr,
        has_relay_port
    from settled.made

    union all

    select
        host,
        instance,
        is_by_sendmail,
        is_qmgr,
        has_relay_port
    from settled.kept
)

select
    host,
    instance,
    bool_or(is_by_sendmail) as is_by_sendmail,
    bool_or(is_qmgr) as is_qmgr,
    bool_or(has_relay_port) as has_relay_port
from instances
group by host, instance
