"""What went wrong, where, and what to do about it: the one family of errors, and problems kept as data."""

from dataclasses import dataclass


class MaillagError(Exception):
    """Wrong use or a state that no run can work around; its text says what, where and what to do."""


@dataclass(frozen=True)
class Problem:
    """Something wrong with one input, met while the rest of the run went on.

    `where` is a path relative to the archive (with `:line` where a line is meant), a host or a table.
    `is_note` marks what the user may want to improve, but what cost no data.
    """

    where: str
    what: str
    remedy: str
    is_note: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.what}. {self.remedy}"
