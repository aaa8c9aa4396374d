-- One row per restart of the scan service, merged from its witnesses, with its bounds and its window.
-- The manager flushes when it sees that the service was started (Trend Micro KA-0010256): its command
-- tells that the service was up by then. A command near no outage is a restart of its own, of which
-- only that is known. A flush belongs to a restart in [window_from, window_until).
with outages as (
    select
        *,
        lead(first_failed_at) over (
            partition by host
            order by first_failed_at
        ) as next_down_at
    from staging.outages
),

outage_estimates as (
    select
        outages.host,
        outages.first_failed_at as down_at,
        outages.down_at_earliest,
        outages.down_at_latest,
        outages.up_at_earliest,
        -- An attempt begun in between may get its reply only after the next outage opened.
        if(
            outages.up_at_latest is null,
            null,
            least(outages.up_at_latest, outages.next_down_at)
        ) as up_at_latest,
        outages.failure_count,
        outages.next_down_at,
        outages.first_failed_at + to_seconds(thresholds.longest_restart_seconds) as up_at_if_usual,
        thresholds.flush_window_seconds
    from outages
    cross join config.thresholds as thresholds
),

commands as (
    select distinct
        host,
        ordered_at
    from staging.flush_orders
    where order_kind = 'commanded'
),

-- The first command after the last failure; it counts where no reply came before it.
commanded as (
    select
        outage_estimates.*,
        commands.ordered_at as commanded_at
    from outage_estimates
    asof left join commands
        on
            outage_estimates.host = commands.host
            and outage_estimates.up_at_earliest <= commands.ordered_at
),

outage_bounds as (
    select
        * replace (
            case
                when commanded_at < coalesce(next_down_at, 'infinity') and up_at_latest is null
                    then commanded_at
                else up_at_latest
            end as up_at_latest
        )
    from commanded
),

outage_restarts as (
    select
        *,
        -- least() would skip a NULL: without an upper bound the service is not known to be up again.
        case
            when up_at_latest is not null
                then least(up_at_latest, greatest(up_at_earliest, up_at_if_usual))
        end as up_at
    from outage_bounds
),

wide_windows as (
    select
        host,
        down_at,
        down_at_earliest,
        down_at_latest,
        up_at,
        up_at_earliest,
        up_at_latest,
        failure_count,
        coalesce(down_at_earliest, down_at) as maybe_down_from,
        least(up_at + to_seconds(flush_window_seconds), next_down_at) as window_until
    from outage_restarts
),

-- Where the service was quiet for long the windows of two restarts could overlap: the earlier one ends first.
windows as (
    select
        * exclude (maybe_down_from),
        greatest(
            maybe_down_from,
            lag(window_until) over (partition by host order by down_at)
        ) as window_from
    from wide_windows
),

lone_commands as (
    select
        commands.host,
        commands.ordered_at,
        lead(commands.ordered_at) over (
            partition by commands.host
            order by commands.ordered_at
        ) as next_ordered_at
    from commands
    anti join windows
        on
            commands.host = windows.host
            and commands.ordered_at >= windows.window_from
            and commands.ordered_at < coalesce(windows.window_until, 'infinity')
),

restarts as (
    select * from windows

    union all by name

    select
        lone_commands.host,
        lone_commands.ordered_at as down_at,
        null as down_at_earliest,
        lone_commands.ordered_at as down_at_latest,
        lone_commands.ordered_at as up_at,
        null as up_at_earliest,
        lone_commands.ordered_at as up_at_latest,
        0 as failure_count,
        lone_commands.ordered_at as window_from,
        least(
            lone_commands.ordered_at + to_seconds(thresholds.flush_window_seconds),
            lone_commands.next_ordered_at,
            min(windows.down_at) filter (where windows.down_at > lone_commands.ordered_at)
        ) as window_until
    from lone_commands
    cross join config.thresholds as thresholds
    left join windows
        on lone_commands.host = windows.host
    group by
        lone_commands.host,
        lone_commands.ordered_at,
        lone_commands.next_ordered_at,
        thresholds.flush_window_seconds
)

select
    host || '-' || strftime(timezone('UTC', down_at), '%Y%m%dT%H%M%SZ') as restart_id,
    host,
    failure_count,
    down_at,
    down_at_earliest,
    down_at_latest,
    up_at,
    up_at_earliest,
    up_at_latest,
    window_from,
    window_until
from restarts
