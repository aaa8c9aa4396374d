"""An archive to a commented maillag.toml and fleet.toml in the current folder, as a start."""

import ast
import inspect
import textwrap
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import cast

from flows.settings import Settings, load_settings
from flows.settings_file import DEFAULT_FILE
from flows.tables import plain
from transforms.bounds import Limits
from transforms.fleet.fleet import FLEET_FILE
from transforms.fleet.host_settings import PRODUCTS, SETTING_NAMES
from transforms.fleet.inventory_settings import IMSVA_POSTFIX, POSTFIX_TIMES
from transforms.fleet.toml_file import read_toml
from transforms.ingest.host_facts import FoundFleet, HostFacts, find_fleet
from transforms.log_rules import LogRules
from transforms.names import given_host
from transforms.problems import MaillagError, Problem
from transforms.thresholds import Thresholds

# Classes whose fields are the keys of a table.
TABLES: dict[str, type[LogRules | Thresholds | Limits]] = {
    "log_rules": LogRules,
    "thresholds": Thresholds,
    "limits": Limits,
}
SETTINGS_HEAD = """\
# Settings of maillag for runs in this folder. MAILLAG_* variables take precedence.
# A key behind a # shows its default: remove the # to change it.
"""
FLEET_HEAD = """\
# The hosts of the archive, as `maillag init` found them; docs/settings.md lists all keys.
#
# A key behind a # is not in force. Where a file of the archive is named beside it, maillag reads the value
# from that file, or from a newer one; without the #, the key takes precedence over all files.
# Unknown settings weaken the verdicts, minimal_backoff_seconds and queue_run_delay_seconds most of all.
# Run the command that is shown on the host and write its answer here, or save the output of `postconf -n` as
# postconf-n.txt in the folder of the host.
"""
# Commands that show, on a host, the settings that the archive lacks.
QUESTIONS = {
    "version": "/opt/trend/imss/script/S99IMSS version",
    "build": "/opt/trend/imss/script/S99IMSS version",
    "wrapper_md5": "md5sum /opt/trend/imss/script/postfix",
    "time_zone": "timedatectl",
} | {setting: f"postconf {parameter}" for parameter, (setting, _) in POSTFIX_TIMES.items()}


@dataclass(frozen=True)
class Written:
    """What was done with the files in the current folder, and what is known of the hosts.

    `added` are the hosts that a fleet file of before has got; `to_ask` are hosts, of these or of all, whose
    minimal_backoff_seconds is unknown. The fleet file `is_used` unless settings that were kept name another
    one, or none.
    """

    fleet_file: Path
    is_used: bool
    written: list[Path]
    kept: list[Path]
    hosts: list[str]
    added: list[str]
    to_ask: list[str]
    problems: list[Problem]


def write_settings(archive: Path, *, may_overwrite: bool) -> Written:
    """Write both files into the current folder; where the archive has a fleet.toml, only maillag.toml.

    A file that is there already is kept (unless `may_overwrite`); hosts that a fleet.toml of before lacks are
    added at its end. Raises MaillagError, and writes nothing, if a file that is kept cannot be read or added
    to, or if the current folder lies in the archive, which is never written to.
    """
    archive, folder = archive.resolve(), Path.cwd().resolve()
    if folder.is_relative_to(archive):
        raise MaillagError(f"{folder}: lies in the archive, which is only read. Run this in another folder.")
    fleet_file, settings_file = folder / FLEET_FILE, folder / DEFAULT_FILE
    is_of_archive = (archive / FLEET_FILE).exists()
    is_there = fleet_file.exists() and not may_overwrite and not is_of_archive
    fleet = find_fleet(archive, fleet_file if is_there else None)
    chosen = {"archive": archive, "lake": folder / Settings.model_fields["lake"].default}
    new, texts, added = fleet.hosts, {}, []
    if is_of_archive:
        new = []
    elif is_there:
        chosen["fleet_file"] = fleet_file
        new = _lacking(fleet_file, fleet)
        added = [facts.host for facts in new]
        if new:
            texts[fleet_file] = _added(fleet_file, new)
    else:
        chosen["fleet_file"] = fleet_file
        texts[fleet_file] = fleet_text(fleet.hosts)
    is_used = True
    if may_overwrite or not settings_file.exists():
        texts[settings_file] = settings_text(chosen)
    elif not is_of_archive:
        used = load_settings().fleet_file
        is_used = used is not None and used.resolve() == fleet_file
    for file, text in texts.items():
        _write(file, text, "a" if added and file == fleet_file else "w" if may_overwrite else "x")
    return Written(
        fleet_file=fleet_file,
        is_used=is_used,
        written=[file for file in texts if not (file == fleet_file and is_there)],
        kept=[file for file in (fleet_file, settings_file) if file.exists() and file not in texts],
        hosts=[facts.host for facts in fleet.hosts],
        added=added,
        to_ask=[
            facts.host
            for facts in new
            if facts.settings.minimal_backoff_seconds is None and facts.silent.minimal_backoff_seconds is None
        ],
        problems=fleet.problems,
    )


