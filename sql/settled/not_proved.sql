-- One row per host whose rows the events that were read do not prove: it is rebuilt as a whole instead.

-- Whether the service was up before a restart.
with unbounded_restarts as (
    select restarts.host
    from staging.restarts as restarts
    inner join settled.hosts as hosts
        on restarts.host = hosts.host
    where
        restarts.down_at >= hosts.kept_before
        and not exists (
            select 1
            from staging.scan_attempts as attempts
            where
                attempts.host = restarts.host
                and attempts.is_answered
                and attempts.is_fresh_connection
                and attempts.began_at >= hosts.read_from
                and attempts.began_before < hosts.kept_before
        )
),

-- The hop of a failure: an attempt with the same reason, however long ago, may tell its port.
untold_hops as (
    select attempts.host
    from staging.attempts as attempts
    inner join settled.hosts as hosts
        on attempts.host = hosts.host
    where attempts.is_hop_untold and attempts.logged_at >= hosts.kept_before
),

-- The restart for which mail is suspended, unless it is one of the rows that are made.
unexplained_suspensions as (
    select attempts.host
    from staging.scan_attempts as attempts
    inner join settled.hosts as hosts
        on attempts.host = hosts.host
    where
        attempts.cause = 'suspended'
        and attempts.logged_at >= hosts.kept_before
        and not exists (
            select 1
            from staging.held_attempts as held
            inner join staging.restarts as restarts
                on held.restart_id = restarts.restart_id
            where
                held.host = attempts.host
                and held.queue_id = attempts.queue_id
                and held.logged_at = attempts.logged_at
                and restarts.down_at >= hosts.kept_before
        )
        and (
            attempts.logged_at >= hosts.over_by
            or exists (
                select 1
                from staging.held_attempts as held
                where
                    held.host = attempts.host
                    and held.instance = attempts.instance
                    and held.queue_id = attempts.queue_id
            )
        )
),

-- The queue that a line is about.
new_instances as (
    select *
    from staging.log_instances

    except

    select *
    from before.log_instances
),

-- minimal_backoff_time, where the whole log tells it.
changed_estimates as (
    (
        select *
        from staging.backoff_estimates

        except

        select *
        from before.backoff_estimates
    )

    union all

    (
        select *
        from before.backoff_estimates

        except

        select *
        from staging.backoff_estimates
    )
),

-- Whether the log contradicts that setting.
changed_refutations as (
    (
        select *
        from staging.refuted_settings

        except

        select *
        from before.refuted_settings
    )

    union all

    (
        select *
        from before.refuted_settings

        except

        select *
        from staging.refuted_settings
    )
),

-- Whether mail comes back from the scan service, which holds for all of a span without a gap.
changed_spans as (
    select spans.host
    from staging.reinjection_spans as spans
    inner join settled.hosts as hosts
        on spans.host = hosts.host
    where spans.covered_from < hosts.kept_before and spans.reinjected_from >= hosts.kept_before
),

-- Mail of settled days that no line told of, as its log comes late.
late_mail as (
    select facts.host
    from staging.entry_facts as facts
    inner join settled.hosts as hosts
        on facts.host = hosts.host
    where
        facts.first_logged_at >= hosts.news_since
        and facts.told_arrival_at < hosts.kept_before
),

-- Reopened mail that is not there any more: its lines belong to other mail now.
vanished_mail as (
    select reopened.host
    from settled.reopened as reopened
    anti join marts.message_trace as entries
        on
            reopened.host = entries.host
            and reopened.instance = entries.instance
            and reopened.queue_id = entries.queue_id
            and reopened.arrived_at = entries.arrived_at
)

select host from unbounded_restarts
union
select host from untold_hops
union
select host from unexplained_suspensions
union
select host from new_instances
union
select host from changed_estimates
union
select host from changed_refutations
union
select host from changed_spans
union
select host from late_mail
union
select host from vanished_mail
