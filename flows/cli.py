"""The command line: which commands there are, and how each ends. Results on stdout, all else on stderr."""

import io
import os
import signal
import sys
from collections.abc import Callable
from typing import Annotated

import duckdb
import typer

from flows import ask_commands, file_commands, run_commands, what_if_command
from flows.language import language_of, say
from flows.options import WRONG_USE, Lang
from flows.tables import plain, plain_lines
from transforms.names import AS_SHOWN
from transforms.problems import MaillagError

PIPE_CLOSED = 128 + signal.SIGPIPE
STOPPED = 128 + signal.SIGINT
# In the order of the help, each with an example.
COMMANDS: dict[Callable[..., None], str] = {
    run_commands.run: "maillag run /srv/archive --lake /srv/lake",
    run_commands.init: "maillag init /srv/archive",
    ask_commands.status: "maillag status --verify",
    run_commands.compact: "maillag compact --dry-run",
    run_commands.expire: "maillag expire --before 2026-01-01 --dry-run",
    run_commands.acknowledge: "maillag acknowledge gw1/maillog.3.gz",
    ask_commands.restarts: "maillag restarts --host gw1 --since 2026-11-01",
    ask_commands.trace: "maillag trace user@example.com --held --since 2026-11-01",
    ask_commands.fleet: "maillag fleet --host gw1",
    what_if_command.what_if: "maillag what-if --queue-run-delay 300s --minimal-backoff-time 300s",
    ask_commands.explain: "maillag explain gw1-20261124T031333Z --archive /srv/archive",
    file_commands.report: "maillag report --days 30 --out report.html",
    ask_commands.query: "maillag query 'select host, count(*) from marts.restarts group by host'",
    file_commands.export: "maillag export marts.restarts --for excel --out restarts.csv",
}
HELP = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    help="Shows which mail waited for restarts of the InterScan MSS / IMSVA scan service, and why.",
    epilog="\b\nExample:\n  maillag restarts --lake /srv/lake",
    no_args_is_help=True,
    context_settings=HELP,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command, example in COMMANDS.items():
    app.command(epilog=f"\b\nExample:\n  {example}", context_settings=HELP)(command)


def _print_version(value: bool) -> None:
    if value:
        # This import takes longer than the rest of the help.
        from importlib.metadata import version

        print(f"maillag {version('maillag')}")
        raise typer.Exit


@app.callback()
def _options(
    lang: Lang = None,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Take the options before the command, which the commands look up in their context."""


def main() -> None:
    """Run the command line; a MaillagError or a damaged lake ends it with code 2.

    Ctrl-C ends it with 130 and says what is kept. If the reader closes the pipe, it ends without a message,
    as SIGPIPE would end it. A character that the terminal lacks is shown as `%XX`, as in names.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=AS_SHOWN)
    try:
        try:
            app(prog_name="maillag")
        finally:
            sys.stdout.flush()
    except MaillagError as error:
        print(f"maillag: {plain_lines(error)}", file=sys.stderr)
        sys.exit(WRONG_USE)
    except KeyboardInterrupt:
        _stop()
    except (BrokenPipeError, SystemExit) as end:
        if isinstance(end, SystemExit) and end.code == STOPPED:
            _stop()
        # typer and rich make a closed pipe exit code 1.
        if isinstance(end, SystemExit) and not isinstance(end.__context__, BrokenPipeError):
            raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, 2):
            os.dup2(nowhere, descriptor)
        sys.exit(PIPE_CLOSED)
    except duckdb.Error as error:
        reason = plain(str(error).splitlines()[0])
        print(
            f"maillag: The lake cannot be read ({reason}). `maillag run ARCHIVE` rebuilds damaged files, and "
            "`maillag status --verify --deep` names them; if it finds none, report this as a defect.",
            file=sys.stderr,
        )
        sys.exit(WRONG_USE)


def _stop() -> None:
    print(f"\n{say(language_of(None), 'terminal.stopped')}", file=sys.stderr)
    sys.exit(STOPPED)