def _lacking(fleet_file: Path, fleet: FoundFleet) -> list[HostFacts]:
    """Return the hosts of the archive for which a fleet file has no table."""
    tables = {given_host(name) for name in read_toml(fleet_file).get("hosts", {})}
    return [facts for facts in fleet.hosts if facts.host not in tables]


def _added(fleet_file: Path, new: Iterable[HostFacts]) -> str:
    """Return what to add to a fleet file for more hosts."""
    text = fleet_file.read_text(encoding="utf-8-sig")
    added = ("" if text.endswith("\n") else "\n") + f"\n{host_tables(new)}"
    try:
        tomllib.loads(text + added)
    except tomllib.TOMLDecodeError:
        raise MaillagError(
            f"{fleet_file}: writes its hosts in a form to which no table can be added. Write each host as a "
            '[hosts."NAME"] table.'
        ) from None
    return added


def _write(file: Path, text: str, mode: str) -> None:
    try:
        with file.open(mode, encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:
        raise MaillagError(
            f"{file}: cannot be written ({error.strerror}). Run this where you may write."
        ) from None


def settings_text(chosen: Mapping[str, object]) -> str:
    """Return a maillag.toml of all settings: chosen values, and behind a # the defaults of the others."""
    meanings = field_meanings(Settings)
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    tables = {name: value for name, value in defaults.items() if name in TABLES or isinstance(value, dict)}
    parts = [SETTINGS_HEAD]
    for name, default in defaults.items():
        if name not in tables:
            parts.append(_entry(name, chosen.get(name, default), meanings[name], is_set=name in chosen))
    for name, table in tables.items():
        parts.append(f"{_comment(meanings[name])}[{name}]\n")
        if name in TABLES:
            of_keys = field_meanings(TABLES[name])
            parts += [_entry(key, getattr(table, key), meaning) for key, meaning in of_keys.items()]
    return "\n".join(parts)


def fleet_text(hosts: Iterable[HostFacts]) -> str:
    """Return a fleet.toml with a table for each host, whose keys are all behind a #."""
    return f"{FLEET_HEAD}\n{host_tables(hosts)}"


def host_tables(hosts: Iterable[HostFacts]) -> str:
    """Return a table for each host, whose keys are all behind a #."""
    return "\n".join("\n".join([*_host_lines(facts), ""]) for facts in hosts)


def field_meanings(settings: type) -> dict[str, str]:
    """Return the docstring below each field of a class."""
    defined = cast(ast.ClassDef, ast.parse(textwrap.dedent(inspect.getsource(settings))).body[0])
    return {
        field.target.id: inspect.cleandoc(below.value.value)
        for field, below in pairwise(defined.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and isinstance(below.value.value, str)
    }


def toml_value(value: object) -> str:
    """Return a value as TOML.

    Raises MaillagError for text that is not UTF-8, as the name of a folder may be.
    """
    if isinstance(value, int):
        return str(value).lower()
    text = str(value)
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise MaillagError(f"{text}: is not UTF-8, so that no TOML file can hold it. Rename it.")
    if "'" not in text and text.isprintable() and ("\\" in text or '"' in text):
        return f"'{text}'"
    return '"' + "".join(map(_toml_character, text)) + '"'


def _toml_character(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else f"\\U{ord(character):08X}"


def _entry(name: str, value: object, meaning: str, *, is_set: bool = False) -> str:
    shown = "" if value is None else toml_value(value)
    return f"{_comment(meaning)}{'' if is_set else '#'}{name} = {shown}".rstrip() + "\n"


def _comment(text: str) -> str:
    return textwrap.indent(text, "# ") + "\n"


def _host_lines(facts: HostFacts) -> Iterator[str]:
    yield f"[hosts.{toml_value(facts.host)}]"
    hinted, by = facts.product_hint or (None, "")
    is_imsva = (facts.settings.product or hinted) == "imsva"
    for name in SETTING_NAMES:
        value, question = getattr(facts.settings, name), QUESTIONS.get(name)
        default = getattr(facts.silent, name)
        if question and is_imsva:
            question = question.replace("postconf", f"postconf -c {IMSVA_POSTFIX}etc/postfix")
        if value is not None:
            yield f"#{name} = {toml_value(value)}  # {plain(facts.places[name])}"
        elif name == "product":
            hint = f" ({plain(by)} speaks of {hinted}, which is no proof)" if hinted else ""
            yield f"# {name} is not known{hint}: write {' or '.join(map(toml_value, PRODUCTS))}."
        elif default is not None:
            yield f"# {name} is not in {plain(facts.places[name])}: Postfix's default holds."
        elif question:
            yield f"# {name} is not known; ask the host: {question}"
