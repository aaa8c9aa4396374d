"""What the lake holds to what a person reads: what was read, runs, findings, and lines not understood."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from flows.answer import problem_lines
from flows.catalog import Row
from flows.language import Language, say
from flows.tables import Column, plain, show_table, show_text
from flows.words import Clock, counted, named, product_in_words, waited
from transforms.zone import Zone

MINUTE = "%Y-%m-%d %H:%M"
# The clock of what no host has, such as the runs, if the hosts' zones differ.
COMMON_ZONE = "UTC"


class Status:
    """The report of `maillag status`, by the names of its JSON, on a console."""

    def __init__(self, console: Console, report: Mapping[str, list[Row]], language: Language) -> None:
        self.console = console
        self.report = report
        self.language = language
        self.zones = {row["host"]: row["time_zone"] for row in report["hosts"] if "host" in row}
        self.clock = Clock.of(self.zones, self.zones, language)

    def show(self) -> None:
        """Print all of it; where a damaged file hides the rows of a part, that is said in their place."""
        parts = {
            "counts": ("status_lake", self._show_counts),
            "hosts": ("status_hosts", self._show_hosts),
            "runs": ("status_runs", self._show_runs),
            "findings": ("status_findings", self._show_findings),
            "unparsed_reasons": ("status_reasons", self._show_reasons),
            "unparsed_shapes": ("status_shapes", self._show_shapes),
            "verified": ("status_verified", self._show_verified),
        }
        is_first = True
        for name, (heading, show) in parts.items():
            rows = self.report.get(name, [])
            if not rows and name != "findings":
                continue
            if not is_first:
                self.console.print()
            is_first = False
            zone = self.clock.shared or COMMON_ZONE if name == "runs" else self.clock.heading
            show_text(self.console, self._say(heading, zone=plain(zone)), style="bold")
            if rows and rows[0].keys() == {"what"}:
                self._print("is_unreadable", what=plain(rows[0]["what"]))
            else:
                show(rows)

    def _show_counts(self, rows: list[Row]) -> None:
        (counts,) = rows
        self._print(
            "status_read",
            files=counted(counts["source_file_count"], "log_file", self.language),
            hosts=counted(counts["host_count"], "host", self.language),
            lines=counted(counts["line_count"], "line", self.language),
        )
        if unparsed := counts["unparsed_line_count"]:
            self._print("status_unparsed", n=unparsed)
        elif counts["line_count"]:
            self._print("status_all_parsed")
        for name, key in (
            ("quarantined_file_count", "status_kept_out"),
            ("damaged_file_count", "status_damaged"),
        ):
            if counts[name]:
                self._print(key, files=counted(counts[name], "file", self.language))

    def _show_hosts(self, rows: list[Row]) -> None:
        sources = {row["host"]: named("source.", row["time_zone_source"], self.language) for row in rows}
        columns = [Column(self._say("host")), Column(self._say("product"), is_prose=True)]
        columns += [Column(self._say(name), is_right=True) for name in ("files", "lines", "unparsed")]
        columns += [Column(self._say("logs_from")), Column(self._say("logs_until"))]
        rows_of_zones = {(row["time_zone"], row["time_zone_source"]) for row in rows}
        is_zone_told = len(rows_of_zones) > 1 or any(Zone(*zone).is_assumed for zone in rows_of_zones)
        columns += [Column(self._say("zone"), is_prose=True)] * is_zone_told
        self._table(
            columns,
            [
                (
                    row["host"],
                    product_in_words(row, self.language),
                    f"{row['source_file_count']:,}",
                    f"{row['line_count']:,}",
                    f"{row['unparsed_line_count']:,}",
                    self.clock.show(row["first_logged_at"], row["host"], "%Y-%m-%d"),
                    self.clock.show(row["last_logged_at"], row["host"], MINUTE),
                    self._say("in_brackets", text=plain(row["time_zone"]), more=sources[row["host"]]),
                )[: len(columns)]
                for row in rows
            ],
        )

    def _show_runs(self, rows: list[Row]) -> None:
        clock = Clock({"": self.clock.shared or COMMON_ZONE}, self.clock.shared or COMMON_ZONE, self.language)
        columns = [Column(self._say("started"))]
        columns += [
            Column(self._say(name), is_right=True) for name in ("run_took", "files", "lines", "findings")
        ]
        self._table(
            [*columns, Column(self._say("run_ended"), is_prose=True)],
            [
                (
                    clock.show(row["started_at"], "", MINUTE),
                    waited(
                        row["finished_at"] and (row["finished_at"] - row["started_at"]).total_seconds(),
                        self.language,
                    ),
                    _number(row["source_file_count"]),
                    _number(row["line_count"]),
                    _number(row["finding_count"]),
                    named("terminal.run_", row["status"], self.language),
                )
                for row in rows
            ],
        )

    def _show_findings(self, rows: list[Row]) -> None:
        if not rows:
            self._print("no_finding")
        for line in problem_lines(rows, self.language):
            show_text(self.console, line)
        if any(row["example_rows"] for row in rows):
            self._print("finding_rows")

    def _show_reasons(self, rows: list[Row]) -> None:
        clock = Clock({"": self.clock.shared or COMMON_ZONE}, self.clock.shared or COMMON_ZONE, self.language)
        self._table(
            [
                Column(self._say("lines"), is_right=True),
                Column(self._say("hosts"), is_right=True),
                Column(self._say("latest", zone=plain(clock.shared))),
                Column(self._say("reason"), is_prose=True),
            ],
            [
                (
                    f"{row['line_count']:,}",
                    f"{row['host_count']:,}",
                    clock.show(row["last_logged_at"], "", MINUTE),
                    named("terminal.unparsed_", row["reason"], self.language),
                )
                for row in rows
            ],
        )

    def _show_shapes(self, rows: list[Row]) -> None:
        self._table(
            [
                Column(self._say("lines"), is_right=True),
                Column(self._say("reason"), is_prose=True),
                Column(self._say("shape"), is_prose=True),
            ],
            [
                (
                    f"{row['line_count']:,}",
                    named("terminal.unparsed_", row["reason"], self.language),
                    row["shape"],
                )
                for row in rows
            ],
        )

    def _show_verified(self, rows: list[Row]) -> None:
        for row in rows:
            if row["what"] == ALL_AGREE["what"]:
                self._print("all_agree")
            else:
                for line in problem_lines(
                    [{"severity": "critical", "place": row["where"], **row}], self.language
                ):
                    show_text(self.console, line)

    def _table(self, columns: Sequence[Column], rows: Sequence[Sequence[object]]) -> None:
        show_table(self.console, columns, rows, language=self.language)

    def _print(self, key: str, **figures: object) -> None:
        show_text(self.console, self._say(key, **figures))

    def _say(self, key: str, **figures: object) -> str:
        return say(self.language, f"terminal.{key}", **figures)


# What `status --verify` reports if nothing is wrong.
ALL_AGREE: dict[str, Any] = {"where": "lake", "what": "all agree"}


def _number(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"
