"""Turns one scenario into a host folder (maillog, imssmgr) and the truth about it.

The truth comes from those who acted: the driver (what was done when), the client (what was sent),
the scan service (what it got and answered) and the sink (what came out). Nothing is read from
the logs. Of each message: `sent_at` is when Postfix took it; `scan` has every transaction with the
scan service, also those that Postfix had given up; `wait_seconds` is from sent_at to the service's
last answer; `delivered` is what reached the sink. Of each restart: `held` is what it held by queue id,
[first deferred, released], see held.py.
"""

import shutil
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .deferrals import Watcher
from .held import Held, find_held
from .load import Client, Sent
from .manager import Manager
from .postfix import Instance, collect_maillog
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
        self.instances = {
            name: Instance(
                self.directory,
                host=scenario.host,
                name=name,
                scan_port=SCAN_PORT,
                sink_port=self.sink.port,
                settings=scenario.settings,
            )
            for name in scenario.instances
        }
        first = self.instances[scenario.instances[0]]
        self.scanner = ScanService(SCAN_PORT, downstream_port=first.reinjection_port)
        stack.callback(self.scanner.kill)
        for instance in self.instances.values():
            stack.callback(instance.stop)
        self.watcher = Watcher()
        self.product_logs = self.directory / "imss"
        self.product_logs.mkdir()
        self.manager = Manager(self.product_logs, now=time.time())
        self.system_events = SystemEvents(self.product_logs) if scenario.has_system_events else None
        self.client = Client(
            scenario.host, {name: instance.smtp_port for name, instance in self.instances.items()}
        )
        stack.callback(self.client.end)
        self.done: list[Truth] = []
        self.restarts: list[Truth] = []
        self.flushes: list[Truth] = []

    def run(self, out: Path) -> Truth:
        self.scanner.start()
        for instance in self.instances.values():
            instance.start()
            self.watcher.add(instance.queue)
        started_at = time.time()
        self.client.begin(list(self.scenario.load), started_at=started_at)
        for action in self.scenario.actions:
            time.sleep(max(0.0, started_at + action.at_seconds - time.time()))
            self._do(action)
        time.sleep(max(0.0, started_at + self.scenario.end_seconds - time.time()))
        self.client.end()
        ended_at = time.time()
        for instance in self.instances.values():
            instance.stop()
        self.scanner.kill()
        self._write_host(out / self.scenario.host)
        return self._truth(started_at, ended_at)

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
                    self.system_events.stopped(time.time())
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
                    self.system_events.started(at)
            case "tune":
                self.scanner.tune(**action.set)
            case "flush":
                self.manager.flush(at, instances)
                self._flushed(at, action, kind="flush", is_ordered=True)
            case "claim":
                self.manager.order(at)
                self._flushed(at, action, kind="claimed", is_ordered=True)
            case "operator_flush":
                for instance in instances:
                    instance.flush()
                self._flushed(at, action, kind="flush", is_ordered=False)
            case "reload_postfix":
                for instance in instances:
                    instance.reload()
            case "restart_postfix":
                for instance in instances:
                    instance.stop()
                    instance.start()
        self.done.append({"at": at, "do": action.do} | ({"set": action.set} if action.set else {}))

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
        for log in self.product_logs.iterdir():
            shutil.copyfile(log, folder / log.name)

    def _truth(self, started_at: float, ended_at: float) -> Truth:
        if len(self.restarts) != len(self.scenario.expected):
            raise ValueError(f"{self.scenario.name}: give one `expected` per restart")
        messages = self._messages()
        held = find_held(self.restarts, messages, self.watcher.deferrals)
        return {
            "scenario": self.scenario.name,
            "host": self.scenario.host,
            "sentence": self.scenario.sentence,
            "started_at": started_at,
            "ended_at": ended_at,
            "settings": self.scenario.settings,
            "instances": list(self.scenario.instances),
            "restarts": [
                restart | {"expected": asdict(expected), "held": _by_queue_id(messages_held)}
                for restart, expected, messages_held in zip(
                    self.restarts, self.scenario.expected, held, strict=True
                )
            ],
            "flushes": self.flushes,
            "actions": self.done,
            "turned_away_count": self.client.turned_away_count,
            "messages": messages,
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


def _by_queue_id(held: Mapping[str, Held]) -> Truth:
    return {
        queue_id: [round(message.first_deferred_at, 2), message.released_at and round(message.released_at, 2)]
        for queue_id, message in held.items()
    }


def _scan(mail: Scanned) -> Truth:
    return {
        "recipient_count": mail.recipient_count,
        "received_at": mail.received_at,
        "passed_on_at": None,
        "answered_at": None,
        "reply": "",
    }


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
