"""Turns `python -m tests.rig --out DIR` into an archive with its truth, several scenarios at a time.

Each scenario is played in network and process namespaces of its own (util-linux `unshare`), so
that the scan port is always free and nothing outlives it. Where namespaces are not allowed, the
scenarios are played here, one after another. Needs root and the Debian package postfix; some scenarios
need rsyslog or libfaketime too, and fail without.
"""

import argparse
import fcntl
import gzip
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from .manager import day_of
from .play import Truth, play
from .postfix import TIME_ZONE
from .scenarios import GRID, TROUBLES, Scenario, read_scenarios

_NAMESPACES = ("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
_FLEET_KEYS = {
    "queue_run_delay": "queue_run_delay_seconds",
    "minimal_backoff_time": "minimal_backoff_seconds",
    "maximal_backoff_time": "maximal_backoff_seconds",
}
_SET_INTERFACE_FLAGS, _IS_UP = 0x8914, 1  # linux/sockios.h SIOCSIFFLAGS, net/if.h IFF_UP


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 where every scenario was played, else 1, and 2 for wrong use."""
    grid = read_scenarios(GRID)
    scenarios = {scenario.name: scenario for scenario in [*read_scenarios(), *grid]}
    troubles = {scenario.name for scenario in read_scenarios(TROUBLES)}
    parser = argparse.ArgumentParser(prog="rig", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("rig-out"), metavar="DIR")
    parser.add_argument("--scenario", nargs="+", choices=scenarios, metavar="NAME")
    parser.add_argument("--troubles", action="store_true", help="those of troubles.yaml only")
    parser.add_argument("--grid", action="store_true", help="those of grid.yaml only")
    parser.add_argument("--short", action="store_true", help="the quick selection only")
    parser.add_argument("--jobs", type=int, default=6, help="scenarios at a time (default 6)")
    parser.add_argument("--compact", action="store_true", help="compress, and leave messages out, to be kept")
    parser.add_argument("--list", action="store_true", help="name the scenarios and stop")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    chosen = [
        scenario
        for scenario in scenarios.values()
        if (scenario.name in options.scenario if options.scenario else (scenario in grid) == options.grid)
        and (scenario.is_short or not options.short)
        and (scenario.name in troubles or not options.troubles)
    ]
    if options.list:
        print(*(f"{scenario.name:32} {scenario.sentence}" for scenario in chosen), sep="\n")
        return 0
    if options.inside:
        _raise_loopback()
        _make_own_dev()
        threading.Thread(target=_end_with_parent, daemon=True).start()
        json.dump([play(scenario, options.out) for scenario in chosen], sys.stdout)
        return 0
    if os.geteuid() != 0 or not shutil.which("postfix", path="/usr/sbin:" + os.environ["PATH"]):
        print("The rig needs root and Postfix: apt-get install postfix", file=sys.stderr)
        return 2
    return record(chosen, options.out, jobs=options.jobs, is_compact=options.compact)


def record(scenarios: Sequence[Scenario], out: Path, *, jobs: int, is_compact: bool = False) -> int:
    """Play the scenarios and write hosts, fleet file and truth; 1 if one of them failed, else 0."""
    out.mkdir(parents=True, exist_ok=True)
    is_apart = can_unshare()
    one = partial(_play_apart if is_apart else _play_here, out=out)
    longest_first = sorted(scenarios, key=lambda scenario: -scenario.end_seconds)
    with ThreadPoolExecutor(jobs if is_apart else 1) as players:
        played = [truth for truth in players.map(one, longest_first) if truth]
    if is_compact:
        for truth in played:
            _compress(out / truth["host"], day_of(truth["ended_at"], truth["time_zone"]))
            truth["messages"] = []
    write_fleet(write_truth(played, out / "truth.json"), out / "fleet.toml")
    print(f"{len(played)} of {len(scenarios)} scenarios played, in {out}", file=sys.stderr)
    return 0 if len(played) == len(scenarios) else 1


def write_truth(truths: Sequence[Truth], path: Path) -> list[Truth]:
    """Write a JSON list by host, one message a line, so that differences can be read; return what is in it.

    Hosts that are in the file already and were not played again stay as they are.
    """
    by_host: dict[str, Truth] = {}
    if path.exists():
        by_host = {truth["host"]: truth for truth in json.loads(path.read_text("utf-8"))}
    by_host |= {truth["host"]: truth for truth in truths}
    ordered = [by_host[host] for host in sorted(by_host)]
    path.write_text("[" + ",\n".join(_host_text(truth) for truth in ordered) + "]\n", "utf-8")
    return ordered


def write_fleet(truths: Sequence[Truth], path: Path) -> None:
    """Write the retry settings of each host, as maillag reads them."""
    lines = ["# The settings that each Postfix ran with.", "[defaults]", f'time_zone = "{TIME_ZONE}"']
    for truth in truths:
        time_zone = truth.get("time_zone", TIME_ZONE)
        lines += ["", f'[hosts."{truth["host"]}"]']
        lines += [f'time_zone = "{time_zone}"'] if time_zone != TIME_ZONE else []
        if not truth.get("are_settings_told", True):
            continue
        lines += [f"{key} = {truth['settings'][name].removesuffix('s')}" for name, key in _FLEET_KEYS.items()]
    path.write_text("\n".join([*lines, ""]), "ascii")


def _compress(folder: Path, day: str) -> None:
    maillog = folder / "maillog"
    packed = folder / f"maillog-{day}.gz"
    packed.write_bytes(gzip.compress(maillog.read_bytes(), mtime=0))
    maillog.unlink()


def _host_text(truth: Truth) -> str:
    text = json.dumps(truth | {"messages": []}, indent=1)
    messages = ",\n  ".join(map(json.dumps, truth["messages"]))
    text = text.replace(
        '"messages": []', f'"messages": [\n  {messages}\n ]' if messages else '"messages": []'
    )
    return re.sub(r"\[\s+(?:(?:[0-9.]+|null),?\s+)+\]", _on_one_line, text)


def _on_one_line(numbers: re.Match[str]) -> str:
    return "[" + " ".join(numbers[0][1:-1].split()) + "]"


def _play_apart(scenario: Scenario, *, out: Path) -> Truth | None:
    command = [*_NAMESPACES, sys.executable, "-m", str(__package__), "--inside"]
    command += ["--out", str(out), "--scenario", scenario.name]
    # The child's standard input ends with this process, however that ends, and the child with it.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        text = child.stdout.read()
    return _report(scenario, json.loads(text)[0] if child.returncode == 0 else None)


def _play_here(scenario: Scenario, *, out: Path) -> Truth | None:
    try:
        return _report(scenario, play(scenario, out))
    except (OSError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return _report(scenario, None)


def _report(scenario: Scenario, truth: Truth | None) -> Truth | None:
    print(f"{scenario.name}: {'played' if truth else 'FAILED'}", file=sys.stderr, flush=True)
    return truth


def can_unshare() -> bool:
    """Whether namespaces are allowed here."""
    if not shutil.which("unshare"):
        return False
    return subprocess.run([*_NAMESPACES, "true"], capture_output=True, check=False).returncode == 0


def _end_with_parent() -> None:
    sys.stdin.read()
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def _make_own_dev() -> None:
    """Give this mount namespace a /dev of its own: /dev/log and /dev/shm are nobody else's."""
    script = """
    mount -t tmpfs -o mode=755 none "$1"
    for name in null zero full random urandom tty; do
      touch "$1/$name"
      mount --bind "/dev/$name" "$1/$name"
    done
    mkdir -m 1777 "$1/shm"
    ln -s /proc/self/fd "$1/fd"
    mount --move "$1" /dev
    """
    with tempfile.TemporaryDirectory(prefix="rig-dev-") as folder:
        subprocess.run(["sh", "-ec", script, "sh", folder], check=True)


def _raise_loopback() -> None:
    """A new network namespace has its loopback down."""
    with socket.socket() as any_socket:
        request = struct.pack("16sh14x", b"lo", _IS_UP)
        fcntl.ioctl(any_socket, _SET_INTERFACE_FLAGS, request)
