"""Places in source files to the log lines that stand there, if the archive still has them."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from transforms.archive.bundles import open_members
from transforms.archive.lines import DamagedFileError, parts_of, read_blocks
from transforms.names import MEMBER_MARK, raw_name
from transforms.parse.events import split_lines
from transforms.regular_files import open_regular

Quotes = dict[tuple[str, int], str]


@dataclass(frozen=True)
class Place:
    """One line of a source file; `path` is that of ops.source_files, with `!member` in a bundle."""

    path: str
    log_kind: str
    line_number: int


def read_quotes(archive: Path, places: Iterable[Place]) -> Quotes:
    """Return the lines by path and number, without those whose file is missing or too short.

    Every file is read once and only as far as needed; a bundle is read once for all its members.
    """
    by_file: dict[Path, dict[str | None, list[Place]]] = defaultdict(lambda: defaultdict(list))
    for place in places:
        file, member = _locate(archive, place.path)
        by_file[file][member].append(place)
    quotes: Quotes = {}
    for file, members in by_file.items():
        # A link may have taken its place since.
        if not Path(os.path.realpath(file)).is_relative_to(os.path.realpath(archive)):
            continue
        try:
            for member, stream in _open(file, members):
                quotes.update(_quote(stream, members[member]))
        except (OSError, DamagedFileError):
            # The file is gone, or damaged: the lines read so far stand.
            continue
    return quotes


def _locate(archive: Path, path: str) -> tuple[Path, str | None]:
    """Split a path into a file and its member."""
    file, mark, member = path.partition(MEMBER_MARK)
    return archive / os.fsdecode(raw_name(file)), member if mark else None


def _open(file: Path, members: Mapping[str | None, list[Place]]) -> Iterator[tuple[str | None, BinaryIO]]:
    if None in members:
        with open_regular(file) as plain:
            yield None, plain
    else:
        with closing(open_members(file, {name for name in members if name})) as opened:
            yield from opened


def _quote(stream: BinaryIO, places: list[Place]) -> Quotes:
    wanted = {place.line_number: place for place in places}
    quotes: Quotes = {}
    first_line_number = 1
    try:
        for block in (part for whole in read_blocks(stream) for part in parts_of(whole)):
            next_line_number = first_line_number + block.count(b"\n")
            here = [number for number in wanted if first_line_number <= number <= next_line_number]
            if here:
                is_event_list = wanted[here[0]].log_kind == "system_events"
                lines = split_lines(block, first_line_number, may_be_shift_jis=is_event_list)["line"]
                for number in here:
                    if number - first_line_number < len(lines):
                        quotes[wanted[number].path, number] = lines[number - first_line_number]
            first_line_number = next_line_number
            if first_line_number > max(wanted):
                break
    except DamagedFileError:
        # The lines before the damage are good.
        pass
    return quotes
