"""The settings of a host: their types and bounds, and the defaults of each product and MTA."""

from dataclasses import dataclass, fields, replace
from typing import get_args, get_type_hints

from transforms.bounds import LAST_PORT

PRODUCTS = ("imss", "imsva")
MTAS = ("postfix", "sendmail")


@dataclass(frozen=True)
class HostSettings:
    """A host's product and how its MTA retries (in seconds, as in postconf); None is unknown."""

    product: str | None = None
    version: str | None = None
    build: int | None = None
    patch: str | None = None
    wrapper_md5: str | None = None
    mta: str | None = None
    sender_filter: bool | None = None
    time_zone: str | None = None
    scan_port: int | None = None
    queue_run_delay_seconds: int | None = None
    minimal_backoff_seconds: int | None = None
    maximal_backoff_seconds: int | None = None
    maximal_queue_lifetime_seconds: int | None = None
    bounce_queue_lifetime_seconds: int | None = None

    def overlaid(self, above: "HostSettings") -> "HostSettings":
        """Return these settings, replaced by those that `above` knows."""
        known = {f.name: getattr(above, f.name) for f in fields(above)}
        return replace(self, **{name: value for name, value in known.items() if value is not None})


SETTING_TYPES: dict[str, type] = {
    name: get_args(hint)[0] for name, hint in get_type_hints(HostSettings).items()
}
SETTING_NAMES = tuple(SETTING_TYPES)
# The settings that Postfix's files hold; they do not apply to a host with another MTA.
POSTFIX_SETTINGS = (
    "scan_port",
    "queue_run_delay_seconds",
    "minimal_backoff_seconds",
    "maximal_backoff_seconds",
    "maximal_queue_lifetime_seconds",
    "bounce_queue_lifetime_seconds",
)
# Bounds, as TOML and text files can hold any number. Postfix refuses a queue_run_delay of 0.
LARGEST_INTEGER = 2**31 - 1
LONGEST_SECONDS = 10 * 366 * 86_400

DAY_SECONDS = 86_400
EVERY_PRODUCT = HostSettings(mta="postfix", scan_port=10025)
# Postfix's defaults (postconf(5)); IMSS uses the operating system's Postfix.
POSTFIX_DEFAULTS = replace(
    EVERY_PRODUCT,
    queue_run_delay_seconds=300,
    minimal_backoff_seconds=300,
    maximal_backoff_seconds=4000,
    maximal_queue_lifetime_seconds=5 * DAY_SECONDS,
    bounce_queue_lifetime_seconds=5 * DAY_SECONDS,
)
# Trend Micro KA-0004354: the Postfix inside IMSVA.
IMSVA_DEFAULTS = replace(
    EVERY_PRODUCT,
    queue_run_delay_seconds=900,
    minimal_backoff_seconds=900,
    maximal_backoff_seconds=3600,
    maximal_queue_lifetime_seconds=DAY_SECONDS,
    bounce_queue_lifetime_seconds=0,
)
IMSVA_BOUNCE_LIFETIME_OF_A_DAY_FROM_BUILD = 1978
# sendmail's defaults (cf/README): MinQueueAge 0 and Timeout.queuereturn 5d. The interval of its queue runs is
# an argument of the daemon (-q), and it has no longest wait: both are unknown.
SENDMAIL_DEFAULTS = replace(
    EVERY_PRODUCT,
    mta="sendmail",
    minimal_backoff_seconds=0,
    maximal_queue_lifetime_seconds=5 * DAY_SECONDS,
    bounce_queue_lifetime_seconds=5 * DAY_SECONDS,
)


def product_defaults(product: str | None, build: int | None) -> HostSettings:
    """Return the settings that a build of a product is shipped with; all unknown for an unknown product."""
    if product == "imss":
        return POSTFIX_DEFAULTS
    if product == "imsva":
        if build and build >= IMSVA_BOUNCE_LIFETIME_OF_A_DAY_FROM_BUILD:
            return replace(IMSVA_DEFAULTS, bounce_queue_lifetime_seconds=DAY_SECONDS)
        return IMSVA_DEFAULTS
    return HostSettings()


def setting_bounds(name: str) -> tuple[int, int]:
    """Return the least and the greatest value of a whole-number setting."""
    if name == "scan_port":
        return 1, LAST_PORT
    if name == "queue_run_delay_seconds":
        return 1, LONGEST_SECONDS
    return 0, LONGEST_SECONDS if name.endswith("_seconds") else LARGEST_INTEGER
