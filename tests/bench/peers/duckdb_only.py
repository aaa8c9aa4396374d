"""A maillog, plain or gz, to one Parquet file with DuckDB alone: one statement, all cores, order not kept."""

import sys

import duckdb

HEADER = (
    r"^([A-Z][a-z]{2} +\d{1,2} \d\d:\d\d:\d\d) (\S+) ([^\[: ]+)(?:\[(\d+)\])?: "
    r"(?:([0-9A-F]{6,16}|[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{15,20}): )?(.*)$"
)
ATTEMPT = (
    r"^to=<([^>]*)>, (?:orig_to=<([^>]*)>, )?relay=([^\[,]+)(?:\[([^\]]+)\])?(?::(\d+))?, "
    r"(?:conn_use=(\d+), )?delay=([\d.]+), delays=([\d.]+)/([\d.]+)/([\d.]+)/([\d.]+), "
    r"dsn=(\d\.\d+\.\d+), status=(\w+) \((.*)\)$"
)
SQL = """
copy (
    with lines as (
        select
            unnest(
                regexp_extract(
                    line, $header, ['stamp', 'host', 'program', 'pid', 'queue_id', 'rest']
                )
            )
        from
            read_csv(
                $maillog,
                delim = '\x01', quote = '', escape = '', header = false, auto_detect = false,
                strict_mode = false, columns = {'line': 'VARCHAR'}
            )
    ),

    parsed as (
        select
            *,
            case when starts_with(rest, 'to=<') then
                regexp_extract(
                    rest,
                    $attempt,
                    [
                        'recipient', 'original_recipient', 'relay_host', 'relay_address', 'relay_port',
                        'connection_use_count', 'delay_seconds', 'before_qmgr_seconds', 'in_qmgr_seconds',
                        'connection_setup_seconds', 'transmission_seconds', 'dsn', 'status', 'reason'
                    ]
                )
            end as attempt,
            case when starts_with(rest, 'from=<') then
                regexp_extract(
                    rest,
                    '^from=<([^>]*)>, size=(\\d+), nrcpt=(\\d+) ',
                    ['sender', 'size_bytes', 'recipient_count']
                )
            end as activation,
            case when starts_with(rest, 'client=') then
                regexp_extract(rest, '^client=([^\\[]+)\\[([^\\]]+)\\]', ['client_host', 'client_address'])
            end as client,
            case when starts_with(rest, 'message-id=') then substr(rest, 12) end as message_id
        from lines
    )

    select
        strptime('2026 ' || stamp, '%Y %b %d %H:%M:%S') as logged_at,
        host,
        program,
        try_cast(pid as integer) as pid,
        nullif(queue_id, '') as queue_id,
        attempt.recipient,
        nullif(attempt.original_recipient, '') as original_recipient,
        attempt.relay_host,
        nullif(attempt.relay_address, '') as relay_address,
        try_cast(attempt.relay_port as integer) as relay_port,
        try_cast(attempt.connection_use_count as integer) as connection_use_count,
        try_cast(attempt.delay_seconds as double) as delay_seconds,
        try_cast(attempt.before_qmgr_seconds as double) as before_qmgr_seconds,
        try_cast(attempt.in_qmgr_seconds as double) as in_qmgr_seconds,
        try_cast(attempt.connection_setup_seconds as double) as connection_setup_seconds,
        try_cast(attempt.transmission_seconds as double) as transmission_seconds,
        attempt.dsn,
        attempt.status,
        attempt.reason,
        activation.sender,
        try_cast(activation.size_bytes as bigint) as size_bytes,
        try_cast(activation.recipient_count as integer) as recipient_count,
        client.client_host,
        client.client_address,
        message_id,
        case when coalesce(attempt.recipient, activation.sender, client.client_host, message_id) is null
            then rest
        end as other_text
    from parsed
) to 'PARQUET' (format parquet, compression zstd)
"""


def main(maillog: str, parquet: str) -> None:
    """Read the maillog and write the Parquet file."""
    connection = duckdb.connect()
    connection.execute("set preserve_insertion_order = false")
    given = {"maillog": maillog, "header": HEADER, "attempt": ATTEMPT}
    connection.execute(SQL.replace("PARQUET", parquet.replace("'", "''")), given)


if __name__ == "__main__":
    main(*sys.argv[1:])
