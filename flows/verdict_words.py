"""An explanation to sentences: why this verdict and no other, and what each scan of the queue proves."""

from datetime import datetime

from flows.answer import verdict_in_words
from flows.language import Language, Seconds, say
from flows.words import counted, local_time, named, product_in_words
from transforms.explain.explain import Explanation, Row


class VerdictWords:
    """Sentences about one restart, of the catalogue's section `explain`; times are those of the host."""

    def __init__(self, explanation: Explanation, language: Language = "en") -> None:
        self.explanation = explanation
        self.restart = explanation.restart
        self.zone = explanation.host["time_zone"]
        self.language = language

    def verdict(self) -> str:
        """Return the verdict and its grounds as a sentence."""
        verdict = self.restart["flush_verdict"]
        match verdict:
            case "not_needed":
                because = self._say("none_waited", up=self._up())
            case "effective" if earlier := self.restart["queue_run_count"]:
                released = self._counted(earlier, "message")
                because = self._say("took_all_after", flush=self._flush(), earlier=released)
            case "effective":
                because = self._say("took_all", flush=self._flush())
            case "ineffective":
                because = self._ineffective()
            case "missing":
                because = self._say("none_seen", waited=self._waited(), order=self._order())
            case _:
                because = self._doubt()
        return self._say("verdict", verdict=self.name_of(verdict), because=because)

    def name_of(self, verdict: str) -> str:
        """Return what a verdict is called; that of the restart as in its title."""
        return verdict_in_words(self.restart | {"flush_verdict": verdict}, self.language)

    def others(self) -> dict[str, str]:
        """Return, for each other verdict, why it is not the one."""
        reasons = {
            "not_needed": self._not_not_needed,
            "effective": self._not_effective,
            "ineffective": self._not_ineffective,
            "missing": self._not_missing,
            "unknown": self._not_unknown,
        }
        del reasons[self.restart["flush_verdict"]]
        return {verdict: reason() for verdict, reason in reasons.items()}

    def missing_reason(self) -> str | None:
        """Return the grounds of missing_reason; None if no flush is missing."""
        match self.restart["missing_reason"], self.restart["flush_order"]:
            case "not_noticed", _:
                return self._say(
                    "not_noticed",
                    seconds=self.explanation.thresholds["poll_seconds"],
                    at=self._at(self.explanation.window["polled_at"]),
                )
            case "not_ordered", _:
                return self._say("not_ordered", order=self._order())
            case "wrapper_defect", _:
                return self._say("wrapper_defect", order=self._order(), defect=self._defect())
            case "order_without_effect", _:
                return self._say("order_without_effect", order=self._order(), no_defect=self._no_defect())
            case "unknown", "ordered":
                return self._say("left_waiting", order=self._order())
            case "unknown", _:
                return self._say("may_be_ordered", order=self._order())
        return None

    def scan(self, scan: Row) -> str:
        """Return what a scan of the deferred queue proves."""
        waited, limit = Seconds(scan["waited_seconds"]), Seconds(scan["earliest_run_seconds"])
        left = self._say("left_behind", messages=self._counted(scan["left_behind_count"], "deferred_message"))
        if scan["is_queue_run"]:
            return self._say("run_in_rhythm", waited=waited)
        if scan["is_at_qmgr_start"]:
            return self._say("at_qmgr_start")
        if scan["is_by_sendmail"]:
            if scan["is_flush"]:
                return self._say("sendmail_flush")
            if scan["is_flush"] is None:
                return self._say("sendmail_unknown", no_start=self._say("no_sendmail_start"))
            return (
                self._say("sendmail_left", left=left)
                if scan["left_behind_count"]
                else self._say("sendmail_run")
            )
        early = self._say("early", waited=waited, limit=limit)
        if scan["is_flush"]:
            return self._say("scan_flush", early=early)
        if scan["is_flush"] is None and scan["doubt"] == "coverage_gap":
            may_be_left = self._counted(scan["maybe_left_count"], "deferred_message")
            return self._say("scan_gap", early=early, messages=may_be_left)
        if scan["is_flush"] is None:
            return self._say("scan_refuted" if scan["is_backoff_known"] else "scan_assumed", early=early)
        if scan["early_count"]:
            return self._say("scan_left", early=early, left=left)
        return self._say("scan_late", waited=waited, limit=limit)

    def _ineffective(self) -> str:
        missed = self._counted(self.restart["flush_missed_count"], "message")
        failed = self._counted(self.restart["flush_failed_count"], "message")
        if not self.restart["flush_observed_at"]:
            return self._say("no_effect", order=self._order(), missed=missed)
        if self.restart["flush_missed_count"] and self.restart["flush_failed_count"]:
            did = self._say("missed_and_refailed", missed=missed, failed=failed)
        elif self.restart["flush_missed_count"]:
            did = self._say("missed", messages=missed)
        else:
            did = self._say("refailed", messages=failed)
        return self._say("flush_did", flush=self._flush(), did=did)

    def _doubt(self) -> str:
        match self.restart["verdict_reason"]:
            case "log_end":
                return self._say("ends_early", until=self._at(self.explanation.window["covered_until"]))
            case "coverage_gap":
                return self._gap()
            case "settings_unknown" if self.explanation.host["mta"] == "sendmail":
                return self._say("no_sendmail_start")
            case "settings_unknown":
                return self._say("backoff_open", backoff=self._backoff())
            case "too_few_messages":
                return self._say("look_the_same")
            case "qmgr_restart" | "clock_set_back" | "several_hosts" | "still_down" | "no_maillog" as reason:
                return self._say(reason)
            case reason:
                return self._say("left_open", reason=reason)

    def _gap(self) -> str:
        window = self.explanation.window
        if window["has_hiding_gap"]:
            return self._say("hiding_gap")
        if lost := self.explanation.waiting["lost_count"]:
            return self._say("lines_missing", messages=self._counted(lost, "message"))
        if not window["is_start_covered"]:
            return self._say("begins_late")
        return self._say("falls_silent", until=self._at(window["covered_until"]))

    def _not_not_needed(self) -> str:
        if self.restart["verdict_reason"] in {"still_down", "no_maillog"}:
            return self._say("needs_end")
        if self.explanation.waiting["waiting_count"]:
            return self._waited()
        return self._say("waited_before_end")

    def _not_effective(self) -> str:
        match self.restart["flush_verdict"]:
            case "not_needed":
                return self._say("nothing_to_release")
            case "unknown":
                return self._say("needs_full_flush")
        if self.restart["flush_observed_at"]:
            return self._ineffective()
        return self._say("none_in_window", window=self._window())

    def _not_ineffective(self) -> str:
        match self.restart["flush_verdict"]:
            case "not_needed":
                return self._say("nothing_could_fail")
            case "unknown":
                return self._say("needs_failed_flush")
            case "missing":
                return self._say("none_missed", order=self._order())
        return self._say("missed_nothing")

    def _not_missing(self) -> str:
        if self.restart["flush_verdict"] == "not_needed":
            return self._say("nothing_to_flush")
        if self.restart["flush_observed_at"]:
            return self._say("flush_seen", at=self._at(self.restart["flush_observed_at"]))
        if self.restart["flush_order"] == "ordered":
            return self._order()
        return self._say("needs_waiting")

    def _not_unknown(self) -> str:
        covered = self._say("covered_until", until=self._at(self.explanation.window["covered_until"]))
        if self.restart["flush_verdict"] == "not_needed":
            return self._say("and_none_waited", covered=covered)
        return self._say("and_backoff", covered=covered, backoff=self._backoff())

    def _flush(self) -> str:
        return self._say("the_flush", at=self._at(self.restart["flush_observed_at"]))

    def _build(self) -> str:
        host = self.explanation.host
        is_known = host["build"] is not None
        product = product_in_words(host, self.language) if is_known else self._say("build_not_known")
        return self._say("the_build", product=product)

    def _defect(self) -> str:
        if self.restart["build_verdict"] == "known_defective":
            return self._say("build_defective", build=self._build())
        return self._say("md5_defective")

    def _no_defect(self) -> str:
        if self.restart["build_verdict"] == "known_defective":
            # IMSVA: its manager may fail to order a flush.
            return self._say("none_is_ordered", build=self._build())
        verdict = say(self.language, f"words.build_{self.restart['build_verdict']}")
        return self._say("wrapper_not_known", build=self._build(), verdict=verdict)

    def _backoff(self) -> str:
        host, window = self.explanation.host, self.explanation.window
        source = host["minimal_backoff_seconds_source"]
        if source not in {"fleet_file", "inventory", "fleet_defaults"} and window["backoff_up_to_seconds"]:
            return self._say(
                "backoff_estimated",
                above=f"{window['backoff_above_seconds']:g}",
                up_to=f"{window['backoff_up_to_seconds']:g}",
            )
        source = named("source.", source or "unknown", self.language)
        return self._say("backoff_is", seconds=str(host["minimal_backoff_seconds"]), source=source)

    def _waited(self) -> str:
        return self._say("waited_after", n=self.explanation.waiting["waiting_count"], up=self._up())

    def _order(self) -> str:
        restart = self.restart
        if restart["flush_order"] == "ordered":
            by = "manager" if restart["flush_commanded_at"] else "wrapper"
            at = restart["flush_commanded_at"] or restart["flush_marked_at"]
            return self._say(f"ordered_by_{by}", at=self._at(at))
        if restart["flush_order"] == "not_ordered":
            return self._say("no_order_in_window", window=self._window())
        return self._say("no_manager_log")

    def _up(self) -> str:
        at = self._at(self.restart["up_at"])
        if is_known_by_command_alone(self.restart):
            return self._say("by_time", at=at)
        return self._say("about_time", at=at) if self.restart["is_up_at_estimated"] else at

    def _window(self) -> str:
        window = self.explanation.window
        until = self._at(window["window_until"]) if window["window_until"] else self._say("end_of_log")
        return self._say("window", **{"from": self._at(window["window_from"]), "until": until})

    def _at(self, instant: datetime | None) -> str:
        """Return a time of the host, without the date if that is the day of the outage."""
        if instant is None:
            return self._say("no_time")
        day = local_time(self.restart["down_at"], self.zone)[: len("2026-11-24 ")]
        return local_time(instant, self.zone).removeprefix(day)

    def _counted(self, count: int, noun: str) -> str:
        return counted(count, noun, self.language)

    def _say(self, key: str, **figures: object) -> str:
        return say(self.language, f"explain.{key}", **figures)


def is_known_by_command_alone(restart: Row) -> bool:
    """Tell whether a restart is known only by the manager's order to flush after it."""
    return bool(restart["evidence"] == ["manager_log"])
