"""The arguments that commands share, and what they choose: the lake, the archive, restarts, an exit code."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.language import Language, language_of
from flows.settings_file import has_settings
from transforms.names import given_host
from transforms.problems import MaillagError

if TYPE_CHECKING:
    from flows.settings import Settings

DONE, BROKEN, WRONG_USE = 0, 1, 2
# The bounds of a query unless others are given.
QUERY_TIMEOUT_SECONDS = 300
QUERY_MEMORY_MIB = 1024

QueryTimeout = Annotated[
    float, typer.Option("--timeout", min=0, max=1e9, help="Seconds before it is stopped; 0 is no limit.")
]
QueryMemory = Annotated[
    int, typer.Option("--memory", min=256, max=2**24, help="Most memory it may use, in MiB.")
]

Archive = Annotated[Path, typer.Argument(help="Folder with one folder of logs per host.")]
Lake = Annotated[
    Path | None, typer.Option("--lake", help="Folder for events and marts. Default: `lake` of the settings.")
]
Hosts = Annotated[
    list[str] | None,
    typer.Option(
        "--host",
        help="Only this host; may be repeated.",
        callback=lambda names: [given_host(name) for name in names or ()],
    ),
]
Day = datetime | None
DAY_FORMATS = ["%Y-%m-%d"]
Since = Annotated[
    Day, typer.Option("--since", formats=DAY_FORMATS, help="Only restarts on or after this day (host time).")
]
Until = Annotated[
    Day,
    typer.Option("--until", formats=DAY_FORMATS, help="Only restarts on or before this day (host time)."),
]


def _alone(context: typer.Context, value: bool) -> bool:
    """Refuse --json together with --csv: called for each option, with those read so far in the context."""
    if value and (context.params.get("as_json") or context.params.get("as_csv")):
        raise typer.BadParameter("--json and --csv exclude each other.")
    return value


Lang = Annotated[
    Language | None,
    typer.Option("--lang", help="Language: en or ja. Default: `lang` of the settings, else the locale."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.", callback=_alone)]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV instead of tables.", callback=_alone)]


def read_settings() -> "Settings":
    """Read the settings; a command that is given all it needs does not pay for their import."""
    from flows.settings import load_settings

    return load_settings()


def chosen_lake(lake: Path | None) -> Path:
    """Return the lake given by --lake, else that of the settings."""
    return lake or read_settings().lake


def chosen_archive(archive: Path | None) -> Path | None:
    """Return the archive given by --archive, else that of the settings, if any.

    Raises MaillagError if the given one is not a folder.
    """
    if archive is None:
        return read_settings().archive
    if not archive.is_dir():
        raise MaillagError(f"{archive}: is not a folder. Give the archive that the lake was made from.")
    return archive


def chosen_language(context: typer.Context, lang: Language | None) -> Language:
    """Return the language given to the command, else before it, else by the settings, else by the locale."""
    given = lang or context.find_root().params.get("lang")
    return language_of(given or (read_settings().lang if has_settings() else None))


def restart_choice(hosts: list[str] | None, since: Day, until: Day) -> dict[str, Any]:
    """Return the parameters of queries for the restarts that the options choose (see flows.catalog)."""
    return {
        "hosts": list(hosts or ()),
        "since": since and since.date(),
        "until": until and until.date(),
        "newest": None,
    }


def exit_code(severities: Iterable[str]) -> int:
    """Return BROKEN if a finding is critical, else DONE."""
    return BROKEN if "critical" in severities else DONE
