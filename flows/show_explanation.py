"""An explanation of a restart to the text that `maillag explain` prints, or to the same as JSON."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

import duckdb
from rich.console import Console

from flows.answer import verdict_in_words
from flows.catalog import fetch
from flows.language import Language, Seconds, say
from flows.tables import plain, show_text
from flows.verdict_words import VerdictWords, is_known_by_command_alone
from flows.words import counted, local_time, named
from transforms.explain.explain import Evidence, Explanation, Line, Row
from transforms.queries import read_query

# Messages, and scans, shown without --all.
SHOWN = 5
# Messages whose lines a support case (ticket.py) holds; its document shows fewer.
MESSAGES_IN_TICKET = 200
SETTINGS = (
    "product",
    "version",
    "build",
    "wrapper_md5",
    "mta",
    "time_zone",
    "scan_port",
    "queue_run_delay_seconds",
    "minimal_backoff_seconds",
    "maximal_backoff_seconds",
)
# The thresholds that most verdicts depend on; the JSON has all.
THRESHOLDS = (
    "flush_window_seconds",
    "backoff_margin_seconds",
    "assumed_backoff_seconds",
    "left_behind_seconds",
    "order_effect_seconds",
    "gap_after_seconds",
)


def fetch_restart(catalog: duckdb.DuckDBPyConnection, restart_id: str) -> Row:
    """Return the published row of a restart."""
    query = "select * from marts.restarts where restart_id = $restart_id"
    (restart,) = fetch(catalog, query, {"restart_id": restart_id})
    return restart


def fetch_frozen_days(catalog: duckdb.DuckDBPyConnection, restart_id: str) -> Row | None:
    """Return which days of its host have expired, if the evidence of a restart is among them."""
    rows = fetch(catalog, read_query("answers.frozen_days"), {"restart_id": restart_id})
    return rows[0] if rows else None


def frozen_in_words(days: Row, language: Language) -> str:
    """Return why a restart cannot be explained any more, as a sentence."""
    return say(
        language,
        "terminal.frozen",
        host=plain(days["host"]),
        day=days["expired_before"],
        at=f"{days['expired_at']:%Y-%m-%d}",
        frozen=days["frozen_before"],
    )


def as_document(explanation: Explanation) -> dict[str, Any]:
    """Return the explanation as a JSON document, in which each line has path, line_number and role."""
    words = VerdictWords(explanation) if is_derived(explanation) else None
    return {
        "restart": explanation.restart,
        "differences": {
            name: {"published": published, "derived": derived}
            for name, (published, derived) in explanation.differences.items()
        },
        "verdict": words
        and {
            "sentence": words.verdict(),
            "not": words.others(),
            "missing_reason": words.missing_reason(),
        },
        "service": [asdict(line) for line in explanation.service],
        "held": {
            **explanation.waiting,
            "messages": [_with_lines(message) for message in explanation.messages],
        },
        "orders": [asdict(line) for line in explanation.orders],
        "scans": [
            _with_lines(scan) | {"sentence": words.scan(scan.facts)} for scan in explanation.scans if words
        ],
        "coverage": {
            "spans": explanation.spans,
            "files": explanation.sources,
            "losses": [asdict(line) for line in explanation.losses],
        },
        "settings": host_settings(explanation.host),
        "thresholds": explanation.thresholds,
    }


def difference_in_words(explanation: Explanation, language: Language) -> str:
    """Return in what way the verdict that the lake's events give differs from the published one."""
    restart_id = explanation.restart["restart_id"]
    if not is_derived(explanation):
        return say(language, "explain.differs_gone", restart=restart_id)
    changed = say(language, "counted.comma").join(
        say(language, "explain.differs_value", name=name, derived=str(derived), published=str(published))
        for name, (published, derived) in explanation.differences.items()
    )
    return say(language, "explain.differs", restart=restart_id, changed=changed)


def show_explanation(
    console: Console, explanation: Explanation, *, is_all: bool, language: Language = "en"
) -> None:
    """Print an explanation, with its lines grouped under headings and in order of time."""
    for part in ExplanationText(explanation, is_all, language).parts():
        if part.kind == "heading":
            console.print()
        style = "bold" if part.kind in ("title", "heading") else ""
        # A log line stays one line.
        is_line = part.kind == "line"
        show_text(console, f"  {part.text}" if is_line else part.text, style=style, is_whole=is_line)


