-- Questions to the published catalog, with the queries that answer them.
--
--     duckdb -readonly data/lake/maillag.duckdb < docs/cookbook.sql
--
-- Any DuckDB from 1.1 on will do. cookbook.md has the same questions with their answers on the sample. Times
-- are UTC, shown in the zone of your session; `set timezone = 'UTC';` shows them as they are, and question 4
-- converts them to the host's own clock. data-dictionary.md says what the columns mean, and what local_time,
-- restarts_between, waiting_at and delay_percentiles do: functions of the catalog. Where a query is about one
-- restart or one message, its first step picks an example: put your own there.


-- 1. Which restarts were not followed by a flush, and what did it cost?
-- Costliest first. The cost is the waiting that a flush one minute after the service was up would have
-- saved; `ineffective` means that a flush was ordered or seen, but mail waited on.
select
    restart_id,
    flush_verdict,
    missing_reason,
    build_verdict,
    held_message_count,
    round(avoidable_delay_total_seconds / 3600, 1) as avoidable_hours,
    avoidable_delay_max_seconds,
    advice
from marts.missing_flushes
order by avoidable_delay_total_seconds desc, restart_id asc;


-- 2. Which mail waited longest for a restart, and who sent it?
-- Mail that was never released has no delay: see question 13.
select
    held_messages.sender,
    held_messages.message_id,
    held_messages.host,
    held_messages.queue_id,
    held_messages.restart_delay_seconds,
    held_messages.released_by,
    held_messages.first_deferred_at,
    held_messages.released_at
from marts.held_messages as held_messages
where held_messages.restart_delay_seconds is not null
order by held_messages.restart_delay_seconds desc, held_messages.host asc, held_messages.queue_id asc
limit 20;


-- 3. How much did each host suffer in each month?
-- Days are the host's own. coverage_share tells how much of the month's logged days the maillog covers:
-- few restarts in a month with little coverage mean nothing.
select
    host,
    cast(date_trunc('month', date) as date) as month,
    sum(restart_count) as restart_count,
    sum(missing_flush_count) as missing_flush_count,
    sum(held_message_count) as held_message_count,
    round(sum(restart_delay_total_seconds) / 3600, 1) as restart_delay_hours,
    max(restart_delay_max_seconds) as restart_delay_max_seconds,
    round(avg(coverage_share), 3) as coverage_share
from marts.fleet_daily
group by host, month
order by host asc, month asc;


-- 4. Which is the worst hour of the day, in each host's own time zone?
-- Restarts by the local hour of down_at. A peak at a fixed hour points to a scheduled update.
with local_restarts as (
    select
        restarts.host,
        hosts.time_zone,
        hour(local_time(restarts.down_at, hosts.time_zone)) as local_hour,
        restarts.held_message_count,
        restarts.restart_delay_total_seconds
    from marts.restarts as restarts
    inner join fleet.hosts as hosts on restarts.host = hosts.host
)

select
    host,
    time_zone,
    local_hour,
    count(*) as restart_count,
    sum(held_message_count) as held_message_count,
    round(sum(restart_delay_total_seconds) / 3600, 1) as restart_delay_hours
from local_restarts
group by host, time_zone, local_hour
order by restart_delay_hours desc nulls last, restart_count desc, host asc, local_hour asc;


-- 5. What did one message go through?
-- All that the queue tells of one queue id, line by line. Short queue ids are used again, so that several
-- messages may appear one after the other; each ends with `removed`. The example is the message that
-- waited longest; put `select 'imsva91' as host, '17012C803E' as queue_id` in its place.
with wanted as (
    select
        host,
        queue_id
    from marts.held_messages
    order by restart_delay_seconds desc nulls last, host asc, queue_id asc
    limit 1
),

steps as (
    select
        host,
        queue_id,
        logged_at,
        source_id,
        line_number,
        'accepted' as step,
        coalesce(client_host || '[' || client_address || ']', sender) as detail
    from events.clients
    union all
    select
        host,
        queue_id,
        logged_at,
        source_id,
        line_number,
        'message id' as step,
        message_id as detail
    from events.message_ids
    union all
    select
        host,
        queue_id,
        logged_at,
        source_id,
        line_number,
        'active' as step,
        'from ' || sender as detail
    from events.queue_activations
    union all
    select
        host,
        queue_id,
        logged_at,
        source_id,
        line_number,
        status as step,
        concat_ws(' ', 'to ' || recipient, 'at ' || relay_host, '(' || reason || ')') as detail
    from events.delivery_attempts
    union all
    select
        host,
        queue_id,
        logged_at,
        source_id,
        line_number,
        removal_kind as step,
        null as detail
    from events.queue_removals
)

