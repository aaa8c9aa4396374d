"""Turns one scenario into a host folder (maillog, imssmgr) and the truth about it.

The truth comes from those who acted: the driver (what was done when), the client (what was sent),
the scan service (what it got and answered) and the sink (what came out). Nothing is read from
the logs. All times are those that the host's clock showed.

Of each message: `sent_at` is when Postfix took it; `scan` has every transaction with the scan service,
also those that Postfix had given up; `wait_seconds` is from sent_at to the service's last answer;
`delivered` is what reached the sink. Of each restart: `held` is what it held by queue id,
[first deferred, released], see held.py.
"""

import os
import shutil
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from .clock import HostClock
from .deferrals import Watcher
from .held import Held, find_held
from .load import Client, Sent
from .manager import Manager
from .postfix import PROXIED_PORTS, Instance, collect_maillog
from .proxy import SenderFilter
from .rsyslog import Rsyslog
from .scanner import Scanned, ScanService
from .scenarios import Action, Scenario
from .smtp import Received, Server
from .system_events import SystemEvents

SCAN_PORT = 10025

Truth = dict[str, Any]


def play(scenario: Scenario, out: Path) -> Truth:
    """Play in real time and write OUT/HOST/; return the truth, all times as epoch seconds.

    Everything that was started is stopped again, whatever happens. Raises PostfixError, and
    RuntimeError where the scan port is taken.
    """
    with ExitStack() as stack:
        return _Stage(scenario, stack).run(out)


