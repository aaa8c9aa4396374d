-- One row per restart of the scan service, merged from its witnesses, with its bounds and its window.
-- down_at and up_at come from the system events, within what the maillog shows; without an event, down_at
-- is the first failure, and up_at a minute later, unless the bounds say otherwise. The manager flushes when
-- it sees that the service was started (Trend Micro KA-0010256): its command shows that the service was up
-- by then. A command near no outage is a separate restart about which nothing else is known, unless the
-- service answered all along.
-- A flush belongs to a restart in [window_from, window_until).
with stamped as (
    select
        outages.*,
        greatest(
            least(outages.first_failed_at, coalesce(outages.stopped_at, outages.started_at)),
            outages.down_at_earliest
        ) as down_at
    from staging.outages as outages
),

outages as (
    select
        *,
        lead(down_at) over (
            partition by host
            order by down_at, outage_number
        ) as next_down_at
    from stamped
),

commands as (
    select distinct
        host,
        ordered_at,
        ordered_before
    from staging.flush_orders
    where order_kind = 'commanded'
),

-- The first command after the last failure; it counts where no reply came before it.
commanded as (
    select
        outages.*,
        commands.ordered_at as commanded_at
    from outages
    asof left join commands
        on
            outages.host = commands.host
            and coalesce(outages.up_at_earliest, outages.started_at, outages.down_at)
            <= commands.ordered_at
),

outage_bounds as (
    select
        commanded.* replace (
            -- least() skips a NULL, which stands for a bound that nobody saw.
            if(
                commanded.up_at_earliest is null,
                null,
                least(commanded.up_at_earliest, commanded.next_down_at)
            ) as up_at_earliest,
            -- An attempt begun in between may get its reply only after the next outage opened. Where no
            -- reply came, the command, the start, or that it could go down again tells that it was up.
            case
                when commanded.up_at_latest is not null
                    then least(commanded.up_at_latest, commanded.next_down_at)
                else
                    least(
                        commanded.commanded_at,
                        if(
                            commanded.started_at + to_seconds(thresholds.witness_margin_seconds)
                            >= coalesce(commanded.up_at_earliest, '-infinity'),
                            greatest(commanded.started_at + to_seconds(1), commanded.up_at_earliest),
                            null
                        ),
                        commanded.next_down_at
                    )
            end as up_at_latest
        ),
        commanded.down_at + to_seconds(thresholds.longest_restart_seconds) as up_at_if_usual,
        thresholds.flush_window_seconds
    from commanded
    cross join config.thresholds as thresholds
),

outage_restarts as (
    select
        *,
        -- least() would skip a NULL: without an upper bound the service is not known to be up again.
        case
            when up_at_latest is not null
                then
                    least(
                        up_at_latest,
                        greatest(up_at_earliest, down_at, coalesce(started_at, up_at_if_usual))
                    )
        end as up_at
    from outage_bounds
),

wide_windows as (
    select
        host,
        outage_number,
        failure_count,
        stopped_at,
        started_at,
        down_at,
        down_at_earliest,
        down_at_latest,
        up_at,
        up_at_earliest,
        up_at_latest,
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
            lag(window_until) over (partition by host order by down_at, outage_number)
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
            and commands.ordered_before > windows.window_from
            and commands.ordered_at < coalesce(windows.window_until, 'infinity')
    anti join staging.late_commands as late_commands
        on commands.host = late_commands.host and commands.ordered_at = late_commands.ordered_at
),

restarts as (
    select * from windows

    union all by name

    select
        lone_commands.host,
        0 as failure_count,
        lone_commands.ordered_at as down_at,
        lone_commands.ordered_at as down_at_latest,
        lone_commands.ordered_at as up_at,
        lone_commands.ordered_at as up_at_latest,
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
),

numbered as (
    select
        *,
        row_number() over (
            partition by host, date_trunc('second', down_at)
            order by down_at, outage_number
        ) as number_in_second
    from restarts
)

select
    host
    || strftime(timezone('UTC', down_at), '-%Y%m%dT%H%M%SZ')
    || if(number_in_second > 1, '-' || number_in_second, '') as restart_id,
    host,
    outage_number,
    failure_count,
    stopped_at,
    started_at,
    down_at,
    down_at_earliest,
    down_at_latest,
    up_at,
    up_at_earliest,
    up_at_latest,
    window_from,
    window_until
from numbered
