-- One row per recipient of a held message and restart, with how long the restart held the mail to it.
-- Only recipients that were deferred because of the restart. Several attempts to one recipient are one row.
select
    restart_id,
    host,
    instance,
    queue_id,
    recipient,
    lower(nullif(regexp_extract(recipient, '@([^@]+)$', 1), '')) as recipient_domain,
    date_diff('millisecond', first_deferred_at, released_at) / 1000 as restart_delay_seconds,
    first_deferred_at,
    released_at
from staging.held_recipients