class _Stage:
    """All that runs for one scenario, and what was done to it."""

    def __init__(self, scenario: Scenario, stack: ExitStack) -> None:
        self.scenario = scenario
        self.directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rig-")))
        self.directory.chmod(0o755)  # Postfix's own user must get in
        self.delivered: list[Received] = []
        self.sink = Server(0, answer=self._take)
        stack.callback(self.sink.server_close)
        threading.Thread(target=self.sink.serve_forever, daemon=True).start()
        stack.callback(self.sink.shutdown)
        self.clock = HostClock(self.directory, offset_seconds=_offset(scenario, time.time()))
        self.environment = _environment(scenario, self.clock)
        self.syslog = None
        if scenario.syslog:
            self.syslog = Rsyslog(self.directory, host=scenario.host, settings=scenario.syslog)
            stack.callback(self.syslog.stop)
        self.instances = {name: self._instance(name) for name in scenario.instances}
        if scenario.is_proxied:
            self._filter_senders(stack)
        first = self.instances[scenario.instances[0]]
        self.scanner = ScanService(SCAN_PORT, downstream_port=first.ports.reinjection)
        stack.callback(self.scanner.kill)
        for instance in self.instances.values():
            stack.callback(instance.stop)
        self.watcher = Watcher()
        self.product_logs = self.directory / "imss"
        self.product_logs.mkdir()
        self.manager = Manager(
            self.product_logs, now=self.clock.at(time.time()), time_zone=scenario.time_zone
        )
        self.system_events = SystemEvents(self.product_logs) if scenario.has_system_events else None
        self.client = Client(
            scenario.host, {name: instance.ports.smtp for name, instance in self.instances.items()}
        )
        stack.callback(self.client.end)
        self.done: list[Truth] = []
        self.restarts: list[Truth] = []
        self.flushes: list[Truth] = []
        self.queue_managers: list[Truth] = []

    def _instance(self, name: str) -> Instance:
        # Without a file of its own for the log, Postfix logs to /dev/log.
        to_syslog = {"maillog_file": ""} if self.syslog else {}
        return Instance(
            self.directory,
            host=self.scenario.host,
            name=name,
            scan_port=SCAN_PORT,
            sink_port=self.sink.port,
            settings=self.scenario.settings | to_syslog,
            ports=PROXIED_PORTS if self.scenario.is_proxied else None,
            environment=self.environment,
        )

    def _filter_senders(self, stack: ExitStack) -> None:
        sender_filter = SenderFilter(PROXIED_PORTS.sender_filter, behind=PROXIED_PORTS.behind_filter)
        stack.callback(sender_filter.server_close)
        threading.Thread(target=sender_filter.serve_forever, daemon=True).start()
        stack.callback(sender_filter.shutdown)

    def run(self, out: Path) -> Truth:
        if self.syslog:
            self.syslog.start(self.environment)
        self.scanner.start()
        begun_at = time.time()
        for instance in self.instances.values():
            instance.start()
            self.watcher.add(instance.queue)
        self._note_queue_managers(self.instances.values(), after=begun_at)
        started_at = time.time()
        self.client.begin(list(self.scenario.load), started_at=started_at)
        for action in self.scenario.actions:
            time.sleep(max(0.0, started_at + action.at_seconds - time.time()))
            self._do(action)
        time.sleep(max(0.0, started_at + self.scenario.end_seconds - time.time()))
        self.client.end()
        ended_at = time.time()
        for instance in self.instances.values():
            instance.tell_state()  # of what is logged at a stop, a busy machine loses lines
            instance.stop()
        self.scanner.kill()
        if self.syslog:
            self.syslog.stop()
        self._write_host(out / self.scenario.host)
        truth: Truth = self.clock.of(self._truth(started_at, ended_at))
        return truth

    def _take(self, mail: Received) -> str:
        self.delivered.append(mail)
        return "250 2.0.0 Ok"

    def _do(self, action: Action) -> None:
        at = time.time()
        instances = [self.instances[name] for name in action.instances]
        match action.do:
            case "stop":
                self._went_down(self.scanner.kill(), action)
                if self.system_events:
                    self.system_events.stopped(self.clock.at(time.time()))
            case "kill":
                self._went_down(self.scanner.kill(), action)
            case "close":
                self._went_down(self.scanner.close_listener(), action)
            case "freeze":
                self._went_down(self.scanner.freeze(), action)
            case "hang_up":
                self.scanner.tune(greeting="")
                self._went_down(at, action)
            case "turn_away":
                self.scanner.tune(greeting="421 4.3.2 Service unavailable")
                self._went_down(at, action)
            case "start":
                self.scanner.kill()
                self.scanner.tune(greeting="220 localhost ESMTP imss")
                at = self.scanner.start()
                self.restarts[-1]["up_at"] = at
                if self.system_events:
                    self.system_events.started(self.clock.at(at))
            case "tune":
                self.scanner.tune(**action.set)
            case "flush":
                self.manager.flush(self.clock.at(at), instances)
                self._flushed(at, action, kind="flush", is_ordered=True)
            case "claim":
                self.manager.order(self.clock.at(at))
                self._flushed(at, action, kind="claimed", is_ordered=True)
            case "operator_flush":
                for instance in instances:
                    instance.flush()
                self._flushed(at, action, kind="flush", is_ordered=False)
            case "retry" | "requeue" | "delete" | "hold":
                self._change_queue(action, instances)
            case "kill_qmgr":
                for instance in instances:
                    instance.kill_queue_manager()
            case "set_clock":
                self.clock.set_by(action.set["by_seconds"])
            case "reload_postfix":
                for instance in instances:
                    instance.reload()
                self._note_queue_managers(instances, after=at)
            case "restart_postfix":
                for instance in instances:
                    instance.stop()
                    instance.start()
                self._note_queue_managers(instances, after=at)
        self.done.append({"at": at, "do": action.do} | ({"set": action.set} if action.set else {}))

    def _note_queue_managers(self, instances: Iterable[Instance], *, after: float) -> None:
        for instance in instances:
            started_at = instance.queue_manager_started_at(after=after)
            self.queue_managers.append({"at": started_at, "instance": instance.name})

    def _change_queue(self, action: Action, instances: list[Instance]) -> None:
        for instance in instances:
            order = dict.fromkeys(deferral.queue_id for deferral in sorted(self.watcher.deferrals))
            waiting = [queue_id for queue_id in order if (instance.queue / "defer" / queue_id).exists()]
            chosen = waiting[: action.set.get("count", len(waiting))]
            if action.do == "retry":
                instance.retry(chosen, pause_seconds=action.set["pause_seconds"])
            else:
                option = {"requeue": "-r", "delete": "-d", "hold": "-h"}[action.do]
                instance.change_queue(option, chosen if "count" in action.set else ["ALL"])

    def _went_down(self, at: float, action: Action) -> None:
        if self.restarts and self.restarts[-1]["up_at"] is None:
            return  # hung up or closed first, killed now: one outage
        self.restarts.append({"down_at": at, "up_at": None, "how": action.do})

    def _flushed(self, at: float, action: Action, *, kind: str, is_ordered: bool) -> None:
        self.flushes.append(
            {
                "at": at,
                "kind": kind,
                "is_ordered": is_ordered,
                "instances": list(action.instances),
            }
        )

    def _write_host(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        maillog = collect_maillog(self.directory, self.instances.values())
        (folder / "maillog").write_bytes(maillog)
        if not self.scenario.expected:
            (folder / "main.cf").write_text(_main_cf(self.scenario.settings), "ascii")
        others = [log for log in [self.directory / "messages"] if log.exists()]
        for log in [*others, *self.product_logs.iterdir()]:
            shutil.copyfile(log, folder / log.name)
        written_at = self.clock.at(time.time())
        for log in folder.iterdir():
            os.utime(log, (written_at, written_at))  # the year of its lines is told from it

    def _truth(self, started_at: float, ended_at: float) -> Truth:
        messages = self._messages()
        return {
            "scenario": self.scenario.name,
            "host": self.scenario.host,
            "sentence": self.scenario.sentence,
            "started_at": started_at,
            "ended_at": ended_at,
            "time_zone": self.scenario.time_zone,
            "is_log_sound": self.scenario.is_log_sound,
            "are_settings_told": self.scenario.are_settings_told,
            "settings": self.scenario.settings,
            "instances": list(self.scenario.instances),
            "restarts": self._restarts(messages) if self.scenario.expected else self.restarts,
            "queue_managers": self.queue_managers,
            "flushes": self.flushes,
            "actions": self.done,
            "turned_away_count": self.client.turned_away_count,
            "messages": messages,
        } | ({} if self.scenario.expected else self._retries(started_at, messages))

    def _restarts(self, messages: list[Truth]) -> list[Truth]:
        if len(self.restarts) != len(self.scenario.expected):
            raise ValueError(f"{self.scenario.name}: give one `expected` per restart")
        held = find_held(self.restarts, _entries(messages), self.watcher.deferrals)
        return [
            restart | {"expected": asdict(expected), "held": _by_queue_id(messages_held)}
            for restart, expected, messages_held in zip(
                self.restarts, self.scenario.expected, held, strict=True
            )
        ]

    def _retries(self, started_at: float, messages: list[Truth]) -> Truth:
        """Return what is compared with a simulation, in seconds from the start."""
        rounds: dict[str, list[float]] = {message["queue_id"]: [message["sent_at"]] for message in messages}
        for deferral in sorted(self.watcher.deferrals):
            if deferral.queue_id in rounds:  # else of a bounce
                rounds[deferral.queue_id].append(deferral.at)
        answered_at = {message["queue_id"]: _answered_at(message) for message in messages}
        return {
            "queue_runs": [round(at - started_at, 3) for at in sorted(self.watcher.opened_at)],
            "rounds": {
                queue_id: [at and round(at - started_at, 3) for at in (*times, answered_at[queue_id])]
                for queue_id, times in rounds.items()
            },
        }

    def _messages(self) -> list[Truth]:
        scans: dict[str, dict[Scanned, Truth]] = defaultdict(dict)
        for event in self.scanner.events:
            if event.mail:
                scan = scans[event.mail.message_id].setdefault(event.mail, _scan(event.mail))
                scan[f"{event.kind}_at"] = round(event.at, 3)
                scan["reply"] = event.reply
        arrivals: dict[str, list[Received]] = defaultdict(list)
        for mail in self.delivered:
            arrivals[mail.message_id].append(mail)
        return [
            _message(sent, list(scans[sent.message_id].values()), arrivals[sent.message_id])
            for sent in sorted(self.client.sent, key=lambda sent: sent.at)
        ]


def _main_cf(settings: Mapping[str, str]) -> str:
    """Return what main.cf says of retries; what it leaves out is as Postfix has it by default."""
    lines = {"content_filter": f"imss:localhost:{SCAN_PORT}"} | dict(settings)
    return "".join(f"{key} = {value}\n" for key, value in lines.items())


def _offset(scenario: Scenario, now: float) -> float:
    """How far the host's clock is ahead of real time when the scenario starts."""
    if not scenario.starts_at:
        return scenario.ahead_seconds
    local = datetime.fromisoformat(scenario.starts_at).replace(tzinfo=ZoneInfo(scenario.time_zone))
    return round(local.timestamp() - now)


def _environment(scenario: Scenario, clock: HostClock) -> dict[str, str]:
    has_own_clock = scenario.starts_at or scenario.ahead_seconds
    return {"TZ": scenario.time_zone} | (clock.environment() if has_own_clock else {})


def _entries(messages: list[Truth]) -> list[Truth]:
    """Return the messages by queue id: one that was requeued has another, under which it was scanned."""
    entries = []
    for message in messages:
        for queue_id in dict.fromkeys([message["queue_id"], *(scan["queue_id"] for scan in message["scan"])]):
            scans = [scan for scan in message["scan"] if scan["queue_id"] == queue_id]
            entries.append(message | {"queue_id": queue_id, "scan": scans})
    return entries


def _by_queue_id(held: Mapping[str, Held]) -> Truth:
    return {
        queue_id: [round(message.first_deferred_at, 2), message.released_at and round(message.released_at, 2)]
        for queue_id, message in held.items()
    }


def _scan(mail: Scanned) -> Truth:
    return {
        "queue_id": mail.queue_id,
        "recipient_count": mail.recipient_count,
        "received_at": mail.received_at,
        "passed_on_at": None,
        "answered_at": None,
        "reply": "",
    }


def _answered_at(message: Truth) -> float | None:
    """When the service had answered for the last recipient; None if it never did."""
    answers = [scan for scan in message["scan"] if scan["answered_at"]]
    if sum(scan["recipient_count"] for scan in answers) < message["recipient_count"]:
        return None
    return max(float(scan["answered_at"]) for scan in answers)


def _message(sent: Sent, scans: list[Truth], arrivals: list[Received]) -> Truth:
    answered_at = max((scan["answered_at"] or 0.0 for scan in scans), default=0.0)
    return {
        "message_id": sent.message_id,
        "instance": sent.instance,
        "queue_id": sent.queue_id,
        "sender": sent.sender,
        "recipient_count": sent.recipient_count,
        "sent_at": round(sent.at, 3),
        "wait_seconds": round(answered_at - sent.at, 3) if answered_at else None,
        "scan": scans,
        "delivered": [
            {"at": round(mail.at, 3), "recipient_count": len(mail.recipients)} for mail in arrivals
        ],
    }