select
    steps.logged_at,
    steps.step,
    steps.detail,
    source_files.path,
    steps.line_number
from steps
inner join wanted
    on steps.host = wanted.host and steps.queue_id = wanted.queue_id
inner join ops.source_files as source_files on steps.source_id = source_files.source_id
order by steps.logged_at asc, source_files.first_logged_at asc, steps.line_number asc;


-- 6. Which restarts held most mail that was never tried?
-- After a few failures Postfix takes the scan service for a dead destination and defers new mail untried,
-- for minimal_backoff_time. after_up_count is the mail that arrived when the service was back already.
with worst as (
    select
        restart_id,
        host,
        held_message_count,
        never_tried_count,
        up_at
    from marts.restarts
    where never_tried_count > 0
    order by never_tried_count desc, restart_id asc
    limit 20
)

select
    worst.restart_id,
    worst.held_message_count,
    worst.never_tried_count,
    count(held_messages.queue_id) filter (where held_messages.arrived_at > worst.up_at) as after_up_count,
    max(held_messages.restart_delay_seconds) as never_tried_delay_max_seconds
from worst
inner join marts.held_messages as held_messages
    on
        worst.host = held_messages.host
        and worst.restart_id = held_messages.restart_id
        and held_messages.is_never_tried
group by worst.restart_id, worst.held_message_count, worst.never_tried_count
order by worst.never_tried_count desc, worst.restart_id asc;


-- 7. How long after the service was up did the flush come?
-- Observed flushes by ten-second steps; the manager looks every minute. A negative step means that up_at,
-- an estimate, is too late.
select
    10 * cast(floor(date_diff('second', up_at, flush_observed_at) / 10) as bigint) as from_seconds,
    count(*) as restart_count,
    count(*) filter (where flush_order = 'ordered') as ordered_count,
    count(*) filter (where is_up_at_estimated) as estimated_count
from marts.restarts
where flush_observed_at is not null and up_at is not null
group by from_seconds
order by from_seconds asc;


-- 8. Which builds miss flushes, and how often?
-- missing_share is among the restarts with a known verdict for which mail waited.
select
    host_history.product,
    host_history.build,
    restarts.build_verdict,
    count(distinct restarts.host) as host_count,
    count(*) as restart_count,
    count(*) filter (where restarts.flush_verdict = 'unknown') as unknown_count,
    count(*) filter (where restarts.flush_verdict in ('effective', 'ineffective', 'missing'))
        as judged_count,
    round(
        count(*) filter (where restarts.flush_verdict in ('ineffective', 'missing'))
        / nullif(
            count(*) filter (where restarts.flush_verdict in ('effective', 'ineffective', 'missing')),
            0
        ),
        3
    ) as missing_share
from marts.restarts as restarts
inner join fleet.host_history as host_history
    on
        restarts.host = host_history.host
        and restarts.down_at >= coalesce(host_history.valid_from, '-infinity')
        and restarts.down_at < coalesce(host_history.valid_until, 'infinity')
group by host_history.product, host_history.build, restarts.build_verdict
order by missing_share desc nulls last, host_history.product asc, host_history.build asc;


-- 9. Where does a maillog have no coverage?
-- Silence of more than an hour between two lines of a host; a gap counts for the verdicts from six hours
-- on. What lies before the first and after the last line is not covered either.
with spans as (
    select
        host,
        min(first_logged_at) as first_logged_at,
        max(last_logged_at) as last_logged_at
    from ops.line_counts
    where log_kind = 'maillog' and span is not null
    group by host, span
),

silences as (
    select
        host,
        lag(last_logged_at) over (partition by host order by first_logged_at) as silent_from,
        first_logged_at as silent_until
    from spans
)

select
    host,
    silent_from,
    silent_until,
    round(date_diff('second', silent_from, silent_until) / 3600, 1) as silent_hours
from silences
where date_diff('second', silent_from, silent_until) > 3600
order by silent_hours desc, host asc, silent_from asc;


