-- One row per order to flush that belongs to a restart: it came in the restart's window.
-- A stamp of whole seconds reaches to the end of its second; an order in the second in which one window ends
-- and another begins belongs to the first.
select
    restarts.restart_id,
    flush_orders.order_kind,
    flush_orders.source_id,
    flush_orders.line_number,
    flush_orders.ordered_at
from staging.restarts as restarts
inner join staging.flush_orders as flush_orders
    on
        restarts.host = flush_orders.host
        and restarts.window_from < flush_orders.ordered_before
        and coalesce(restarts.window_until > flush_orders.ordered_at, true)
qualify
    row_number() over (
        partition by flush_orders.source_id, flush_orders.line_number
        order by restarts.window_from, restarts.restart_id
    ) = 1