@dataclass(frozen=True)
class Part:
    """A piece of an explanation: its title, a heading, a sentence, or a log line with its place and role."""

    kind: Literal["title", "heading", "sentence", "line"]
    text: str


Parts = Iterator[Part]


@dataclass(frozen=True)
class ExplanationText:
    """An explanation in words, section by section."""

    explanation: Explanation
    is_all: bool
    language: Language
    rest_in: str = "explain.all_with"
    """The key of the text that says where the messages and scans are that are left out."""

    def parts(self) -> Parts:
        """Yield all of it; without evidence, only the title."""
        yield self.title()
        if not is_derived(self.explanation):
            return
        yield self._sentence("times", zone=self._zone)
        yield from self.service()
        yield from self.held()
        yield from self.flushes()
        yield from self.coverage()
        yield from self.settings()
        yield from self.reasons()

    def title(self) -> Part:
        """Return the restart and its verdict."""
        restart = self.explanation.restart
        return Part("title", f"{plain(restart['restart_id'])}: {verdict_in_words(restart, self.language)}")

    @property
    def _words(self) -> VerdictWords:
        return VerdictWords(self.explanation, self.language)

    @property
    def _zone(self) -> str:
        return str(self.explanation.host["time_zone"])

    def service(self) -> Parts:
        """Yield what the service did."""
        yield self._heading("service_heading")
        yield Part("sentence", self._outage())
        yield from self._lines(self.explanation.service)

    def _outage(self) -> str:
        restart = self.explanation.restart
        if is_known_by_command_alone(restart):
            return self._say("command_only", up=self._at(restart["up_at"]))
        is_up, seconds = restart["up_at"] is not None, restart["outage_seconds"]
        return self._say(
            "outage",
            down=self._at(restart["down_at"]),
            until=self._say("up_at", up=self._at(restart["up_at"])) if is_up else self._say("not_up"),
            about=self._say("estimated") if restart["is_up_at_estimated"] else "",
            lasted="" if seconds is None else self._say("lasted", time=Seconds(seconds)),
            failed="" if "maillog" in restart["evidence"] else self._say("none_failed"),
        )

    def held(self) -> Parts:
        """Yield what was held."""
        yield self._heading("held_heading")
        yield Part("sentence", self._held())
        messages = self.explanation.messages
        shown = messages if self.is_all else messages[:SHOWN]
        for message in shown:
            yield Part("sentence", self._message(message.facts))
            yield from self._lines(message.lines)
        yield from self._rest(self.explanation.restart["held_message_count"] - len(shown), "more_messages")

    def _held(self) -> str:
        restart = self.explanation.restart
        count = restart["held_message_count"]
        if not count:
            return self._say("none_held")
        waited = ""
        if restart["restart_delay_p50_seconds"] is not None:
            median, longest = (Seconds(restart[f"restart_delay_{part}_seconds"]) for part in ("p50", "max"))
            waited = self._say("held_waited", n=count, median=median, longest=longest)
        return self._say(
            "held",
            n=count,
            held=counted(count, "message", self.language),
            never_tried=restart["never_tried_count"],
            waiting=self.explanation.waiting["waiting_count"],
            waited=waited,
            pending=restart["pending_count"],
            lost=restart["lost_message_count"],
        )

    def _message(self, message: Row) -> str:
        queue_id = plain(message["queue_id"])
        failed = self._say("failed_again") if message["is_failed_after_flush"] else ""
        if message["released_at"] is None:
            outcome = named("terminal.status_", message["outcome"], self.language)
            return self._say("message_not_released", queue_id=queue_id, outcome=outcome, failed=failed)
        return self._say(
            "message_released",
            queue_id=queue_id,
            time=Seconds(message["restart_delay_seconds"]),
            by=self._say(f"by_{message['released_by']}"),
            failed=failed,
        )

    def flushes(self) -> Parts:
        """Yield orders, flushes and queue runs."""
        yield self._heading("flushes_heading")
        if not self.explanation.orders:
            yield self._sentence("no_order")
        yield from self._lines(self.explanation.orders)
        scans = self.explanation.scans if self.is_all else _first_scans(self.explanation.scans)
        for scan in scans:
            facts = scan.facts
            yield self._sentence(
                "scan",
                n=facts["reactivated_count"],
                at=self._at(facts["began_at"]),
                held=facts["held_message_count"],
                outside="" if facts["is_in_window"] else self._say("outside"),
                proves=self._words.scan(facts),
            )
            yield from self._lines(scan.lines)
        yield from self._rest(len(self.explanation.scans) - len(scans), "more_scans")

    def coverage(self) -> Parts:
        """Yield what the logs cover."""
        yield self._heading("coverage_heading")
        for span in self.explanation.spans:
            log = named("explain.log_", span["log_kind"], self.language)
            bounds = {"from": self._at(span["covered_from"]), "until": self._at(span["covered_until"])}
            yield self._sentence("covered", log=log, **bounds)
        for source in self.explanation.sources:
            yield self._sentence(
                "file",
                path=plain(source["path"]),
                lines=counted(source["line_count"], "line", self.language),
                status=named("explain.file_", source["status"], self.language),
            )
        yield from self._lines(self.explanation.losses)

    def settings(self) -> Parts:
        """Yield the settings of host and rules."""
        yield self._heading("settings_heading")
        for setting in host_settings(self.explanation.host):
            source = named("source.", setting["source"], self.language)
            value = plain(setting["value"])
            yield self._sentence("setting", name=setting["name"], value=value, source=source)
        for name in THRESHOLDS:
            yield self._sentence("threshold", name=name, value=str(self.explanation.thresholds[name]))

    def reasons(self) -> Parts:
        """Yield why this verdict and no other."""
        restart, words = self.explanation.restart, self._words
        yield self._heading("why_heading")
        yield Part("sentence", words.verdict())
        for verdict, because in words.others().items():
            yield self._sentence("why_not", verdict=words.name_of(verdict), because=because)
        if reason := words.missing_reason():
            yield self._sentence(
                "why_missing",
                verdict=words.name_of(restart["flush_verdict"]),
                reason=named("words.why_", restart["missing_reason"], self.language),
                because=reason,
            )

    def _lines(self, lines: Iterable[Line]) -> Parts:
        for line in lines:
            said = self._say(
                "line",
                place=f"{plain(line.path)}:{line.line_number}",
                at=self._at(line.logged_at),
                role=named("explain.role_", line.role, self.language),
                rebuilt="" if line.is_quoted else self._say("rebuilt"),
                text=plain(line.text),
            )
            yield Part("line", said)

    def _rest(self, count: int, key: str) -> Parts:
        if count > 0:
            yield self._sentence(key, n=count, where=say(self.language, self.rest_in))

    def _heading(self, key: str) -> Part:
        return Part("heading", self._say(key))

    def _sentence(self, key: str, **figures: object) -> Part:
        return Part("sentence", self._say(key, **figures))

    def _at(self, instant: datetime) -> str:
        return local_time(instant, self._zone)

    def _say(self, key: str, **figures: object) -> str:
        return say(self.language, f"explain.{key}", **figures)


def is_derived(explanation: Explanation) -> bool:
    """Tell whether the lake's events still show the restart: without them there is no evidence."""
    return "restart_id" not in explanation.differences


def host_settings(host: Row) -> list[Row]:
    """Return the settings that the rules read, each with its source; unknown ones are left out."""
    return [
        {"name": name, "value": host[name], "source": host[f"{name}_source"]}
        for name in SETTINGS
        if host.get(name) is not None
    ]


def _with_lines(evidence: Evidence) -> dict[str, Any]:
    return evidence.facts | {"lines": [asdict(line) for line in evidence.lines]}


def _first_scans(scans: list[Evidence]) -> list[Evidence]:
    """Return the first few scans, flushes before others."""
    first = sorted(scans, key=lambda scan: (not scan.facts["is_flush"], scan.facts["began_at"]))[:SHOWN]
    return [scan for scan in scans if scan in first]
