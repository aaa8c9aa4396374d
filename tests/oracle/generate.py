"""A seed to a history: a plan drawn by chance and run, its lines as files, or lines without any sense."""

import random
from dataclasses import replace
from datetime import datetime, timedelta

from tests.oracle.history import DAY, EPOCH, HOUR, MINUTE, SECOND, History, Settings
from tests.oracle.simulate import Episode, Host, Line, Plan
from tests.oracle.wild import Wild

FLUSH = (
    "[8954:4061145968] [NORMAL]SysMonitor: Control postfix by cmd /opt/trend/imss/bin/close_handle_sh "
    '"/opt/trend/imss/script/postfix flush >/dev/null 2>&1"'
)
BUILDS: list[Settings] = [
    {},
    {"product": "imsva", "version": "9.1", "build": 1631},
    {"product": "imsva", "version": "9.1", "build": 2090},
    {"product": "imss", "version": "9.1", "build": 1241},
    {"product": "imss", "version": "9.1", "build": 1335},
    {"product": "imss", "version": "9.1", "build": 1340, "wrapper_md5": "5e0eb2ceffbf474480ec2814e85d66ae"},
    {"product": "imss", "version": "9.1", "build": 1340, "wrapper_md5": "0123456789abcdef0123456789abcdef"},
]


def generate(seed: int, *, episode_count: int = 5, are_ids_used_again: bool = True) -> History:
    """Return the history of a seed: the same one each time."""
    chance = random.Random(seed)
    plan = draw_plan(chance, seed, episode_count=episode_count)
    plan = replace(plan, are_ids_used_again=are_ids_used_again)
    happened = Host(plan).run()
    settings: Settings = dict(chance.choice(BUILDS))
    if chance.random() < 0.9:
        settings["minimal_backoff_seconds"] = plan.minimal_backoff // SECOND
        settings["queue_run_delay_seconds"] = plan.queue_run_delay // SECOND
    name = f"h{seed}"
    files = _files(chance, plan, happened, name, has_fractions=chance.random() < 0.4)
    return History(name, files, settings, label=f"seed {seed}")


