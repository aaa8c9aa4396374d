"""A history: the log files of one host, with its entry in the fleet file."""

import gzip
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

# Histories are told by microseconds since this instant; a maillog without years is of its year.
EPOCH = datetime(2026, 11, 24, 10, tzinfo=UTC)
EPOCH_MICROSECONDS = int(EPOCH.timestamp()) * SECOND

Settings = dict[str, str | int]


@dataclass(frozen=True)
class History:
    """The log files of one host by name, and its settings; `label` tells how to make it again."""

    host: str
    files: dict[str, list[str]]
    settings: Settings = field(default_factory=dict)
    label: str = ""

    @property
    def line_count(self) -> int:
        """All lines of all files."""
        return sum(map(len, self.files.values()))

    def __str__(self) -> str:
        told = [f"history {self.label} of host {self.host}, {json.dumps(self.settings)}"]
        for name, lines in self.files.items():
            told += [f"--- {name}", *lines]
        return "\n".join(told)


def write_archive(histories: Iterable[History], folder: Path) -> None:
    """Write each history as the folder of one host, and the fleet file."""
    folder.mkdir(parents=True)
    fleet = []
    for history in histories:
        host_folder = folder / history.host
        host_folder.mkdir()
        fleet.append(f'[hosts."{history.host}"]')
        fleet += [f"{name} = {json.dumps(value)}" for name, value in history.settings.items()]
        for name, lines in history.files.items():
            path = host_folder / name
            path.write_text("".join(f"{line}\n" for line in lines))
            # The year of a log whose name bears no date is that of its last change.
            changed_at = EPOCH.timestamp() + 30 * 86400
            os.utime(path, (changed_at, changed_at))
    (folder / "fleet.toml").write_text("\n".join(fleet) + "\n")


def read_archive(folder: Path, settings: dict[str, Settings]) -> list[History]:
    """Return the recorded hosts of an archive as histories."""
    return [
        History(
            host=path.name,
            files={file.name.removesuffix(".gz"): _read_lines(file) for file in sorted(path.iterdir())},
            settings=settings.get(path.name, {}),
            label=f"{folder.name}/{path.name}",
        )
        for path in sorted(folder.iterdir())
        if path.is_dir()
    ]


def _read_lines(path: Path) -> list[str]:
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode().splitlines()
