"""An explanation to sentences: why this verdict and no other, and what each scan of the queue proves."""

from datetime import datetime

from flows.words import counted, duration, local_time, product_in_words
from transforms.explain.explain import Explanation, Row

# Sources of a host's settings, by their names in fleet.host_history.
SOURCES = {
    "fleet_file": "the host's entry in the fleet file",
    "inventory": "an inventory file",
    "file_path": "a path that only IMSVA has",
    "guess": "guessed from the version",
    "fleet_defaults": "the defaults of the fleet file",
    "postfix_default": "assumed: the default of Postfix",
    "sendmail_default": "assumed: the default of sendmail",
    "product_default": "assumed: the product's default",
    "manager_log": "the offset in the manager log",
    "system_events": "the offset in the system events",
    "message_tracking": "the offset in the message tracking log",
    "maillog": "the offset in lines of the maillog",
    "fleet": "assumed: the zone of all other hosts",
    "default": "assumed: the default",
}
NO_SENDMAIL_START = "the log has no start of sendmail, which would show when its queue runs were due"


class VerdictWords:
    """Sentences about one restart; times are those of the host."""

    def __init__(self, explanation: Explanation) -> None:
        self.explanation = explanation
        self.restart = explanation.restart
        self.zone = explanation.host["time_zone"]

    def verdict(self) -> str:
        """Return the verdict and its grounds as a sentence."""
        verdict = self.restart["flush_verdict"]
        match verdict:
            case "not_needed":
                because = f"no held mail waited after the service was up again ({self._up()})"
            case "effective":
                because = f"{self._flush()} took all mail that waited, and none of it failed again"
                if earlier := self.restart["queue_run_count"]:
                    because += f"; queue runs had released {counted(earlier, 'message')} before"
            case "ineffective":
                because = self._ineffective()
            case "missing":
                because = f"{self._waited()}, {self._order()}, and no flush was seen"
            case _:
                because = self._doubt()
        return f"The verdict is {verdict}: {because}."

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
                return (
                    f"the manager polls every {self.explanation.thresholds['poll_seconds']} s, as at "
                    f"{self._at(self.explanation.window['polled_at'])}, and no poll fell into the outage"
                )
            case "not_ordered", _:
                return f"{self._order()}, and the manager orders one only if it noticed the restart"
            case "wrapper_defect", _:
                return f"{self._order()}, and {self._defect()}"
            case "order_without_effect", _:
                return (
                    f"{self._order()}, and no flush was seen, though {self._no_defect()}: "
                    "KA-0010256 does not describe this"
                )
            case "unknown", "ordered":
                return f"{self._order()} and seen, and the log does not show why it left mail waiting"
            case "unknown", _:
                return f"{self._order()}, so the manager may or may not have ordered a flush"
        return None

    def scan(self, scan: Row) -> str:
        """Return what a scan of the deferred queue proves."""
        waited, limit = duration(scan["waited_seconds"]), duration(scan["earliest_run_seconds"])
        left_behind = f"left {counted(scan['left_behind_count'], 'deferred message')} behind"
        if scan["is_queue_run"]:
            return f"a queue run, in the rhythm of the others; its youngest mail had waited {waited}"
        if scan["is_at_qmgr_start"]:
            return "it proves nothing, because Postfix had just been started or reloaded"
        if scan["is_by_sendmail"]:
            if scan["is_flush"]:
                return "a flush, because none of sendmail's queue runs was due"
            if scan["is_flush"] is None:
                return f"not known, because {NO_SENDMAIL_START}"
            return (
                f"no flush, because it {left_behind}"
                if scan["left_behind_count"]
                else "a queue run of sendmail"
            )
        early = f"it took mail that had waited {waited} (a queue run takes mail only after {limit})"
        if scan["is_flush"]:
            return f"a flush, because {early} and left no deferred mail behind"
        if scan["is_flush"] is None and scan["doubt"] == "coverage_gap":
            may_be_left = counted(scan["maybe_left_count"], "deferred message")
            return f"not known: {early}, but the log may lack lines about {may_be_left} that it took or left"
        if scan["is_flush"] is None:
            is_known = scan["is_backoff_known"]
            limit_is = "the log contradicts that setting" if is_known else "that limit is only assumed"
            return f"not known: {early}, but {limit_is}"
        if scan["early_count"]:
            return f"no flush: {early}, but it {left_behind}"
        return (
            f"no proof of a flush, because its youngest mail had waited {waited}, and after {limit} this may "
            "have been a queue run"
        )

    def _ineffective(self) -> str:
        missed, failed = self.restart["flush_missed_count"], self.restart["flush_failed_count"]
        if self.restart["flush_observed_at"]:
            outcomes = [f"missed {counted(missed, 'message')} that waited"] if missed else []
            outcomes += [f"took {counted(failed, 'message')} that failed again"] if failed else []
            return f"{self._flush()} {' and '.join(outcomes)}"
        return f"{self._order()}, but no flush was seen, and {counted(missed, 'message')} waited on"

    def _doubt(self) -> str:
        match self.restart["verdict_reason"]:
            case "log_end":
                until = self._at(self.explanation.window["covered_until"])
                return f"the maillog ends at {until}, too early to see what became of the mail that waited"
            case "coverage_gap":
                return self._gap()
            case "settings_unknown" if self.explanation.host["mta"] == "sendmail":
                return NO_SENDMAIL_START
            case "settings_unknown":
                return (
                    f"{self._backoff()}, which does not settle whether these re-activations were queue "
                    "runs or flushes"
                )
            case "too_few_messages":
                return (
                    "the re-activated mail was old enough for a queue run, and no deferred mail was left "
                    "behind, or it became active before the service is known to be up: a flush and a "
                    "queue run look the same"
                )
            case "qmgr_restart":
                return "Postfix was started or reloaded: it then tries its queue, which proves no flush"
            case "clock_set_back":
                return "the host's clock was set back, so the order of events is not known"
            case "several_hosts":
                return "the folder holds lines of several hosts, whose queues cannot be told apart"
            case "still_down":
                return "the service was still down, as no attempt got a reply after the last failure"
            case "no_maillog":
                return "no maillog covers the outage"
            case reason:
                return f"the log leaves it open ({reason})"

    def _gap(self) -> str:
        window = self.explanation.window
        if window["has_hiding_gap"]:
            return "the maillog has a gap in which mail may have waited, or been flushed"
        if lost := self.explanation.waiting["lost_count"]:
            return (
                f"the maillog says nothing more about {counted(lost, 'message')} that waited and should have "
                "been tried again: lines are missing"
            )
        if not window["is_start_covered"]:
            return "the maillog begins too late to show all mail that may have waited"
        until = self._at(window["covered_until"])
        return f"the maillog is silent after {until}, where it would show what became of the mail"

    def _not_not_needed(self) -> str:
        if self.restart["verdict_reason"] in {"still_down", "no_maillog"}:
            return "this would need a maillog that shows the end of the outage"
        if self.explanation.waiting["waiting_count"]:
            return self._waited()
        return "mail waited when the flush or the order came, before the estimated end of the outage"

    def _not_effective(self) -> str:
        match self.restart["flush_verdict"]:
            case "not_needed":
                return "there was nothing to release"
            case "unknown":
                return (
                    "this would need a flush that is seen to take all waiting mail, none of which fails again"
                )
        if self.restart["flush_observed_at"]:
            return self._ineffective()
        return f"no flush was seen in the window of this restart ({self._window()})"

    def _not_ineffective(self) -> str:
        match self.restart["flush_verdict"]:
            case "not_needed":
                return "there was nothing that a flush or an order could have failed to release"
            case "unknown":
                return "this would need a flush or an order, and mail that is seen to wait on or fail again"
            case "missing":
                return f"no flush was seen that missed anything, and {self._order()}"
        return "the flush missed no mail that waited, and none failed again after it"

    def _not_missing(self) -> str:
        if self.restart["flush_verdict"] == "not_needed":
            return "there was nothing to flush"
        if self.restart["flush_observed_at"]:
            return f"a flush was seen at {self._at(self.restart['flush_observed_at'])}"
        if self.restart["flush_order"] == "ordered":
            return self._order()
        return "this would need mail that is seen to wait for queue runs, and neither an order nor a flush"

    def _not_unknown(self) -> str:
        covered = (
            f"the maillog goes on without a gap until {self._at(self.explanation.window['covered_until'])}"
        )
        if self.restart["flush_verdict"] == "not_needed":
            return f"{covered}, and shows that no mail waited"
        return f"{covered}, and {self._backoff()}"

    def _flush(self) -> str:
        return f"the flush at {self._at(self.restart['flush_observed_at'])}"

    def _build(self) -> str:
        host = self.explanation.host
        return f"the build ({'not known' if host['build'] is None else product_in_words(host)})"

    def _defect(self) -> str:
        if self.restart["build_verdict"] == "known_defective":
            return f"{self._build()} is known to be defective"
        return "the MD5 of the wrapper script is that of the defective one"

    def _no_defect(self) -> str:
        verdict = self.restart["build_verdict"].replace("_", " ")
        if self.restart["build_verdict"] == "known_defective":
            # IMSVA: its manager may fail to order a flush.
            return f"the defect of {self._build()} is that no flush is ordered"
        return f"the wrapper script is not known to be defective (flush of {self._build()}: {verdict})"

    def _backoff(self) -> str:
        host, window = self.explanation.host, self.explanation.window
        is_given = host["minimal_backoff_seconds_source"] in {"fleet_file", "inventory", "fleet_defaults"}
        if not is_given and window["backoff_up_to_seconds"]:
            return (
                f"minimal_backoff_time is above {window['backoff_above_seconds']:g} s and at most "
                f"{window['backoff_up_to_seconds']:g} s, judging by what queue runs left and took"
            )
        source = SOURCES.get(host["minimal_backoff_seconds_source"], "not known")
        return f"minimal_backoff_time is {host['minimal_backoff_seconds']} s ({source})"

    def _waited(self) -> str:
        waited = counted(self.explanation.waiting["waiting_count"], "message")
        return f"{waited} waited after the service was up again ({self._up()})"

    def _order(self) -> str:
        restart = self.restart
        if restart["flush_order"] == "ordered":
            by = "the manager" if restart["flush_commanded_at"] else "the wrapper script"
            at = restart["flush_commanded_at"] or restart["flush_marked_at"]
            return f"a flush was ordered at {self._at(at)} (by {by})"
        if restart["flush_order"] == "not_ordered":
            return f"the manager log covers the window ({self._window()}) and has no order"
        return "no manager log covers the window"

    def _up(self) -> str:
        if is_known_by_command_alone(self.restart):
            return "by " + self._at(self.restart["up_at"])
        about = "about " if self.restart["is_up_at_estimated"] else ""
        return about + self._at(self.restart["up_at"])

    def _window(self) -> str:
        window = self.explanation.window
        until = self._at(window["window_until"]) if window["window_until"] else "the end of the log"
        return f"{self._at(window['window_from'])} to {until}"

    def _at(self, instant: datetime | None) -> str:
        """Return a time of the host, without the date if that is the day of the outage."""
        if instant is None:
            return "no time"
        day = local_time(self.restart["down_at"], self.zone)[: len("2026-11-24 ")]
        return local_time(instant, self.zone).removeprefix(day)


def is_known_by_command_alone(restart: Row) -> bool:
    """Tell whether a restart is known only by the manager's order to flush after it."""
    return bool(restart["evidence"] == ["manager_log"])
