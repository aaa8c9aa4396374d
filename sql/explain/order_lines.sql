-- One row per log line that claims, in the window of the restart, that the queue was flushed.
select
    if(orders.order_kind = 'commanded', 'flush_commanded', 'flush_marker') as role,
    orders.source_id,
    orders.line_number
from staging.restart_orders as orders
inner join explain.restart as restart
    on orders.restart_id = restart.restart_id
