-- One row per queue, second in which deferred mail was tried again, and class of its age.
-- All deferred mail counts, whatever it waited for. A class holds ages from age_class_seconds to twice as
-- much: Postfix waits the longer, the older mail is (qmgr_active.c). sendmail has no such rule.
select
    host,
    instance,
    cast(pow(2, floor(log2(greatest(age_seconds, 1)))) as bigint) as age_class_seconds,
    count(*) as retry_count,
    cast(sum(waited_seconds) as double) as waited_seconds,
    date_trunc('second', reactivated_at) as retried_at
from staging.deferred_waits
where reactivated_at is not null and not is_by_sendmail
group by host, instance, age_class_seconds, date_trunc('second', reactivated_at)
