"""Rows of hops to what a person reads: the path of each mail, hop by hop, with the restarts that held it."""

from collections.abc import Sequence
from itertools import groupby

from rich.console import Console

from flows.catalog import Row
from flows.language import Language, Seconds, say
from flows.tables import Column, plain, show_table, show_text
from flows.words import Clock, named

# Traces printed for people; machines get all.
TRACES_SHOWN = 20


def show_hops(
    console: Console,
    rows: Sequence[Row],
    zones: dict[str, str],
    wanted: str,
    *,
    language: Language,
    is_chosen: bool,
) -> None:
    """Print each trace as a table of its hops, the newest trace first; `is_chosen` if not all were wanted."""
    traces = [list(hops) for _, hops in groupby(rows, lambda row: row["trace_id"])][::-1]
    if not traces:
        none = "terminal.no_mail_chosen" if is_chosen else "terminal.no_mail"
        show_text(console, say(language, none, wanted=plain(wanted)))
    for rows_of_hops in traces[:TRACES_SHOWN]:
        _show_trace(console, rows_of_hops, zones, language)
        console.print()
    if len(traces) > TRACES_SHOWN:
        show_text(console, say(language, "terminal.more_traces", n=len(traces) - TRACES_SHOWN))


def _show_trace(console: Console, rows: Sequence[Row], zones: dict[str, str], language: Language) -> None:
    show_text(console, _title(rows[0], language), style="bold")
    clock = Clock.of((row["host"] for row in rows), zones, language)
    # A hop that several restarts held has a row for each.
    hops = [next(of_hop) for _, of_hop in groupby(rows, lambda row: (row["hop_number"], row["queue_id"]))]
    show_table(
        console,
        (
            Column(say(language, "terminal.hop"), is_right=True),
            Column(say(language, "terminal.arrived", zone=plain(clock.heading))),
            Column(say(language, "terminal.queue_id")),
            Column(say(language, "terminal.recipients"), is_prose=True),
            Column(say(language, "terminal.relay"), is_prose=True, is_spare=True),
            Column(say(language, "terminal.became"), is_prose=True),
        ),
        [
            (
                hop["hop_number"],
                clock.show(hop["arrived_at"], hop["host"]),
                hop["queue_id"],
                say(language, "counted.comma").join(hop["recipients"] or ()),
                hop["relay"],
                _ending(hop, language),
            )
            for hop in hops
        ],
        language=language,
    )
    for row in rows:
        if row["restart_id"] is not None:
            show_text(console, _held(row, language))


def _title(first: Row, language: Language) -> str:
    sender = (
        say(language, "terminal.sender_unknown")
        if first["sender"] is None
        else say(language, "terminal.from_sender", sender=f"<{plain(first['sender'])}>")
    )
    message_id = plain(first["message_id"]) or say(language, "terminal.no_message_id")
    return f"{plain(first['trace_id'])}  {sender}  {message_id}"


def _ending(row: Row, language: Language) -> str:
    status = named("terminal.status_", str(row["status"]), language)
    # Only the reply names a next hop that the log does not show.
    is_by_reply = row["next_queue_id"] is not None and not row["next_hop_count"]
    if not is_by_reply:
        return status
    return say(language, "terminal.became_as", status=status, queue_id=row["next_queue_id"])


def _held(row: Row, language: Language) -> str:
    seconds = row["restart_delay_seconds"]
    return say(
        language,
        "terminal.hop_held_on" if seconds is None else "terminal.hop_held",
        hop=row["hop_number"],
        restart=plain(row["restart_id"]),
        **({} if seconds is None else {"time": Seconds(seconds)}),
    )
