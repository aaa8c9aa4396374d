"""MAILLAG_* variables, maillag.toml and defaults, in order of precedence, to the settings of all runs."""

import difflib
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict, PositiveInt, ValidationError, field_validator
from pydantic.dataclasses import dataclass as validated
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from flows.settings_file import FILE_VARIABLE, PREFIX, settings_file
from transforms.bounds import Limits
from transforms.fleet.toml_file import read_toml
from transforms.log_rules import LogRules
from transforms.problems import MaillagError
from transforms.thresholds import Thresholds
from transforms.zone import Zone

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from transforms.engine import Engine
    from transforms.run import Job


@validated(config=ConfigDict(extra="forbid"), frozen=True)
class ThresholdSettings(Thresholds):
    """The thresholds of the rules, with their types checked."""


@validated(config=ConfigDict(extra="forbid"), frozen=True)
class LogRuleSettings(LogRules):
    """The regular expressions for undocumented log formats, with their types checked."""


@validated(config=ConfigDict(extra="forbid"), frozen=True)
class LimitSettings(Limits):
    """How much a compressed file may hold, with the types checked."""


class Settings(BaseSettings):
    """What a user can set for all runs; see docs/settings.md. Unknown keys are refused."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    archive: Path | None = None
    """The folder of archived logs, for the flows; the command line takes it as an argument."""
    lake: Path = Path("data/lake")
    """The folder for events, marts and catalog."""
    fleet_file: Path | None = None
    """The fleet file, if it is not fleet.toml in the archive."""
    ledger_url: str | None = None
    """The ledger's database as an SQLAlchemy URL, if it is not SQLite in the lake."""
    engine: Literal["local", "dask"] = "local"
    """Where hosts are read and their marts made: local, on this machine, or dask; see docs/scaling.md."""
    workers: PositiveInt | None = None
    """How many processes of this machine work at a time with the engine local; default: one for each core."""
    dask_address: str | None = None
    """The address of the scheduler, such as tcp://192.0.2.1:8786, with the engine dask."""
    report: bool = True
    """Whether each run also writes the page, report.html in the lake."""
    report_url: str | None = None
    """Where report.html can be opened in a browser, if a web server offers it: for links in Prefect."""
    lake_mode: Literal["0600", "0640", "0644"] = "0640"
    """Who may read the lake: its owner (0600), also its group (0640), or all users of the machine (0644)."""
    default_time_zone: str = "UTC"
    """The zone assumed for a host if neither the fleet file, its logs nor the other hosts give one."""
    lang: Literal["en", "ja"] | None = None
    """The language of what the commands print, en or ja, if it is not that of the locale."""
    log_rules: LogRuleSettings = LogRuleSettings()
    """What to look for in log formats that Trend Micro does not document; see docs/logs.md."""
    imss_ini_keys: dict[str, str] = {}
    """Which "[section] key" of imss.ini holds which setting of a host; Trend Micro documents none."""
    thresholds: ThresholdSettings = ThresholdSettings()
    """The numbers in the rules; see transforms/thresholds.py."""
    limits: LimitSettings = LimitSettings()
    """How much a compressed, tar or zip file may hold; what exceeds this is not read."""

    @field_validator("default_time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        if not Zone(name, "default").is_known():
            raise ValueError("is not a time zone; write an IANA name such as Asia/Tokyo")
        return name

    @field_validator("log_rules")
    @classmethod
    def _sound_patterns(cls, rules: LogRuleSettings) -> LogRuleSettings:
        if rules == LogRuleSettings():
            return rules
        # Importing polars, which compiles them, takes 0.2 s.
        from transforms.parse.trend import why_unsound

        if error := why_unsound(rules):
            raise ValueError(error)
        return rules

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Look in the environment first, then in the file."""
        return (
            init_settings,
            env_settings,
            InitSettingsSource(
                settings_cls, read_toml(path) if os.path.lexists(path := settings_file()) else {}
            ),
        )

    def job(
        self,
        archive: Path | None = None,
        *,
        lake: Path | None = None,
        fleet_file: Path | None = None,
        hosts: tuple[str, ...] = (),
        is_deep: bool = False,
    ) -> "Job":
        """Return the job of one run; arguments take precedence over settings."""
        # This import takes 0.3 s, which callers that only need the lake's folder do not wait for.
        from transforms.run import Job

        chosen = archive or self.archive
        if chosen is None:
            raise MaillagError(
                "archive: is not set. Give it as an argument, in maillag.toml or as MAILLAG_ARCHIVE."
            )
        return Job(
            archive=chosen,
            lake=lake or self.lake,
            fleet_file=fleet_file or self.fleet_file,
            ledger_url=self.ledger_url,
            lake_mode=int(self.lake_mode, 8),
            hosts=hosts,
            is_deep=is_deep,
            default_time_zone=self.default_time_zone,
            log_rules=LogRules(**asdict(self.log_rules)),
            imss_ini_keys=self.imss_ini_keys,
            thresholds=self.thresholds,
            limits=Limits(**asdict(self.limits)),
        )

    def open_engine(self, engine: str | None = None) -> "AbstractContextManager[Engine]":
        """Return the engine of these settings, or another. Raises MaillagError if it cannot be used."""
        # As above.
        from transforms.engine import open_engine

        return open_engine(engine or self.engine, dask_address=self.dask_address, worker_count=self.workers)


def load_settings() -> Settings:
    """Read the settings. Raises MaillagError for unknown keys (with a suggestion) and wrong values."""
    path = settings_file()
    if FILE_VARIABLE in os.environ and not path.is_file():
        raise MaillagError(f"{path}: no such file. Correct {FILE_VARIABLE}.")
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields} | {FILE_VARIABLE}
    for variable in os.environ:
        if variable.startswith(PREFIX) and variable.split("__")[0].upper() not in known:
            raise MaillagError(f"{variable}: is not a setting.{_suggestion(variable, known)}")
    try:
        return Settings()
    except (SettingsError, RecursionError) as error:
        raise MaillagError(f"environment: {error}. Correct that variable, which must hold JSON.") from None
    except ValidationError as error:
        raise MaillagError(f"{path} or environment: {_explain(error)}") from None


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
        known = {
            *Settings.model_fields,
            *(f"thresholds.{name}" for name in Thresholds.__dataclass_fields__),
            *(f"limits.{name}" for name in Limits.__dataclass_fields__),
        }
        return f"{key} is not a setting.{_suggestion(key, known)}"
    # The URL of a database may hold a password.
    setting = key if key.split(".")[0] == "ledger_url" else f"{key} = {first['input']!r}"
    return f"{setting} is wrong: {first['msg']}."


def _suggestion(key: str, known: set[str]) -> str:
    near = difflib.get_close_matches(key, sorted(known), 1)
    return f" Did you mean {near[0]}?" if near else f" Known: {', '.join(sorted(known))}."
