-- One row per delivery attempt to the scan service, with the cause of its failure.
-- The scan hop is told by the relay's port, else by the port in the reason. A reason without a port takes
-- the hop of the latest attempt with the same reason on that instance; where there is none, loopback
-- counts and is_hop_inferred is set. sendmail (it has a mailer) logs no port at all: loopback counts, but
-- for local submissions, which wait for port 25. What it defers without an address in relay= it has not
-- tried: the host failed earlier in the same queue run.
-- Nearly all attempts are sent to a port that relay= names: nothing else needs to be asked about them.
with attempts as not materialized (
    select
        attempts.host,
        qmgr_instances.instance,
        attempts.queue_id,
        attempts.recipient,
        attempts.status,
        attempts.mailer,
        attempts.relay_host,
        attempts.relay_address,
        attempts.relay_port,
        attempts.connection_use_count,
        attempts.connection_setup_seconds,
        attempts.transmission_seconds,
        attempts.reason,
        attempts.logged_at,
        source_order.source_number,
        attempts.line_number,
        host_history.scan_port,
        attempts.status = 'sent' and attempts.mailer is null and attempts.relay_port is not null
            as is_sent_to_port
    from events.delivery_attempts as attempts
    inner join staging.source_order as source_order
        on attempts.source_id = source_order.source_id
    inner join staging.qmgr_instances as qmgr_instances
        on
            attempts.host = qmgr_instances.host
            and attempts.instance = qmgr_instances.logging_instance
    inner join fleet.host_history as host_history
        on
            attempts.host = host_history.host
            and attempts.logged_at >= coalesce(host_history.valid_from, '-infinity')
            and attempts.logged_at < coalesce(host_history.valid_until, 'infinity')
),

untold as (
    select
        *,
        ltrim(rtrim(relay_host, '].'), '[') as relay_name,
        starts_with(reason, 'delivery temporarily suspended: ')
        or (mailer is not null and status = 'deferred' and relay_address is null) as is_suspended,
        regexp_replace(coalesce(reason, ''), '^delivery temporarily suspended: ', '') as failure
    from attempts
    where not is_sent_to_port
),

parsed as (
    select
        *,
        regexp_extract(
            failure,
            '^(connect to|lost connection with|conversation with|host) [^\[ ]*\[([^\]]*)\](?::([0-9]+))?',
            ['verb', 'address', 'port']
        ) as peer
    from untold
),

ports as (
    select
        parsed.*,
        parsed.peer['verb'] as verb,
        parsed.peer['address'] as address,
        coalesce(parsed.relay_port, try_cast(parsed.peer['port'] as integer)) as port
    from parsed

    union all by name

    -- What was sent may tell the hop of what failed for the same reason.
    select
        attempts.*,
        coalesce(attempts.reason, '') as failure,
        attempts.relay_port as port
    from attempts
    semi join untold
        on coalesce(attempts.reason, '') = untold.failure
    where attempts.is_sent_to_port
),

hops as (
    select
        *,
        case
            when port is not null then port
            when status <> 'sent'
                then last_value(port ignore nulls) over (
                    partition by host, instance, failure
                    order by logged_at, source_number, line_number
                    rows unbounded preceding
                )
        end as hop_port
    from ports
),

scan_hops as (
    select
        *,
        hop_port is null as is_hop_inferred
    from hops
    where
        not is_sent_to_port
        and (
            hop_port = scan_port
            or (mailer is null and hop_port is null and (starts_with(address, '127.') or address = '::1'))
            or (
                mailer is not null
                and instance <> 'sm-msp-queue'
                and (starts_with(relay_name, '127.') or relay_name in ('localhost', 'IPv6:::1', '::1'))
            )
        )
),

causes as (
    select
        *,
        case
            when status = 'sent' then null
            when is_suspended then 'suspended'
            when mailer is not null
                then
                    case
                        when failure like 'Connection refused%' then 'refused'
                        when failure like '%timed out%' then 'timed_out'
                        when failure = '' or regexp_matches(failure, '^(Connection reset|Broken pipe)')
                            then 'session_lost'
                        when failure like '421 %' then 'turned_away'
                        when status = 'bounced' or regexp_matches(failure, '^[45][0-9]{2} ') then 'rejected'
                    end
            when verb = 'connect to' and failure like '% timed out' then 'timed_out'
            when verb = 'connect to' then 'refused'
            when verb = 'host' and regexp_matches(failure, '^[^ ]+ [^ ]+ refused to talk to me: ')
                then 'turned_away'
            when verb = 'host' then 'rejected'
            when
                verb = 'lost connection with'
                and regexp_matches(failure, ' while (receiving the initial server|performing the) ')
                then 'greeting_lost'
            when verb = 'lost connection with' then 'session_lost'
            when verb = 'conversation with' then 'timed_out'
        end as cause
    from scan_hops
),

scanned as (
    select *
    from causes

    union all by name

    select
        *,
        coalesce(reason, '') as failure,
        false as is_hop_inferred
    from attempts
    where is_sent_to_port and relay_port = scan_port
),

timed as (
    select
        *,
        logged_at
        - to_microseconds(
            cast(
                1e6 * coalesce(connection_setup_seconds, 0) + 1e6 * coalesce(transmission_seconds, 0)
                as bigint
            )
        ) as began_at,
        -- A stamp of whole seconds was cut: the line was written at any instant up to a second later.
        to_seconds(if(microsecond(logged_at) % 1000000 = 0, 1, 0)) as cut
    from scanned
)

select
    host,
    instance,
    queue_id,
    recipient,
    status,
    cause,
    source_number,
    line_number,
    status = 'sent' or cause = 'rejected' as is_answered,
    cause in ('refused', 'greeting_lost', 'session_lost', 'timed_out', 'turned_away') as is_real_failure,
    connection_use_count is null as is_fresh_connection,
    coalesce(cause = 'session_lost', false) as is_interrupted,
    failure like '% message may be sent more than once' as is_possible_duplicate,
    is_hop_inferred,
    began_at,
    began_at + cut as began_before,
    logged_at,
    logged_at + cut as logged_before
from timed
where status = 'sent' or cause is not null
