"""The regular expressions for log formats that Trend Micro does not document; users may change them."""

from dataclasses import dataclass

# Parts of a stamp, also used by the headers of other logs.
NUMERIC_DATE = r"(?P<year>[0-9]{4})[-/](?P<month>[01][0-9])[-/](?P<day>[0-3][0-9])"
TIME = r"(?P<time>(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-6][0-9])(?:[.,](?P<fraction>[0-9]{1,9}))?"
OFFSET = r"(?P<offset>Z|[+-][0-2][0-9]:?[0-5][0-9])"

# What may precede the number of a system event: anything but another number of that form (2 and four
# digits), so that the first such number counts, not one in the event's text.
_BEFORE_CODE = r"^(?:[^0-9]|\b(?:[0-9]{1,4}|[013-9][0-9]{4}|[0-9]{6,})\b)*?"


@dataclass(frozen=True)
class LogRules:
    """Regular expressions, searched for in a line's text, for formats that Trend Micro does not document."""

    # Trend Micro KA-0010256: the component SysMonitor, then a text that starts with this.
    flush_commanded: str = r'^Control postfix by cmd (?:\S+ )?"?\S*script/postfix flush\b'
    """The line of the manager log that orders a flush."""
    system_event_line: str = rf"^\W*{NUMERIC_DATE}[ T]{TIME}(?:\s*(?:GMT)?{OFFSET})?[\s\",;]*(?P<text>.*)$"
    """A line of sysevt.imss or of the log query's export; its stamp is year, month, day, time and offset."""
    # Event ids from third parties' notes; sentences from the log query, Japanese and English.
    scan_stopped: str = (
        rf"{_BEFORE_CODE}\b20002\b|IMSSデーモンが停止しました|(?i:\bIMSS daemon (?:has |was |is )?stop)"
    )
    """The system event of a stop of the scan service."""
    scan_started: str = (
        rf"{_BEFORE_CODE}\b20001\b|IMSSデーモンが開始しました|(?i:\bIMSS daemon (?:has |was |is )?start)"
    )
    """The system event of a start of the scan service."""
    license: str = ""
    """A line of the manager log, or a system event, of a restart for a licence; empty matches no line."""
    component_update: str = ""
    """The same for new components, such as patterns."""
    configuration_change: str = ""
    """The same for changed settings."""
    manual: str = ""
    """The same for a restart by hand."""

    def triggers(self) -> dict[str, str]:
        """Return the regular expressions of restart triggers that are set, by trigger."""
        names = ("license", "component_update", "configuration_change", "manual")
        return {name: rule for name in names if (rule := getattr(self, name))}
