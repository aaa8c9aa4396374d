"""Turns scenarios.yaml into scenarios: settings, load, timed actions, and what should be found."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from .load import Load

_FILE = Path(__file__).with_name("scenarios.yaml")

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
    "reload_postfix",
    "restart_postfix",
]


@dataclass(frozen=True)
class Action:
    """Something done at a time, in seconds from the scenario's start."""

    at_seconds: float
    do: Deed
    set: dict[str, Any] = field(default_factory=dict)
    """For tune: fields of Behaviour."""
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


@dataclass(frozen=True)
class Scenario:
    """One host's story. `expected` has one entry per restart made, in order."""

    name: str
    host: str
    sentence: str
    end_seconds: float
    load: tuple[Load, ...]
    actions: tuple[Action, ...]
    expected: tuple[Expected, ...]
    settings: dict[str, str] = field(default_factory=dict)
    instances: tuple[str, ...] = ("postfix",)
    has_system_events: bool = False
    """The host writes sysevt.imss."""
    is_short: bool = False
    """Belongs to the quick selection that ordinary test runs play."""


def read_scenarios(path: Path = _FILE) -> list[Scenario]:
    """All scenarios in the file's order.

    Raises ValueError for an unknown action, TypeError for an unknown field.
    """
    document = yaml.safe_load(path.read_text("utf-8"))
    return [_scenario(document["settings"], raw) for raw in document["scenarios"]]


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
            "expected": tuple(Expected(**expected) for expected in raw["expected"]),
        }
    )
