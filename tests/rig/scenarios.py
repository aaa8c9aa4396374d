"""Turns scenarios.yaml into scenarios: settings, load, timed actions, and what should be found."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from .load import Load
from .postfix import TIME_ZONE

SCENARIOS = Path(__file__).with_name("scenarios.yaml")
# What befalls a host besides its scan service: others in its queue, a clock that is set, lines that are lost.
TROUBLES = Path(__file__).with_name("troubles.yaml")
# Retry settings, to compare a simulation of the deferred queue with.
GRID = Path(__file__).with_name("grid.yaml")

Deed = Literal[
    "stop",  # the scan service and its sessions end at once, as an operator's stop does it
    "kill",  # they die at once (SIGKILL): no system event tells
    "close",  # it refuses new connections; the messages under way still end well
    "freeze",  # it hangs (SIGSTOP): connections succeed, and nothing is said
    "hang_up",  # it accepts connections and closes them without a greeting
    "turn_away",  # it greets with 421
    "start",  # it serves again, from whatever state
    "tune",  # it scans on, with another Behaviour
    "flush",  # the manager orders a flush, the wrapper does it
    "claim",  # the manager orders a flush, the wrapper does nothing
    "operator_flush",  # somebody flushes by hand: no order, no marker
    "retry",  # somebody tries deferred mail by hand, one by one (postqueue -i): see Action.set
    "requeue",  # somebody requeues deferred mail (postsuper -r)
    "delete",  # somebody deletes deferred mail (postsuper -d)
    "hold",  # somebody puts deferred mail on hold (postsuper -h)
    "reload_postfix",
    "restart_postfix",
    "kill_qmgr",  # the queue manager dies (SIGKILL), and master starts another
    "set_clock",  # the host's clock is set by so many seconds
]


@dataclass(frozen=True)
class Action:
    """Something done at a time, in seconds from the scenario's start."""

    at_seconds: float
    do: Deed
    set: dict[str, Any] = field(default_factory=dict)
    """For tune: fields of Behaviour. For set_clock: `by_seconds`.
    For retry, requeue, delete and hold: `count`, so many, those first deferred; without it all."""
    instances: tuple[str, ...] = ("postfix",)
    """For flushes and for what is done to Postfix."""


@dataclass(frozen=True)
class Expected:
    """What the logs carry about one restart; `because` is the reason in words."""

    flush_verdict: str | None
    """None: no log shows this restart at all."""
    because: str
    flush_order: str = "unknown"
    verdict_reason: str | None = None
    missing_reason: str | None = None
    confidence: str | None = None
    """None: whatever it is."""
    may_be_unknown: bool = False
    """The log does not carry it for sure: `unknown` is right as well, for whatever reason."""


@dataclass(frozen=True)
class Scenario:
    """One host's story. `expected` has one entry per restart made, in order; in grid.yaml none."""

    name: str
    host: str
    sentence: str
    end_seconds: float
    load: tuple[Load, ...]
    actions: tuple[Action, ...]
    expected: tuple[Expected, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)
    instances: tuple[str, ...] = ("postfix",)
    has_system_events: bool = False
    """The host writes sysevt.imss."""
    is_proxied: bool = False
    """Mail passes a sender filter before it is queued, as on IMSVA: 25 > 10020 > 10021."""
    syslog: dict[str, str] = field(default_factory=dict)
    """A real rsyslogd writes the log: see Rsyslog."""
    is_log_sound: bool = True
    """False: lines are missing from it, or its stamps fall back while mail is held."""
    time_zone: str = TIME_ZONE
    starts_at: str = ""
    """The local time of the host's clock at the start; empty is now."""
    ahead_seconds: float = 0.0
    """How far the host's clock is ahead at the start, so that it can be set back."""
    are_settings_told: bool = True
    """False: the fleet file says nothing of the retry settings."""
    is_short: bool = False
    """Belongs to the quick selection that ordinary test runs play."""


def read_scenarios(*paths: Path) -> list[Scenario]:
    """All scenarios in the files' order; of all files but the grid, if none is given.

    Raises ValueError for an unknown action, TypeError for an unknown field.
    """
    documents = [yaml.safe_load(path.read_text("utf-8")) for path in paths or (SCENARIOS, TROUBLES)]
    return [_scenario(document["settings"], raw) for document in documents for raw in document["scenarios"]]


def _scenario(defaults: dict[str, str], raw: dict[str, Any]) -> Scenario:
    for action in raw["actions"]:
        if action["do"] not in get_args(Deed):
            raise ValueError(f"{raw['name']}: unknown action {action['do']!r}: see {Deed}")
    return Scenario(
        **raw
        | {
            "settings": defaults | raw.get("settings", {}),
            "load": tuple(Load(**load) for load in raw["load"]),
            "actions": tuple(Action(**action) for action in raw["actions"]),
            "expected": tuple(Expected(**expected) for expected in raw.get("expected", [])),
        }
    )
