-- One row per flush command of the manager that does not indicate a restart.
-- Since the previous outage, or as far back as its restart may be, no time between two answers is long
-- enough for an outage: shortest_outage_seconds, or longest_restart_seconds if mail of the previous restart
-- is still waiting and the command may be for that mail. The command is then an order for the previous
-- restart, however late. If the clock was set back, the order of command and answers is unknown.
with answers as (
    select
        host,
        began_at,
        max(logged_before) over (
            partition by host
            order by began_at
            rows unbounded preceding
        ) as answered_until,
        lead(began_at) over (
            partition by host
            order by began_at
        ) as next_began_at
    from staging.scan_attempts
    where is_answered
),

-- Time between answers, and what lies before and after all of them.
silences as (
    select
        host,
        answered_until as silent_from,
        coalesce(next_began_at, 'infinity') as silent_until,
        epoch(next_began_at - answered_until) as silent_seconds
    from answers
    where next_began_at is null or next_began_at > answered_until

    union all

    select
        host,
        cast('-infinity' as timestamptz) as silent_from,
        min(began_at) as silent_until,
        null as silent_seconds
    from answers
    group by host
),

commands as (
    select
        orders.host,
        orders.ordered_at,
        greatest(
            orders.ordered_at
            - to_seconds(thresholds.flush_window_seconds + thresholds.longest_restart_seconds),
            outages.up_at_latest
        ) as needed_from,
        thresholds.shortest_outage_seconds,
        thresholds.longest_restart_seconds
    from staging.flush_orders as orders
    cross join config.thresholds as thresholds
    asof left join (
        select
            host,
            up_at_latest
        from staging.outages
        where up_at_latest is not null
    ) as outages
        on orders.host = outages.host and orders.ordered_at >= outages.up_at_latest
    where orders.order_kind = 'commanded'
),

held_waits as (
    select
        waits.host,
        waits.deferred_at,
        coalesce(waits.waited_until, waits.due_by) as maybe_until
    from staging.deferred_waits as waits
    semi join staging.scan_attempts as failures
        on
            waits.host = failures.host
            and waits.instance = failures.instance
            and waits.queue_id = failures.queue_id
            and not failures.is_answered
),

commands_for_held_mail as (
    select distinct
        commands.host,
        commands.ordered_at
    from commands
    inner join held_waits
        on
            commands.host = held_waits.host
            and commands.ordered_at > held_waits.deferred_at
            and commands.ordered_at <= held_waits.maybe_until
),

explained_commands as (
    select
        commands.host,
        commands.ordered_at,
        commands.needed_from,
        if(
            held.ordered_at is null,
            commands.shortest_outage_seconds,
            commands.longest_restart_seconds
        ) as shortest_outage_seconds
    from commands
    left join commands_for_held_mail as held
        on commands.host = held.host and commands.ordered_at = held.ordered_at
),

-- Silences lie one after another: of those that are long enough for a command, the last before it decides.
long_silences as (
    select
        silences.host,
        silences.silent_from,
        silences.silent_until,
        lengths.shortest_outage_seconds
    from silences
    inner join (select distinct shortest_outage_seconds from explained_commands) as lengths
        on coalesce(silences.silent_seconds > lengths.shortest_outage_seconds, true)
)

select
    explained_commands.host,
    explained_commands.ordered_at
from explained_commands
semi join answers
    on explained_commands.host = answers.host
asof left join long_silences
    on
        explained_commands.host = long_silences.host
        and explained_commands.shortest_outage_seconds = long_silences.shortest_outage_seconds
        and explained_commands.ordered_at > long_silences.silent_from
where coalesce(explained_commands.needed_from >= long_silences.silent_until, true)

union

select
    commands.host,
    commands.ordered_at
from commands
inner join staging.clock_steps as clock_steps
    on
        commands.host = clock_steps.host
        and commands.ordered_at >= clock_steps.told_twice_from
        and commands.ordered_at < clock_steps.told_twice_until
