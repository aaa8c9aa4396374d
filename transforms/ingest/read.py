"""Turns an archive into new lake files: every source file that is new or changed is read once.

A host's files are read together (reader.py): maillogs by the fast lane, and the lines that it leaves over by
the general lane (batch.py). If maillag itself fails on one of them, they are read one by one.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from transforms.archive.bundles import open_members
from transforms.archive.files import SourceFile
from transforms.archive.lines import DamagedFileError
from transforms.cores import thread_count
from transforms.fast_lane.kernels import is_compiled
from transforms.ingest.batch import (
    Files,
    NewSource,
    copy_of,
    damaged,
    defect,
    not_a_log,
    unreadable,
)
from transforms.ingest.plan import Plan
from transforms.ingest.reader import NotALogError, Reader
from transforms.lake.records import LakeFile, SeenFile, SourceRecord
from transforms.parse.events import (
    Reading,
)
from transforms.problems import Problem
from transforms.progress import advance
from transforms.regular_files import open_regular

if TYPE_CHECKING:
    from transforms.fast_lane.lane import FastLane

# Size on disk; nearly all files are compressed.
WORTH_COMPILING_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Reads:
    """What one pass over an archive read, and what it could not read.

    `problems` are about files that gave no source; each new source has its own. The ledger does not list
    `files` yet.
    """

    new_sources: list[NewSource]
    files: list[LakeFile]
    seen_copies: list[SeenFile]
    problems: list[Problem]
    has_leftovers: bool = False
    """Whether this run left files in the lake that are not among `files`."""


def read_sources(
    plan: Plan, lake: Path, known: Mapping[str, SourceRecord], *, run_id: str, part: str
) -> Reads:
    """Read the planned source files into lake files that no reader sees yet.

    `known` has what was read before, by source_id; `part` names this reading within the run. A file that
    cannot be read becomes a problem and does not affect the others. If maillag itself fails on a file, all
    files of that host are read one by one, and only that file becomes a problem. Raises OSError if the lake
    cannot be written to.
    """
    problems: list[Problem] = []
    with ThreadPoolExecutor(thread_count()) as pool:
        reader = Reader(plan, lake, known, run_id=run_id, part=part, pool=pool, lane=_load_fast_lane(plan))
        for _, of_host in groupby(plan.readings, key=lambda planned: planned[0].host):
            readings = list(of_host)
            try:
                _read_together(reader, readings, problems)
            except OSError:
                raise
            except Exception:
                begun = {file.path for file, _ in reader.begun}
                others = [planned for planned in readings if planned[0].path not in begun]
                # Small hosts before this one share its files.
                unfinished = [*reader.unfinished, *others]
                reader.abandon()
                _read_one_by_one(reader, unfinished, problems)
        reader.finish()
    new_sources, copies = _without_copies(reader.finished, plan, known)
    return Reads(
        new_sources,
        [file for files in reader.files for file in files.files],
        [copy.seen for copy, _ in copies],
        [*problems, *(copy_of(copy.record.path, kept_path) for copy, kept_path in copies)],
        has_leftovers=reader.has_leftovers,
    )


def _without_copies(
    finished: Iterable[tuple[NewSource, Files]], plan: Plan, known: Mapping[str, SourceRecord]
) -> tuple[list[NewSource], list[tuple[NewSource, str]]]:
    """Return the new sources, and the copies of logs, each with the path of the file that is kept.

    The longest of several copies is kept; the rows of the others are removed from their lake files.
    """
    rivals: dict[str, list[tuple[NewSource, Files]]] = defaultdict(list)
    for new, files in finished:
        rivals[new.record.source_id].append((new, files))
    new_sources, left_out = [], []
    dropped: dict[int, tuple[Files, set[str]]] = {}
    for source_id, same in rivals.items():
        longest, *copies = sorted(same, key=lambda rival: rival[0].record.content_bytes, reverse=True)
        kept = longest[0].record
        if source_id in plan.unchanged_ids and known[source_id].content_bytes >= kept.content_bytes:
            kept = known[source_id]
            copies.append(longest)
        else:
            new_sources.append(longest[0])
        for copy, files in copies:
            dropped.setdefault(id(files), (files, set()))[1].add(source_id)
            left_out.append((copy, kept.path))
    for files, source_ids in dropped.values():
        files.drop(source_ids)
    return new_sources, left_out


def _read_together(
    reader: Reader, readings: Iterable[tuple[SourceFile, Reading]], problems: list[Problem]
) -> None:
    """Read files to their end; add why some of them could not be read to `problems`."""
    for source, reading, stream in _open_sources(readings, problems):
        try:
            reader.read(source, reading, stream)
        except OSError as error:
            problems.append(unreadable(source.path, error))
        except NotALogError as error:
            problems.append(not_a_log(source, has_foreign_months=error.has_foreign_months))
        advance(source.size_bytes)


def _read_one_by_one(
    reader: Reader, readings: Iterable[tuple[SourceFile, Reading]], problems: list[Problem]
) -> None:
    """Read files one by one, because maillag fails on one of them; add why some could not be read."""
    for source, reading in readings:
        try:
            _read_together(reader, [(source, reading)], problems)
            reader.finish()
        except OSError:
            raise
        except Exception as error:
            reader.abandon()
            problems.append(defect(source.path, error))


def _open_sources(
    readings: Iterable[tuple[SourceFile, Reading]], problems: list[Problem]
) -> Iterator[tuple[SourceFile, Reading, BinaryIO]]:
    """Yield each source file with its content; a tar or zip file is read once for all its members."""
    for path, group in groupby(readings, key=lambda planned: planned[0].absolute_path):
        planned = {source.member: (source, reading) for source, reading in group}
        (first, _), *_ = planned.values()
        try:
            if first.member is None:
                with open_regular(path) as plain:
                    yield *planned.pop(None), plain
            else:
                with closing(open_members(path, {name for name in planned if name}, first.limits)) as members:
                    for name, stream in members:
                        if name in planned:
                            yield *planned.pop(name), stream
        except OSError as error:
            problems.append(unreadable(first.path, error))
        except DamagedFileError as error:
            problems += [damaged(source, error, 0) for source, _ in planned.values()]


def _load_fast_lane(plan: Plan) -> "FastLane | None":
    """Return the fast lane; None if the general lane should do all the work.

    That is if numba cannot be loaded, or if compiling would take longer than reading.
    """
    bytes_to_read = sum(file.size_bytes for file, _ in plan.readings if file.log_kind == "maillog")
    try:
        if bytes_to_read < WORTH_COMPILING_BYTES and not is_compiled():
            return None
        # The module imports the compiler only if there is something to compile.
        from transforms.fast_lane.lane import FastLane

        return FastLane()
    except (ImportError, OSError):
        return None