def draw_plan(chance: random.Random, seed: int, *, episode_count: int) -> Plan:
    """Draw what is to happen on a host."""
    backoff = chance.choice((20, 30, 60, 120, 300, 300, 300, 900)) * SECOND
    run_delay = max(chance.choice((backoff // 3, backoff, backoff)), 5 * SECOND)
    episodes = []
    start = SECOND
    for number in range(episode_count):
        episodes.append(_draw_episode(chance, start, backoff, is_last=number == episode_count - 1))
        between = chance.choice((5 * MINUTE, 20 * MINUTE, 20 * MINUTE, HOUR, HOUR, 7 * HOUR))
        start = episodes[-1].end + between + 2 * backoff
    until = episodes[-1].end
    if chance.random() < 0.05 and episodes[-1].outages:
        # The log ends with the service still down.
        down_at, up_at = episodes[-1].outages[-1]
        until = down_at + (up_at - down_at) * 2 // 3
    return Plan(
        seed=seed,
        until=until,
        episodes=tuple(episodes),
        queue_run_delay=run_delay,
        minimal_backoff=backoff,
        maximal_backoff=chance.choice((backoff * 4, 4000 * SECOND)),
        lifetime=chance.choice((60 * SECOND, 10 * MINUTE, 120 * HOUR, 120 * HOUR, 120 * HOUR)),
        instances=("postfix", "postfix-in") if chance.random() < 0.12 else ("postfix",),
        has_long_ids=chance.random() < 0.25,
        poll_phase=chance.choice((None, chance.randint(0, 59) * SECOND, chance.randint(0, 59) * SECOND)),
        event_jitter=chance.choice((None, None, 0, 3 * SECOND)),
    )


def _draw_episode(chance: random.Random, start: int, backoff: int, *, is_last: bool) -> Episode:
    """Draw a busy time with some outages; the last one of a log may end anyhow."""
    outages = []
    at = start + chance.randint(5, 120) * SECOND
    for _ in range(chance.choice((0, 1, 1, 1, 1, 2, 2, 3))):
        down_for = chance.choice((2, 5, 10, 20, 30, 45, 70, 150, 400)) * SECOND + chance.randint(0, SECOND)
        outages.append((at, at + down_for))
        at += (
            down_for
            + chance.choice((3, 10, 30, 60, 100, 200, 700, 2000)) * SECOND
            + chance.randint(0, SECOND)
        )
    last_up_at = outages[-1][1] if outages else at
    after = [3 * SECOND, 15 * SECOND, 60 * SECOND, 130 * SECOND, 2 * backoff, 3 * backoff]
    if is_last:
        after.append(0)
    end = last_up_at + chance.choice(after) + chance.randint(0, 60 * SECOND)
    quiet = (0, 0)
    if chance.random() < 0.25:
        quiet_from = chance.randint(start, end)
        quiet = (quiet_from, quiet_from + chance.randint(10, 300) * SECOND)

    def some(share: float) -> tuple[int, ...]:
        count = chance.randint(1, 2) if chance.random() < share else 0
        return tuple(chance.randint(start, end) for _ in range(count))

    near_ends = [up_at + chance.randint(-10, 100) * SECOND for _, up_at in outages]
    return Episode(
        start=start,
        end=end,
        outages=tuple(outages),
        mail_gap=max((end - start) // chance.randint(8, 45), SECOND // 5),
        quiet=quiet,
        stop=chance.choice(
            ("at_once", "at_once", "sessions_finish", "greeting_lost", "turned_away", "hangs")
        ),
        slow_share=chance.choice((0, 0, 0, 0.02, 0.1)),
        reuse_share=chance.choice((0, 0.2, 0.6)),
        does_wrapper_flush=chance.random() < 0.7,
        does_wrapper_mark=chance.random() < 0.7,
        does_manager_flush_while_down=chance.random() < 0.15,
        operator_flushes=tuple(at for at in near_ends if chance.random() < 0.15) + some(0.05),
        single_flushes=tuple(at for at in near_ends if chance.random() < 0.1),
        qmgr_starts=tuple((at, chance.choice(("reload", "start", "table", "killed"))) for at in some(0.15)),
        deletions=some(0.12),
        requeues=some(0.04)[:1],
        order_delay=chance.choice((0,) * 8 + (100, 250, 700)) * SECOND,
    )


def generate_wild(seed: int, *, episode_count: int = 8) -> History:
    """Return a history whose lines do not follow from each other, near the bounds of all rules."""
    chance = random.Random(seed)
    settings: Settings = dict(chance.choice(BUILDS))
    backoff = chance.choice((30, 60, 300))
    if chance.random() < 0.85:
        settings["minimal_backoff_seconds"] = backoff
    name = f"w{seed}"
    instances = ("postfix", "postfix-in") if chance.random() < 0.25 else ("postfix",)
    has_fractions = chance.random() < 0.3
    told = Wild(chance, backoff, instances, is_fine=has_fractions)
    for _ in range(episode_count):
        told.episode()
    lines = repeat_lines(chance, told.lines)
    files = {
        "maillog": [
            maillog_line(at, name, tag, text, has_fractions=has_fractions) for at, _, tag, text in lines
        ]
    }
    days = sorted({f"{instant(at):%Y%m%d}" for at in range(0, told.now + DAY, DAY)})
    if chance.random() < 0.7:
        for day in days:
            of_day = sorted(at for at in told.commands if f"{instant(at):%Y%m%d}" == day)
            files[f"imssmgr.{day}.0001"] = [manager_line(at) for at in of_day]
    if chance.random() < 0.5:
        for day in days:
            events = sorted(event for event in told.system_events if f"{instant(event[0]):%Y%m%d}" == day)
            files[f"sysevt.imss.{day}.0001"] = [system_line(at, kind) for at, kind in events]
    return History(name, files, settings, label=f"wild seed {seed}")


def _files(
    chance: random.Random, plan: Plan, happened: Host, name: str, *, has_fractions: bool
) -> dict[str, list[str]]:
    """Write what happened as log files."""
    step = _clock_step(chance, plan)
    lines = repeat_lines(chance, lose_lines(chance, happened.lines))
    lines = [(told_at(at, step), *rest) for at, *rest in lines]  # type: ignore[misc]
    commands = sorted(told_at(at, step) for at in happened.commands)
    system_events = [(told_at(at, step), kind) for at, kind in happened.system_events]
    cut = None
    lost: list[Line] = []
    if chance.random() < 0.12 and len(lines) > 20:
        start = chance.randint(1, len(lines) - 2)
        end = min(start + chance.randint(1, 30), len(lines) - 1)
        notice = chance.choice(
            (
                (
                    "rsyslogd",
                    "imjournal: 17 messages lost due to rate-limiting (20000 allowed within 600 seconds)",
                ),
                ("systemd-journald[99]", "Suppressed 17 messages from postfix.service"),
                None,
                None,
            )
        )
        if notice:
            lost = [(lines[end][0], 0, *notice)]
        else:
            cut = (start, end)
        if not cut:
            lines = lines[:start] + lost + lines[end:]
    if cut:
        parts = {"maillog.3": lines[: cut[0]], "maillog.1": lines[cut[1] :]}
    elif chance.random() < 0.2 and len(lines) > 20:
        middle = chance.randint(1, len(lines) - 1)
        parts = {"maillog.1": lines[:middle], "maillog": lines[middle:]}
    else:
        parts = {"maillog": lines}
    files = {
        file: [maillog_line(at, name, tag, text, has_fractions=has_fractions) for at, _, tag, text in part]
        for file, part in parts.items()
    }
    days = {(EPOCH + timedelta(microseconds=at)).strftime("%Y%m%d") for at in range(0, plan.until + 1, HOUR)}
    days.add((EPOCH + timedelta(microseconds=plan.until)).strftime("%Y%m%d"))
    if plan.poll_phase is not None and chance.random() < 0.8:
        for day in sorted(days):
            of_day = [at for at in commands if f"{instant(at):%Y%m%d}" == day]
            files[f"imssmgr.{day}.0001"] = [manager_line(at) for at in of_day]
    if plan.event_jitter is not None:
        events = [event for event in system_events if chance.random() < 0.93]
        for day in sorted(days):
            told = [system_line(at, kind) for at, kind in sorted(events) if f"{instant(at):%Y%m%d}" == day]
            files[f"sysevt.imss.{day}.0001"] = told
    return files


def lose_lines(chance: random.Random, lines: list[Line]) -> list[Line]:
    """Leave out some lines, of which nothing else tells, of a few hosts."""
    what = chance.random()
    if what < 0.8 or not lines:
        return lines
    if what < 0.88:
        # Activations, answers, removals, or any.
        kind = chance.choice(("(queue active)", " status=", ": removed", "client=", ""))
        share = chance.choice((0.005, 0.02, 0.1))
        return [line for line in lines if kind not in line[3] or chance.random() >= share]
    if what < 0.94:
        # What becomes of a message.
        _, _, _, text = chance.choice(lines)
        queue_id, since = text.split(":")[0], chance.choice(lines)[0]
        return [line for line in lines if line[0] < since or not line[3].startswith(queue_id)]
    start = chance.choice(lines)[0]
    end = start + chance.choice((1, 5, 20, 60)) * SECOND
    program = chance.choice(("/smtp[", "/qmgr[", "/"))
    return [line for line in lines if not start <= line[0] < end or program not in line[2]]


def repeat_lines(chance: random.Random, lines: list[Line]) -> list[Line]:
    """Write some lines of a few hosts twice, as a second daemon does, or one that reads again."""
    what = chance.random()
    if what < 0.9 or not lines:
        return lines
    if what < 0.95:
        late = chance.choice((0, SECOND, 2 * SECOND))
        share = chance.choice((0.02, 0.5, 1))
        again = [(at + late, number, *told) for at, number, *told in lines if chance.random() < share]
        return sorted([*lines, *again])  # type: ignore[list-item]
    end = chance.randint(1, len(lines))
    start = max(end - chance.choice((3, 20, 200)), 0)
    return [*lines[:end], *lines[start:]]


def _clock_step(chance: random.Random, plan: Plan) -> tuple[int, int]:
    """Return when the clock of a few hosts is set back, and by how much."""
    if chance.random() < 0.95:
        return plan.until, 0
    near_outages = [
        at + chance.randint(-30, 120) * SECOND for episode in plan.episodes for at, _ in episode.outages
    ]
    since = chance.choice([chance.randint(0, plan.until), *near_outages])
    return since, chance.choice((2, 20, 300, 3600)) * SECOND


def told_at(at: int, step: tuple[int, int]) -> int:
    """Return what the clock shows at an instant."""
    since, back = step
    return max(at - back, 0) if at > since else at


def instant(at: int) -> datetime:
    """Return the instant of a history's microsecond."""
    return EPOCH + timedelta(microseconds=at)


def maillog_line(at: int, host: str, tag: str, text: str, *, has_fractions: bool) -> str:
    """Write a line of the maillog."""
    stamp = f"{instant(at):%Y-%m-%dT%H:%M:%S.%f}+00:00" if has_fractions else f"{instant(at):%b %d %H:%M:%S}"
    return f"{stamp} {host} {tag}: {text}"


def manager_line(at: int) -> str:
    """Write the manager's flush command."""
    return f"{instant(at):%Y/%m/%d %H:%M:%S} GMT+00:00 {FLUSH}"


def system_line(at: int, kind: str) -> str:
    """Write a system event: the scan service stopped or started."""
    code = {"stop": "20002 IMSS daemon stopped", "start": "20001 IMSS daemon starts"}[kind]
    return f"{instant(at):%Y/%m/%d %H:%M:%S} {code}"
