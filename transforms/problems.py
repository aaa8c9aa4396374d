"""The one family of errors, and problems kept as data: what went wrong, where, and what to do about it."""

import re
from dataclasses import dataclass

# A rule that the command line looks up by this name.
HAS_MAIL_LINES = "the log has lines of the host's mail program"


class MaillagError(Exception):
    """Wrong use, or a state that no run can work around; the text says what, where and what to do."""


@dataclass(frozen=True)
class Problem:
    """Something wrong with one input; the rest of the run went on.

    `where` is a path relative to the archive (with `:line` for a single line), a host or a table.
    `is_note` marks what the user may want to improve but cost no data; `is_warning` marks what makes answers
    less certain, such as an assumption. `rule` is what should be true of the input.
    """

    where: str
    what: str
    remedy: str
    is_note: bool = False
    is_warning: bool = False
    rule: str = "the file can be read"

    @property
    def severity(self) -> str:
        """How it is printed: note, warning or critical."""
        return "note" if self.is_note else "warning" if self.is_warning else "critical"

    def __str__(self) -> str:
        return f"{self.where}: {self.what}. {self.remedy}"


def cause(error: Exception) -> str:
    """Return the first line of an error that is a defect of maillag, without mail addresses."""
    first_line = next(iter(str(error).splitlines()), "") or type(error).__name__
    return re.sub(r"[^\s,;<>'\"]+@[^\s,;<>'\"]+", "<address>", first_line).rstrip(".")
