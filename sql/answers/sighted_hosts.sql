-- One row per chosen host (each, if the list `$hosts` is empty), with whether its logs could show a restart.
-- System events alone show one. A maillog does unless the finding `$rule` says that it has no mail.
select
    hosts.host,
    count(source_files.source_id) > 0
    and (
        count(source_files.source_id) filter (where source_files.log_kind = 'system_events') > 0
        or count(findings.place) = 0
    ) as is_sighted
from fleet.hosts as hosts
left join ops.source_files as source_files
    on hosts.host = source_files.host and source_files.log_kind <> 'inventory'
left join ops.quarantine as findings
    on hosts.host = findings.place and findings.rule = $rule
where len($hosts) = 0 or list_contains($hosts, hosts.host)
group by hosts.host
order by hosts.host
