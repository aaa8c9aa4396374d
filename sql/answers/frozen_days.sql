-- One row if the evidence of the restart `$restart_id` has expired, with the days that its host has left.
select
    frozen_days.host,
    frozen_days.expired_before,
    frozen_days.frozen_before,
    frozen_days.expired_at
from ops.frozen_days as frozen_days
inner join marts.restarts as restarts
    on frozen_days.host = restarts.host and frozen_days.frozen_before > restarts.down_at
where restarts.restart_id = $restart_id
