-- One row per shape of unparsed lines, for the ten commonest shapes.
-- A shape is a line with <...> in place of each address and N in place of each number or queue id.
select
    count(*) as line_count,
    any_value(reason) as reason,
    regexp_replace(
        regexp_replace(line, '<[^>]*>|[^\s<>=]+@[^\s<>,]+', '<...>', 'g'),
        '[0-9A-Fa-f]*[0-9][0-9A-Fa-f]*', 'N', 'g'
    ) as shape
from events.unparsed_lines
group by shape
order by line_count desc, shape asc
limit 10
