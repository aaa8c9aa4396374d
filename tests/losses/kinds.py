"""One host's maillog to what is left of it when lines are lost, or come twice: one function per kind.

Each takes the lines and some parameters, and returns the host's maillogs by name. Each kind also draws
parameters: `options` yields them in an order of chance, all of them or as many as one wants.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tests.losses.recordings import ZONE, Line

# File names, to which the day is added; the second is a log server's copy in the same host's folder.
MAILLOG = "maillog"
COPY = "mail.log"
PROGRAMS = ("qmgr", "smtp", "cleanup", "smtpd", "pickup", "error")
# imuxsock.ratelimit.interval; its burst is 200.
LIMIT_SECONDS = 5
LIMITS = (10, 15, 20, 30, 50, 75, 100, 150, 200)
SHARES = (1, 3, 10, 30)
LONGEST_BLOCK_SECONDS = 60

Lines = tuple[Line, ...]
Parameters = Mapping[str, int | str]
Maillogs = dict[str, list[str]]


@dataclass(frozen=True)
class Log:
    """A recorded maillog, with what its whole tells: the ids of held messages, and the spans that matter.

    A span is from shortly before an outage until shortly after its last held message is released.
    """

    lines: Lines
    held_ids: frozenset[str] = frozenset()
    spans: tuple[tuple[datetime, datetime], ...] = ()


@dataclass(frozen=True)
class Kind:
    """A way in which a maillog loses or doubles lines.

    `loses` is False where no line is lost: then nothing may change. With `may_doubt` the verdict may
    become unknown all the same.
    """

    name: str
    make: Callable[..., Maillogs]
    options: Callable[[Log, random.Random], Iterator[Parameters]]
    meaning: str
    weight: int
    loses: bool = True
    may_doubt: bool = False


def drop_line(lines: Lines, *, line: int) -> Maillogs:
    """Leave out one line."""
    return _one(lines[:line] + lines[line + 1 :])


def drop_by_chance(lines: Lines, *, percent: int, seed: int) -> Maillogs:
    """Leave out each line with the same probability."""
    chance = random.Random(seed)
    return _one(tuple(line for line in lines if chance.random() * 100 >= percent))


def drop_block(lines: Lines, *, second: int, seconds: int, daemon: str = "") -> Maillogs:
    """Leave out all lines, or those of one program, for some seconds, counted from the first line."""
    begin = lines[0].logged_at + timedelta(seconds=second)
    end = begin + timedelta(seconds=seconds)
    return _one(
        tuple(line for line in lines if not begin <= line.logged_at < end or daemon not in ("", line.daemon))
    )


def drop_program(lines: Lines, *, daemon: str) -> Maillogs:
    """Leave out all lines of a program."""
    return _one(tuple(line for line in lines if line.daemon != daemon))


def limit_rate(lines: Lines, *, limit: int) -> Maillogs:
    """Leave out what a process logs beyond a limit in five seconds (rsyslog, ratelimit.c)."""
    begun_at: dict[str, datetime] = {}
    count: dict[str, int] = {}
    kept = []
    for line in lines:
        process = line.pid or line.tag
        begin = begun_at.get(process)
        since = line.logged_at - begin if begin else timedelta(0)
        if begin is None or since > timedelta(seconds=LIMIT_SECONDS) or since < timedelta(0):
            begun_at[process], count[process] = line.logged_at, 0
        if count[process] < limit:
            count[process] += 1
            kept.append(line)
    return _one(tuple(kept))


def cut_head(lines: Lines, *, line: int) -> Maillogs:
    """Leave out all lines before one."""
    return _one(lines[line:])


def cut_tail(lines: Lines, *, line: int) -> Maillogs:
    """Leave out all lines from one on."""
    return _one(lines[:line])


def double_lines(lines: Lines, *, every: int, after: str) -> Maillogs:
    """Write every second line, say, twice: at once, or after the last line of its second."""
    doubled = [line for number, line in enumerate(lines) if number % every == every - 1]
    if after == "second":
        # A stable sort keeps what is of one second in order.
        return _one(tuple(sorted([*lines, *doubled], key=lambda line: line.logged_at)))
    return _one(tuple(line for i, line in enumerate(lines) for _ in range(1 + (i % every == every - 1))))


def write_twice(lines: Lines) -> Maillogs:
    """Write the whole log twice into one file."""
    return _one(lines + lines)


def replay(lines: Lines, *, line: int, count: int, later: int) -> Maillogs:
    """Write a stretch again with its old stamps, after so many later lines (imjournal does)."""
    end = line + count
    return _one(lines[: end + later] + lines[line:end] + lines[end + later :])


def copy_with_header(lines: Lines, *, header: str, lost: int) -> Maillogs:
    """Add a file with the same lines under another header, short of some percent."""
    write = {"rfc5424": _as_rfc_5424, "rfc3339": _as_rfc_3339}[header]
    chance = random.Random(lost)
    copied = [write(line, number) for number, line in enumerate(lines) if chance.random() * 100 >= lost]
    return _one(lines) | {COPY: copied}


def copy_shifted(lines: Lines, *, seconds: int, file: str) -> Maillogs:
    """Add all lines as a second daemon writes them, some seconds off: to the same file, or to another one."""
    shifted = tuple(_shifted(line, timedelta(seconds=seconds)) for line in lines)
    if file == "other":
        return _one(lines) | {COPY: _texts(shifted)}
    # A stable sort: of equal times, the line written first comes first.
    return _one(tuple(sorted(lines + shifted, key=lambda line: line.logged_at)))


def _one(lines: Lines) -> Maillogs:
    return {MAILLOG: _texts(lines)}


def _texts(lines: Lines) -> list[str]:
    return [line.text for line in lines]


def _shifted(line: Line, by: timedelta) -> Line:
    logged_at = line.logged_at + by
    local = logged_at.astimezone(ZONE)
    pid = f"[{line.pid}]" if line.pid else ""
    text = f"{local:%b} {local.day:2} {local:%H:%M:%S} {line.host} {line.tag}{pid}: {line.message}"
    return Line(text, logged_at, line.host, line.tag, line.pid, line.message, line.queue_id)


def _as_rfc_3339(line: Line, number: int) -> str:
    pid = f"[{line.pid}]" if line.pid else ""
    return f"{line.logged_at.astimezone(ZONE).isoformat()} {line.host} {line.tag}{pid}: {line.message}"


def _as_rfc_5424(line: Line, number: int) -> str:
    # Microseconds that do not fall back within a second.
    stamp = line.logged_at.astimezone(ZONE) + timedelta(microseconds=min(number, 999_999))
    return (
        f"<22>1 {stamp.isoformat(timespec='microseconds')} {line.host} {line.tag} {line.pid or '-'} - - "
        f"{line.message}"
    )


# --- which parameters there are


def _held_lines(log: Log, chance: random.Random) -> Iterator[Parameters]:
    numbers = [number for number, line in enumerate(log.lines) if line.queue_id in log.held_ids]
    chance.shuffle(numbers)
    return ({"line": number} for number in numbers)


def _shares(log: Log, chance: random.Random) -> Iterator[Parameters]:
    while True:
        yield {"percent": chance.choice(SHARES), "seed": chance.randrange(10_000)}


def _blocks(log: Log, chance: random.Random) -> Iterator[Parameters]:
    if not log.lines:
        return
    first, last = log.lines[0].logged_at, log.lines[-1].logged_at
    while True:
        seconds = chance.randint(1, LONGEST_BLOCK_SECONDS)
        # Most of them where it matters: a block may begin before a span.
        since, until = chance.choice([*log.spans * 3, (first, last)])
        begin = since - timedelta(seconds=chance.randrange(seconds))
        second = int((begin - first).total_seconds()) + chance.randrange(
            int((until - since).total_seconds()) + seconds
        )
        yield {"second": max(0, second), "seconds": seconds}


def _program_blocks(log: Log, chance: random.Random) -> Iterator[Parameters]:
    if daemons := _daemons(log):
        for block in _blocks(log, chance):
            yield {**block, "daemon": chance.choice(daemons)}


def _programs(log: Log, chance: random.Random) -> Iterator[Parameters]:
    return ({"daemon": daemon} for daemon in _daemons(log))


def _daemons(log: Log) -> list[str]:
    logged = {line.daemon for line in log.lines}
    return [daemon for daemon in PROGRAMS if daemon in logged]


def _limits(log: Log, chance: random.Random) -> Iterator[Parameters]:
    # Only those that drop something.
    limits = sorted({*LIMITS, *(chance.randint(LIMITS[0], LIMITS[-1]) for _ in range(20))})
    fitting = [limit for limit in limits if len(limit_rate(log.lines, limit=limit)[MAILLOG]) < len(log.lines)]
    return ({"limit": limit} for limit in chance.sample(fitting, len(fitting)))


def _cuts(log: Log, chance: random.Random) -> Iterator[Parameters]:
    inside = [
        number
        for number, line in enumerate(log.lines)
        if number and any(since <= line.logged_at <= until for since, until in log.spans)
    ]
    chance.shuffle(inside)
    return ({"line": number} for number in inside)


def _steps(log: Log, chance: random.Random) -> Iterator[Parameters]:
    return ({"every": every, "after": after} for after in ("line", "second") for every in (1, 2, 3))


def _nothing(log: Log, chance: random.Random) -> Iterator[Parameters]:
    yield {}


def _stretches(log: Log, chance: random.Random) -> Iterator[Parameters]:
    held = [number for number, line in enumerate(log.lines) if line.queue_id in log.held_ids]
    while held:
        count = chance.choice((1, 2, 5, 20, 100, 500))
        line = max(0, chance.choice(held) - chance.randrange(count))
        yield {"line": line, "count": count, "later": chance.choice((1, 10, 100, 1000))}


def _headers(log: Log, chance: random.Random) -> Iterator[Parameters]:
    return ({"header": header, "lost": lost} for lost in (0, 10) for header in ("rfc5424", "rfc3339"))


def _shifts(log: Log, chance: random.Random) -> Iterator[Parameters]:
    return ({"seconds": seconds, "file": file} for file in ("same", "other") for seconds in (1, -1))


KINDS = {
    kind.name: kind
    for kind in (
        Kind("line", drop_line, _held_lines, "one line of a held message", 45),
        Kind("chance", drop_by_chance, _shares, "1, 3, 10 or 30 % by chance", 12),
        Kind("block", drop_block, _blocks, "all lines for 1 to 60 s", 12),
        Kind("program", drop_program, _programs, "all lines of one program", 3),
        Kind("program_block", drop_block, _program_blocks, "one program's lines for 1 to 60 s", 6),
        Kind("rate", limit_rate, _limits, "each process beyond 10 to 200 lines in 5 s", 6),
        Kind("head", cut_head, _cuts, "the log begins later", 4),
        Kind("tail", cut_tail, _cuts, "the log ends earlier", 4),
        Kind("doubled", double_lines, _steps, "every line, or every second or third, twice", 2, loses=False),
        Kind("twice", write_twice, _nothing, "the whole log twice", 1, loses=False, may_doubt=True),
        Kind("replay", replay, _stretches, "a stretch again, later", 3, loses=False, may_doubt=True),
        Kind("copy", copy_with_header, _headers, "a copy under another header", 1, loses=False),
        Kind("shifted", copy_shifted, _shifts, "a copy 1 s off", 2, loses=False, may_doubt=True),
    )
}