-- 10. What are the commonest shapes of unparsed lines?
-- Numbers, queue ids and addresses are replaced, so that lines of one form fall together. A frequent shape
-- is worth a pattern.
with shapes as (
    select
        reason,
        line,
        host,
        regexp_replace(
            regexp_replace(line, '<[^>]*>', '<...>', 'g'),
            '[0-9A-F]*[0-9][0-9A-F]*',
            '#',
            'g'
        ) as shape
    from events.unparsed_lines
)

select
    count(*) as line_count,
    reason,
    shape,
    count(distinct host) as host_count,
    min(line) as example
from shapes
group by reason, shape
order by line_count desc, shape asc
limit 20;


-- 11. Which log lines are behind one restart?
-- Orders, markers and Postfix starts from down_at_earliest until two minutes after up_at, and what happened
-- to the held mail until its release, each with its file and line. The example is the restart that held most
-- mail; put `where restart_id = 'imsva91-20200203T010736Z'` in place of the first step's last two lines.
with wanted as (
    select
        restart_id,
        host,
        coalesce(down_at_earliest, down_at) as seen_from,
        coalesce(up_at, last_released_at, down_at) + interval 2 minutes as seen_until
    from marts.restarts
    order by held_message_count desc, restart_id asc
    limit 1
),

held_mail as (
    select
        held_messages.host,
        held_messages.queue_id,
        held_messages.arrived_at as seen_from,
        coalesce(held_messages.released_at, wanted.seen_until) as seen_until
    from marts.held_messages as held_messages
    inner join wanted on held_messages.restart_id = wanted.restart_id
),

message_lines as (
    select
        host,
        queue_id,
        logged_at,
        source_id,
        line_number,
        status as what,
        reason as detail
    from events.delivery_attempts
    union all
    select
        host,
        queue_id,
        logged_at,
        source_id,
        line_number,
        'active' as what,
        'from ' || sender as detail
    from events.queue_activations
),

host_lines as (
    select
        host,
        logged_at,
        source_id,
        line_number,
        event_kind as what,
        message as detail
    from events.service_events
    union all
    select
        host,
        logged_at,
        source_id,
        line_number,
        event_kind as what,
        message as detail
    from events.manager_log
),

lines as (
    select message_lines.*
    from message_lines
    inner join held_mail
        on
            message_lines.host = held_mail.host
            and message_lines.queue_id = held_mail.queue_id
            and message_lines.logged_at >= held_mail.seen_from
            and message_lines.logged_at <= held_mail.seen_until
    union all by name
    select host_lines.*
    from host_lines
    inner join wanted
        on
            host_lines.host = wanted.host
            and host_lines.logged_at >= wanted.seen_from
            and host_lines.logged_at < wanted.seen_until
)

select
    lines.logged_at,
    lines.what,
    lines.queue_id,
    lines.detail,
    source_files.path,
    lines.line_number
from lines
inner join ops.source_files as source_files on lines.source_id = source_files.source_id
order by lines.logged_at asc, source_files.log_kind asc, lines.line_number asc
limit 500;


-- 12. What share of all mail was held?
-- Of the messages offered to the scan service. A message that two restarts held counts twice.
select
    host,
    min(date) as first_date,
    max(date) as last_date,
    sum(message_count) as message_count,
    sum(held_message_count) as held_message_count,
    round(sum(held_message_count) / nullif(sum(message_count), 0), 4) as held_share
from marts.fleet_daily
group by host
order by held_share desc nulls last, host asc;


-- 13. Which mail was lost, may have arrived twice, or still waits?
-- The latest 50. Lost is mail that was returned to its sender without another answer from the scan service;
-- mail whose session was lost in mid-scan may arrive twice.
select
    restart_id,
    host,
    queue_id,
    message_id,
    sender,
    outcome,
    is_interrupted,
    first_deferred_at
from marts.held_messages
where is_interrupted or (released_at is null and outcome in ('expired', 'bounced', 'pending'))
order by first_deferred_at desc, host asc, queue_id asc
limit 50;


-- 14. Where did somebody else flush?
-- Effective flushes that the manager log does not order: an operator or a cron job. They do not show that
-- the product works.
select
    restart_id,
    host,
    up_at,
    flush_observed_at,
    held_message_count,
    build_verdict
from marts.restarts
where flush_verdict = 'effective' and flush_order = 'not_ordered'
order by flush_observed_at asc;


