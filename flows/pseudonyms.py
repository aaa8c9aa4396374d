"""Log lines to the same lines without people: each address and message id becomes a pseudonym."""

import re

from flows.tables import ADDRESS

# In angle brackets, where a quoted part may hold anything.
_IN_BRACKETS = r"""(?P<before>\b[\w-]*=)?<(?P<inner>(?:"(?:[^"\\]|\\.)*"|[^<>"])+)>"""
# Fields whose value is a name or an id, also where it has no @ in it.
_FIELDS = (
    *("to", "from", "orig_to", "message-id", "resent-message-id", "ctladdr", "msgid"),
    *("sasl_username", "sasl_sender", "sender", "recipient", "recipients", "original_recipient"),
    *("message_id", "resent_message_id"),
)
_VALUE = rf"""\b(?P<field>{"|".join(_FIELDS)})=(?P<value>"[^"]*"|[^\s,<>"]+)(?![^\s,]*@)"""
# A line that was cut within its address.
_CUT = rf"""\b(?P<cut_field>{"|".join(_FIELDS)})=<(?P<cut>[^<>]+)$"""
_PERSON = re.compile(rf"{_IN_BRACKETS}|{_CUT}|(?P<address>{ADDRESS.pattern})|{_VALUE}")


class Pseudonyms:
    """Gives each address a pseudonym, `name1@domain1.example`, the same wherever it comes again.

    Addresses of one domain keep one domain. The null sender `<>` stays.
    """

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._domains: dict[str, str] = {}

    def hide(self, text: str) -> str:
        """Return a text with pseudonyms in place of addresses, local names and message ids."""
        return _PERSON.sub(self._replace, text)

    def _replace(self, found: re.Match[str]) -> str:
        if address := found["address"]:
            return self._pseudonym(address)
        if field := found["cut_field"]:
            return f"{field}=<{self._pseudonym(found['cut'])}"
        if field := found["field"]:
            return f"{field}={self._pseudonym(found['value'])}"
        before, inner = found["before"] or "", found["inner"]
        is_person = "@" in inner or before.rstrip("=") in _FIELDS
        return f"{before}<{self._pseudonym(inner) if is_person else inner}>"

    def _pseudonym(self, address: str) -> str:
        _, at, domain = address.rpartition("@")
        hidden = self._names.setdefault(address.lower(), f"name{len(self._names) + 1}")
        if not at:
            return hidden
        number = len(self._domains) + 1
        return f"{hidden}@{self._domains.setdefault(domain.lower(), f'domain{number}.example')}"
