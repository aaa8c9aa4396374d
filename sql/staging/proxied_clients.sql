-- One row per queue entry that came through a proxy in front of the queue, with the client that gave it.
-- IMSVA's port 25 hands each mail to the sender filter while the client waits (smtpd_proxy_filter): the
-- client's line names no message (NOQUEUE), and a later line of the same smtpd gives the message's queue
-- id. For the queue, the proxy is the client.
with accepted as (
    select
        host,
        pid,
        -- What the client wrote comes after the first semicolon.
        regexp_extract(message, '^proxy-accept: END-OF-MESSAGE: [^;]* queued as ([0-9A-Za-z]{6,});', 1)
            as queued_as,
        logged_at
    from events.other_lines
    where line_kind = 'proxy' and queue_id is null
),

known as (
    select
        accepted.host,
        accepted.queued_as,
        clients.client_host,
        clients.client_address,
        accepted.logged_at
    from accepted
    asof inner join (
        select * from events.clients
        where queue_id is null
    ) as clients
        on
            accepted.host = clients.host
            and accepted.pid = clients.pid
            and accepted.logged_at >= clients.logged_at
    where accepted.queued_as <> ''
)

select
    entries.entry_number,
    min(known.client_host) as client_host,
    min(known.client_address) as client_address
from known
asof inner join (
    select candidates.* from staging.queue_entries as candidates
    semi join known as names
        on candidates.host = names.host and candidates.queue_id = names.queued_as
) as entries
    on
        known.host = entries.host
        and known.queued_as = entries.queue_id
        and known.logged_at + to_seconds(1) >= entries.arrived_at
group by entries.entry_number
