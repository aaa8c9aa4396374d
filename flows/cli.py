"""The command line: which commands there are, and how each ends. Results on stdout, all else on stderr."""

import io
import os
import signal
import sys

import duckdb
import typer

from flows import ask_commands, run_commands
from flows.options import WRONG_USE
from flows.tables import plain, plain_lines
from transforms.names import AS_SHOWN
from transforms.problems import MaillagError

PIPE_CLOSED = 128 + signal.SIGPIPE
# In the order of the help.
COMMANDS = (
    run_commands.run,
    run_commands.init,
    ask_commands.status,
    run_commands.compact,
    run_commands.expire,
    run_commands.acknowledge,
    ask_commands.restarts,
    ask_commands.trace,
    ask_commands.fleet,
    ask_commands.explain,
    ask_commands.report,
    ask_commands.query,
)

app = typer.Typer(
    help="Shows which mail waited for restarts of the InterScan MSS / IMSVA scan service, and why.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in COMMANDS:
    app.command()(command)


def main() -> None:
    """Run the command line; a MaillagError or a damaged lake ends it with code 2.

    If the reader closes the pipe, it ends without a message, as SIGPIPE would end it. A character that the
    terminal lacks is shown as `%XX`, as in names.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=AS_SHOWN)
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except MaillagError as error:
        print(f"maillag: {plain_lines(error)}", file=sys.stderr)
        sys.exit(WRONG_USE)
    except (BrokenPipeError, SystemExit) as end:
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