-- 15. Why are verdicts unknown?
-- log_end and coverage_gap ask for more logs, settings_unknown for the retry settings in fleet.toml.
select
    host,
    verdict_reason,
    count(*) as restart_count,
    sum(held_message_count) as held_message_count,
    min(down_at) as first_down_at,
    max(down_at) as last_down_at
from marts.restarts
where flush_verdict = 'unknown'
group by host, verdict_reason
order by restart_count desc, host asc, verdict_reason asc;


-- 16. Which settings are only assumed?
-- What fleet.toml does not say. Verdicts need minimal_backoff_seconds, advice needs product and build.
select
    host,
    product,
    build,
    time_zone,
    time_zone_source,
    minimal_backoff_seconds,
    minimal_backoff_seconds_source,
    queue_run_delay_seconds,
    queue_run_delay_seconds_source
from fleet.hosts
where
    product is null
    or build is null
    or time_zone_source = 'default'
    or minimal_backoff_seconds_source in ('product_default', 'postfix_default')
    or queue_run_delay_seconds_source in ('product_default', 'postfix_default')
order by host asc;


-- 17. Which sender domains were held most?
-- For a note to the partners concerned.
select
    lower(regexp_extract(sender, '@([^@]+)$', 1)) as sender_domain,
    count(*) as held_message_count,
    round(median(restart_delay_seconds), 0) as restart_delay_p50_seconds,
    max(restart_delay_seconds) as restart_delay_max_seconds
from marts.held_messages
where sender like '%@%'
group by sender_domain
order by held_message_count desc, sender_domain asc
limit 20;


-- 18. Which files were read badly, and what is wrong now?
-- Open findings, with the source file that they are about.
select
    quarantine.severity,
    quarantine.place,
    quarantine.rule,
    quarantine.what,
    quarantine.remedy,
    source_files.status as source_file_status,
    source_files.line_count,
    source_files.unparsed_line_count
from ops.quarantine as quarantine
left join ops.source_files as source_files on quarantine.source_id = source_files.source_id
order by quarantine.severity asc, quarantine.place asc, quarantine.rule asc;


-- 19. What should be done first, and on how many hosts?
-- One line per advice, with the restarts since the hosts' last change that lacked a flush. advice_text and
-- advice_text_ja of marts.host_diagnosis say it in sentences.
with advised as (
    select
        host,
        unnest(advice) as advice,
        current_missing_count,
        missing_wait_max_seconds
    from marts.host_diagnosis
)

select
    advice,
    count(*) as host_count,
    sum(current_missing_count) as current_missing_count,
    max(missing_wait_max_seconds) as missing_wait_max_seconds,
    list(host order by host) as hosts
from advised
group by advice
order by current_missing_count desc, host_count desc, advice asc;


-- 20. Did the patches and the new retry settings help?
-- Both sides of each change reach to the host's next one. The shares are of the judged restarts: few of them
-- on a side prove little.
select
    host,
    changed_at,
    changes,
    judged_before_count,
    judged_after_count,
    round(missing_share_before, 2) as missing_share_before,
    round(missing_share_after, 2) as missing_share_after,
    restart_delay_p95_seconds_before,
    restart_delay_p95_seconds_after
from marts.fleet_changes
order by changed_at asc, host asc;


-- 21. What became of the mail of each host?
-- received_count and offered_to_scan_count count each mail once, the others each part of mail that was split.
-- ended_at_scan is mail that the scan service kept, for sure; not_seen_again where the log cannot tell.
select
    host,
    sum(received_count) as received_count,
    sum(message_count) as offered_to_scan_count,
    sum(delivered_count) as delivered_count,
    sum(ended_at_scan_count) as ended_at_scan_count,
    sum(not_seen_again_count) as not_seen_again_count,
    sum(returned_count) as returned_count,
    sum(pending_count) as pending_count
from marts.fleet_daily
group by host
order by received_count desc, host asc;


-- 22. What should be done on each host, step by step?
-- Most urgent first, with the commands to run on the host. text_en says why.
select
    host,
    position,
    title_en,
    array_to_string(commands, ' && ') as commands
from marts.host_advice
order by host asc, position asc;


-- 23. Which recipient domains waited longest?
-- Recipients that a restart held, with how long. A message to several recipients counts once for each.
with domains as (
    select
        recipient_domain,
        count(distinct restart_id) as restart_count,
        count(*) as held_recipient_count,
        delay_percentiles(restart_delay_seconds) as delays
    from marts.held_recipients
    where recipient_domain is not null
    group by recipient_domain
)

