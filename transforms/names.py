"""Turns names of hosts, files and members, which may be any bytes, into one text for each.

The ledger, the lake, findings and tables keep this text, and it can be pasted back as shown. It is the name
itself, with `%XX` in place of each byte that is unprintable or not UTF-8, and of a `%` before two hexadecimal
digits, so that no two names share a text. A host's name becomes part of commands: in it, `%XX` also
replaces what a shell, an option or a spreadsheet would take for more than text.
"""

import codecs
import re
from urllib.parse import unquote_to_bytes

ESCAPE_LIKE = re.compile(r"%(?=[0-9A-Fa-f]{2})")
# ASCII that means nothing to a shell, and what a spreadsheet or an option begins with.
NOT_OF_A_HOST = re.compile(r"(?![A-Za-z0-9_.:@+=,%-])[\x00-\x7f]|^[-+=@]")
MEMBER_MARK = "!"
# What to do with what an encoding lacks (codecs.register_error).
AS_SHOWN = "maillag.as_shown"


def shown_name(raw: bytes) -> str:
    """Return the text for the name or path of a file or member."""
    text = ESCAPE_LIKE.sub("%25", raw.decode(errors="surrogateescape"))
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def shown_path(raw: bytes) -> str:
    """Return the text for the path of a file, with every `!` escaped, which would begin a member's name."""
    return shown_name(raw).replace(MEMBER_MARK, _escaped(MEMBER_MARK))


def host_name(raw: bytes) -> str:
    """Return the text for the name of a host."""
    return NOT_OF_A_HOST.sub(lambda found: _escaped(found[0]), shown_name(raw))


def given_host(text: str) -> str:
    """Return the text for a host as a user writes it: as shown, or as the folder is named."""
    return host_name(unquote_to_bytes(text.encode(errors="surrogateescape")))


def raw_name(name: str) -> bytes:
    """Return the name that a text stands for."""
    return unquote_to_bytes(name)


def _as_shown(error: UnicodeError) -> tuple[str, int]:
    """Put `%XX` in place of what a terminal's encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_escaped, error.object[error.start : error.end])), error.end


def _escaped(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode(errors="surrogateescape"))


codecs.register_error(AS_SHOWN, _as_shown)
