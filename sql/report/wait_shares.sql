-- One row per outcome, flushed or not, with its held messages and how many of them waited for long.
select
    restarts.outcome,
    count(*) as message_count,
    count(*) filter (where held_messages.restart_delay_seconds > 60) / count(*) as over_1_min_share,
    count(*) filter (where held_messages.restart_delay_seconds > 300) / count(*) as over_5_min_share,
    count(*) filter (where held_messages.restart_delay_seconds > 900) / count(*) as over_15_min_share
from marts.held_messages as held_messages
inner join report.restarts as restarts on held_messages.restart_id = restarts.restart_id
where held_messages.restart_delay_seconds is not null and restarts.outcome <> 'other'
group by restarts.outcome
order by restarts.outcome desc
