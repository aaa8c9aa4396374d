-- One row per delivery attempt of any message, with its hop, its cause if it failed at the scan service,
-- and what its reply says.
-- The scan hop is recognised by the relay's port, else by the port in the reason. A reason without a port
-- takes the hop of the latest attempt with the same reason on that instance. Without one, loopback counts
-- and is_hop_inferred is set; so for sent mail on a host whose lines have no ports. sendmail (it has a
-- mailer) logs no port at all: loopback counts, except for local submissions, which wait for port 25. Mail
-- that it defers without an address in relay= was not tried: the host failed earlier in the same queue run.
-- Loopback is an address, never a name: anybody may name a host 127.example.com. A name without an address
-- counts if the same host's log shows it at a loopback address.
-- A cause consists of the mail program's words only, from the first to the last: a server's reply, after
-- `said: ` or a reply code, may contain the same words. An impossible port does not lead to an inferred
-- hop. Nearly all attempts are sent to a port that relay= names, and need no further look-up.
-- is_taken: the next hop took the message, or may have taken it, because the session broke after the
-- message was sent and before the reply. queued_as is the queue id in the reply of a local hop: Postfix
-- says `queued as QID`, sendmail `QID Message accepted for delivery`, and a scan service passes on the
-- reply of the MTA behind it. Queue ids of other hosts are not used.
with attempts as not materialized (
    select
        qmgr_instances.queue_number,
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
        attempts.delay_seconds,
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

untold as materialized (
    select
        *,
        ltrim(rtrim(relay_host, '].'), '[') as relay_name,
        is_loopback(regexp_extract(relay_host, '^\[(.*)\]$', 1)) as is_named_by_loopback,
        is_loopback(relay_address) as is_at_loopback,
        starts_with(reason, 'delivery temporarily suspended: ')
        or (mailer is not null and status = 'deferred' and relay_address is null) as is_suspended,
        regexp_replace(coalesce(reason, ''), '^delivery temporarily suspended: ', '') as failure
    from attempts
    where not is_sent_to_port
),

-- smtp_connect.c and smtp_trouble.c of Postfix.
worded as (
    select
        *,
        regexp_extract(
            failure,
            '^(connect to|lost connection with|conversation with|host) [^\s\[\]]+\[([^\[\]]*)\](?::([0-9]+))?'
            || '(: | while | timed out while | said: | refused to talk to me: )(.*)$',
            ['verb', 'address', 'port', 'link', 'told']
        ) as peer
    from untold
),

parsed as (
    select
        * exclude (peer),
        case
            when
                (
                    peer['verb'] || peer['link'] in (
                        'lost connection with while ',
                        'conversation with timed out while ',
                        'host said: ',
                        'host refused to talk to me: '
                    )
                    or (
                        peer['verb'] || peer['link'] = 'connect to: '
                        and regexp_matches(peer['told'], '^[^\[\]()<>@"]+$')
                    )
                )
                and (peer['port'] = '' or try_cast(peer['port'] as integer) between 1 and 65535)
                then peer
        end as peer
    from worded
),

-- sendmail's names for loopback.
loopback_names as (
    select distinct
        host,
        relay_name
    from untold
    where mailer is not null and is_at_loopback and relay_name = 'localhost'
),

ports as (
    select
        parsed.*,
        parsed.peer['verb'] as verb,
        parsed.peer['address'] as address,
        parsed.peer['link'] as link,
        parsed.peer['told'] as told,
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

-- A failure at an address, of which no earlier line tells the port.
untold_hops as (
    select distinct
        host,
        source_number,
        line_number
    from hops
    where status <> 'sent' and hop_port is null and address <> '' and mailer is null
),

-- Postfix before 2.3 logs no port at all.
portless_hosts as (
    select host
    from staging.log_instances
    group by host
    having not bool_or(has_relay_port or is_by_sendmail)
),

scan_hops as (
    select
        hops.*,
        hops.hop_port is null as is_hop_inferred
    from hops
    left join loopback_names
        on
            hops.host = loopback_names.host
            and hops.relay_name = loopback_names.relay_name
    left join portless_hosts
        on hops.host = portless_hosts.host
    where
        not hops.is_sent_to_port
        and (
            hops.hop_port = hops.scan_port
            or (
                hops.mailer is null
                and hops.hop_port is null
                and is_loopback(hops.address)
            )
            or (
                hops.status = 'sent'
                and hops.mailer is null
                and hops.is_at_loopback
                and portless_hosts.host is not null
            )
            or (
                hops.mailer is not null
                and hops.instance <> 'sm-msp-queue'
                and (hops.is_named_by_loopback or loopback_names.relay_name is not null)
                and (hops.is_at_loopback or hops.relay_address is null)
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
                        when regexp_matches(failure, '^421[ -]') then 'turned_away'
                        when regexp_matches(failure, '^[45][0-9]{2}[ -]') then 'rejected'
                        when regexp_matches(failure, '^Connection refused( by \S+)?$') then 'refused'
                        when regexp_matches(failure, '^(Connection|Operation) timed out( with \S+)?$')
                            then 'timed_out'
                        when
                            failure = ''
                            or regexp_matches(failure, '^(Connection reset|Broken pipe)( by \S+)?$')
                            then 'session_lost'
                        when status = 'bounced' then 'rejected'
                    end
            when verb = 'connect to' and told like '% timed out' then 'timed_out'
            when verb = 'connect to' then 'refused'
            when link = ' refused to talk to me: ' then 'turned_away'
            when link = ' said: ' then 'rejected'
            when
                verb = 'lost connection with'
                and regexp_matches(told, '^(receiving the initial server|performing the) ')
                then 'greeting_lost'
            when verb = 'lost connection with' then 'session_lost'
            when verb = 'conversation with' then 'timed_out'
        end as cause
    from scan_hops
),

-- The hop and the cause are those of the line: it names several recipients only for sendmail.
scan_lines as (
    select distinct
        host,
        source_number,
        line_number,
        cause,
        is_hop_inferred
    from causes
    where status = 'sent' or cause is not null
),

told as (
    select
        attempts.*,
        scan_lines.cause,
        attempts.status = 'sent' as is_sent,
        scan_lines.host is not null
        or (attempts.is_sent_to_port and attempts.relay_port = attempts.scan_port) as is_scan_hop,
        coalesce(scan_lines.is_hop_inferred, false) as is_hop_inferred,
        untold_hops.host is not null as is_hop_untold,
        is_loopback(attempts.relay_address) as is_at_loopback,
        coalesce(
            attempts.reason like 'lost connection with %] while % message may be sent more than once'
            or attempts.reason
            like 'conversation with %] timed out while % message may be sent more than once',
            false
        ) as is_possible_duplicate
    from attempts
    left join scan_lines
        on
            attempts.host = scan_lines.host
            and attempts.source_number = scan_lines.source_number
            and attempts.line_number = scan_lines.line_number
    left join untold_hops
        on
            attempts.host = untold_hops.host
            and attempts.source_number = untold_hops.source_number
            and attempts.line_number = untold_hops.line_number
)

select
    queue_number,
    host,
    instance,
    queue_id,
    recipient,
    status,
    cause,
    relay_host,
    relay_address,
    relay_port,
    case
        when not is_sent or not (is_scan_hop or is_at_loopback) then null
        when reason like '% queued as %'
            then
                nullif(
                    regexp_extract(
                        reason[strpos(reason, ' queued as '):], '^ queued as ([0-9A-Za-z]{6,})', 1
                    ),
                    ''
                )
        when reason like '% Message accepted for delivery%'
            then nullif(regexp_extract(reason, '\b([0-9A-Za-x]{8}[0-9]{6,}) Message accepted', 1), '')
    end as queued_as,
    source_number,
    line_number,
    is_sent,
    status = 'bounced' as is_bounced,
    is_sent or is_possible_duplicate as is_taken,
    is_scan_hop,
    is_hop_inferred,
    is_hop_untold,
    is_possible_duplicate,
    connection_use_count is null as is_fresh_connection,
    microseconds_before(logged_at, 1000 * cast(1000 * delay_seconds as bigint)) as arrived_at,
    microseconds_before(
        logged_at, 1e6 * coalesce(connection_setup_seconds, 0) + 1e6 * coalesce(transmission_seconds, 0)
    ) as began_at,
    -- Where the parts of the delay are not logged, any instant since the arrival.
    microseconds_before(
        logged_at,
        1e6 * coalesce(
            connection_setup_seconds + transmission_seconds, transmission_seconds, delay_seconds
        )
    ) as began_from,
    logged_at
from told
