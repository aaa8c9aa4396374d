-- One row per maillog, with its place among the maillogs of the host, by which attempts and message events
-- refer to it.
select
    source_order.source_id,
    source_order.source_number
from staging.source_order as source_order
inner join ops.source_files as source_files
    on source_order.source_id = source_files.source_id
where source_files.log_kind = 'maillog'
