-- One row per host of the fleet without any log read.
select hosts.host
from fleet.hosts as hosts
anti join ops.source_files as source_files on hosts.host = source_files.host
order by hosts.host
