-- One row per host and piece of advice, in order of urgency, with its text in both languages.
-- The order is that of config.advice.
-- The document's advice for the build applies whether or not the host was seen to lack a flush; other
-- advice rests on what the restarts since the last change showed (staging.host_evidence). The texts are in
-- transforms/marts/advice.yaml; a line is left out if its figure is NULL here. Advice about a
-- bounce_queue_lifetime that has cost no bounce so far comes last. What shorter retry settings would gain
-- and cost is simulated (marts.retry_advice); where that would be too costly, they are not advised.
with evidence as (
    select
        evidence.*,
        coalesce(retry_advice.reason = 'costly', false) as is_retry_costly,
        nullif(retry_advice.simulated_restart_count, 0) as simulated_restart_count,
        retry_advice.longest_wait_seconds as simulated_from_seconds,
        retry_advice.advised_longest_wait_at_most_seconds,
        retry_advice.daily_extra_retry_count,
        retry_advice.daily_queue_run_count,
        retry_advice.advised_daily_queue_run_count
    from staging.host_evidence as evidence
    left join marts.retry_advice as retry_advice
        on evidence.host = retry_advice.host
),

conditions as (
    select
        host,
        build_advice,
        build_verdict = 'unknown' as is_build_unknown,
        build_verdict = 'unspecified' and current_missing_count > 0 as is_defect_found,
        build_verdict = 'fixed' and current_missing_count > 0 as is_missing_unexpected,
        build_verdict = 'known_defective' or current_missing_count > 0 as is_flush_in_doubt,
        current_not_noticed_count > 0 and not is_intermittent as is_not_noticed,
        current_order_without_effect_count > 0 as is_order_without_effect,
        coalesce(bounce_queue_lifetime_seconds = 0, lost_bounce_count > 0) as is_bounce_at_risk,
        coalesce(lost_bounce_count > 0, false) as is_bounce_lost,
        current_overlong_count > 0 as is_overlong,
        is_retry_short,
        is_retry_costly,
        mta = 'sendmail' as is_sendmail
    from evidence
),

given as (
    select
        host,
        is_bounce_lost,
        unnest(
            if(is_sendmail and is_retry_short, [], build_advice)
            || if(is_overlong, ['check_scan_service'], [])
            || if(is_bounce_at_risk and not is_sendmail, ['raise_bounce_lifetime'], [])
            || if(is_build_unknown and not is_sendmail, ['find_build'], [])
            || if(is_defect_found and not is_sendmail, ['apply_latest_patch'], [])
            || if(is_missing_unexpected and not is_sendmail, ['check_flush'], [])
            || if(is_order_without_effect and not is_sendmail, ['check_order'], [])
            || if(is_not_noticed and not is_sendmail, ['flush_after_restart'], [])
            || if(
                is_flush_in_doubt and not is_retry_short and not is_retry_costly and not is_sendmail,
                ['shorten_retry'],
                []
            )
        ) as advice
    from conditions
),

named_figures as (
    select
        host,
        if(product = 'imsva', '', null) as on_imsva,
        if(product = 'imsva', null, '') as elsewhere,
        if(is_product_guessed, '', null) as if_product_guessed,
        if(is_lifetime_assumed, '', null) as if_lifetime_assumed,
        if(is_retry_assumed, '', null) as if_retry_assumed,
        build,
        longest_restart_seconds,
        queue_run_delay_seconds,
        minimal_backoff_seconds,
        advised_queue_run_delay_seconds,
        advised_minimal_backoff_seconds,
        cast(ceil(minimal_backoff_seconds / 60) as bigint) as retry_wait_min_minutes,
        cast(ceil(retry_wait_max_seconds / 60) as bigint) as retry_wait_max_minutes,
        cast(ceil(advised_minimal_backoff_seconds / 60) as bigint) as advised_wait_min_minutes,
        cast(ceil(advised_wait_max_seconds / 60) as bigint) as advised_wait_max_minutes,
        cast(ceil(missing_wait_max_seconds / 60) as bigint) as missing_wait_minutes,
        if(simulated_restart_count is null, '', null) as if_not_simulated,
        simulated_restart_count,
        cast(ceil(simulated_from_seconds / 60) as bigint) as simulated_from_minutes,
        cast(ceil(advised_longest_wait_at_most_seconds / 60) as bigint) as simulated_wait_minutes,
        cast(ceil(daily_extra_retry_count) as bigint) as extra_retry_count,
        cast(advised_daily_queue_run_count - daily_queue_run_count as bigint) as extra_queue_run_count,
        nullif(missing_wait_count, 0) as missing_wait_count,
        nullif(lost_bounce_count, 0) as lost_bounce_count,
        current_missing_count,
        current_missing_count + current_flushed_count as current_judged_count,
        current_not_noticed_count,
        current_order_without_effect_count,
        current_overlong_count
    from evidence
),

figures as (
    select
        host,
        to_json(named_figures) as figures
    from named_figures
),

lines as (
    select
        code,
        'en' as kind,
        unnest(en) as line,
        generate_subscripts(en, 1) as line_number
    from config.advice
    union all
    select
        code,
        'ja' as kind,
        unnest(ja) as line,
        generate_subscripts(ja, 1) as line_number
    from config.advice
    union all
    select
        code,
        'command' as kind,
        unnest(commands) as line,
        generate_subscripts(commands, 1) as line_number
    from config.advice
),

-- What lies between braces, every second piece, is the name of a figure.
pieces as (
    select
        code,
        kind,
        line_number,
        unnest(string_split_regex(line, '[{}]')) as piece,
        generate_subscripts(string_split_regex(line, '[{}]'), 1) as piece_number
    from lines
),

filled_lines as (
    select
        figures.host,
        pieces.code,
        pieces.kind,
        pieces.line_number,
        string_agg(
            if(pieces.piece_number % 2 = 0, figures.figures ->> pieces.piece, pieces.piece),
            '' order by pieces.piece_number
        ) as line
    from figures
    cross join pieces
    group by figures.host, pieces.code, pieces.kind, pieces.line_number
    having bool_and(pieces.piece_number % 2 = 1 or figures.figures ->> pieces.piece is not null)
),

texts as (
    select
        host,
        code,
        string_agg(line, ' ' order by line_number) filter (where kind = 'en') as text_en,
        string_agg(line, '' order by line_number) filter (where kind = 'ja') as text_ja,
        coalesce(list(line order by line_number) filter (where kind = 'command'), []) as commands
    from filled_lines
    group by host, code
)

select
    given.host,
    row_number() over (
        partition by given.host
        order by given.advice = 'raise_bounce_lifetime' and not given.is_bounce_lost, advice.position
    ) as position,
    advice.code,
    advice.title_en,
    advice.title_ja,
    texts.text_en,
    texts.text_ja,
    texts.commands
from given
inner join config.advice as advice
    on given.advice = advice.code
inner join texts
    on given.host = texts.host and given.advice = texts.code
