-- One row per host and queue id with lines that may be new.
select distinct
    mail.host,
    mail.queue_id
from recent.mail as mail
inner join settled.changed_since as changes
    on mail.host = changes.host and mail.logged_at >= changes.news_since
where mail.queue_id is not null