select
    recipient_domain,
    restart_count,
    held_recipient_count,
    delays.p50_seconds,
    delays.p95_seconds,
    delays.max_seconds
from domains
order by delays.max_seconds desc nulls last, recipient_domain asc
limit 20;


-- 24. How much mail waited at each moment of one restart?
-- The mail of the host that waited, every 15 seconds from the first deferral to the last release. The example
-- is the missing flush that cost most; put `select 'imss12-20261124T031333Z' as restart_id` in place of the
-- first step.
with wanted as (
    select restart_id
    from marts.missing_flushes
    order by avoidable_delay_total_seconds desc, restart_id asc
    limit 1
),

instants as (
    select
        restarts.host,
        unnest(
            generate_series(
                restarts.first_deferred_at,
                restarts.last_released_at + interval 15 seconds,
                interval 15 seconds
            )
        ) as instant
    from marts.restarts as restarts
    inner join wanted on restarts.restart_id = wanted.restart_id
)

select
    instants.host,
    instants.instant,
    (
        select count(*)
        from waiting_at(instants.instant) as waiting
        where waiting.host = instants.host
    ) as waiting_count
from instants
order by instants.instant asc;


-- 25. How long did mail wait where the queue was flushed, and where it was not?
-- Seconds that the restarts held mail, by the verdict. The difference between effective and missing is what
-- a flush is worth.
with verdicts as (
    select
        restarts.flush_verdict,
        count(distinct restarts.restart_id) as restart_count,
        delay_percentiles(held_messages.restart_delay_seconds) as delays
    from marts.held_messages as held_messages
    inner join marts.restarts as restarts on held_messages.restart_id = restarts.restart_id
    group by restarts.flush_verdict
)

select
    flush_verdict,
    restart_count,
    delays.delay_count as released_count,
    delays.p50_seconds,
    delays.p95_seconds,
    delays.max_seconds
from verdicts
order by flush_verdict asc;


-- 26. What happened on one day?
-- The restarts of a day in Japan, with the clock of each host. Put your own bounds there.
select
    restart_id,
    local_time(down_at, time_zone) as local_down_at,
    round(outage_seconds, 0) as outage_seconds,
    held_message_count,
    flush_verdict,
    restart_delay_max_seconds
from restarts_between('2026-11-24 00:00:00+09', '2026-11-25 00:00:00+09')
order by down_at asc, restart_id asc;


-- 27. Who was held by several restarts?
-- Recipients whose mail waited again and again; they are the first to complain.
select
    recipient,
    count(distinct restart_id) as restart_count,
    count(*) as held_mail_count,
    round(sum(restart_delay_seconds) / 60, 0) as waited_minutes,
    max(restart_delay_seconds) as restart_delay_max_seconds
from marts.held_recipients
where recipient is not null
group by recipient
having count(distinct restart_id) > 1
order by restart_count desc, held_mail_count desc, recipient asc
limit 20;


-- 28. What triggers the restarts, and which kind holds most mail?
-- `unknown` where no log line matches a pattern of the setting log_rules.
select
    restart_trigger,
    count(*) as restart_count,
    count(distinct host) as host_count,
    sum(held_message_count) as held_message_count,
    round(median(outage_seconds), 0) as outage_p50_seconds,
    count(*) filter (where is_overlong) as overlong_count
from marts.restarts
group by restart_trigger
order by held_message_count desc, restart_trigger asc;


-- 29. How sure is each restart, and how exact are its times?
-- The witnesses, and the seconds within which the service went down and came up: NULL where the log lacks a
-- bound.
select
    restart_id,
    confidence,
    evidence,
    date_diff('second', down_at_earliest, down_at_latest) as down_at_within_seconds,
    date_diff('second', up_at_earliest, up_at_latest) as up_at_within_seconds,
    is_up_at_estimated
from marts.restarts
order by down_at asc, restart_id asc;


-- 30. From when until when do the logs of each host reach?
-- A host whose maillog ends early is one that the archive no longer collects.
select
    host,
    log_kind,
    count(*) as file_count,
    sum(line_count) as line_count,
    min(first_logged_at) as first_logged_at,
    max(last_logged_at) as last_logged_at
from ops.source_files
group by host, log_kind
order by host asc, log_kind asc;
