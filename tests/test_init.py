"""`maillag init`: what it writes is what holds without it, and says where each value is from."""

import re
import shutil
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.init import TABLES, field_meanings, toml_value, write_settings
from flows.settings import Settings, load_settings
from tests.conftest import SAMPLE, published_rows, run_job
from transforms.contracts.contracts import Checker
from transforms.fleet.fleet import read_fleet
from transforms.fleet.host_settings import HostSettings
from transforms.names import host_name
from transforms.problems import MaillagError
from transforms.run import Job

HOSTILE = 'gw"1"\\\n\x1b[31m\u202e\x7f😀]'


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two hosts without a fleet file, of which one has inventory; the current folder is empty."""
    root = tmp_path / "archive"
    for host in ("imsva11", "imss12"):
        shutil.copytree(SAMPLE / host, root / host)
    (root / "imss12" / "S99IMSS-version-20261101.txt").write_text("Version 9.1-Build_Linux_1335\n")
    (root / "imss12" / "postconf-n-20261101.txt").write_text("minimal_backoff_time = 90s\n")
    (root / "imss12" / "postconf-n-20261124.txt").write_text("\nminimal_backoff_time = 2m\n")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return root


def in_force(path: Path) -> str:
    """Return a file's text with every key that has a value in force."""
    return re.sub(r"^#(\w+ = .)", r"\1", path.read_text(encoding="utf-8"), flags=re.MULTILINE)


@pytest.mark.house
def test_every_setting_has_a_meaning_below_it() -> None:
    groups: list[tuple[type, set[str]]] = [(Settings, {*Settings.model_fields})]
    groups += [(table, {field.name for field in fields(table)}) for table in TABLES.values()]
    for group, names in groups:
        silent = names - field_meanings(group).keys()
        file = f"{group.__module__.replace('.', '/')}.py"
        assert not silent, f"{file}: write a docstring below {', '.join(sorted(silent))}"


def test_what_is_written_holds_without_it(archive: Path) -> None:
    write_settings(archive, may_overwrite=False)
    here = Path.cwd()
    expected = Settings(archive=archive, lake=here / "data" / "lake", fleet_file=here / "fleet.toml")
    assert load_settings() == expected
    text = in_force(Path("maillag.toml"))
    keys: dict[str, Any] = tomllib.loads(text)
    without = {name for name, field in Settings.model_fields.items() if field.default is None}
    assert keys.keys() == Settings.model_fields.keys() - (without - {"archive", "fleet_file"})
    for name, table in TABLES.items():
        assert keys[name].keys() == {field.name for field in fields(table)}
    Path("maillag.toml").write_text(text, encoding="utf-8")
    assert load_settings() == expected


@pytest.mark.slow
def test_a_run_gives_the_same_rows_as_without_the_files(archive: Path, checker: Checker) -> None:
    schemas = ("events", "fleet", "marts")
    without = published_rows(run_job(Job(archive, Path("without")), checker).job.lake, *schemas)
    write_settings(archive, may_overwrite=False)
    with_files = published_rows(run_job(load_settings().job(archive), checker).job.lake, *schemas)
    assert len(without["marts.restarts"]) == 3
    assert with_files == without


def test_each_host_has_a_table_with_what_is_told_and_where(archive: Path) -> None:
    written = write_settings(archive, may_overwrite=False)
    lines = Path("fleet.toml").read_text(encoding="utf-8").splitlines()
    imss12 = lines[lines.index('[hosts."imss12"]') :]
    assert imss12[:8] == [
        '[hosts."imss12"]',
        "# product is not known (the folder's name speaks of imss, which is no proof): "
        'write "imss" or "imsva".',
        '#version = "9.1"  # imss12/S99IMSS-version-20261101.txt:1',
        "#build = 1335  # imss12/S99IMSS-version-20261101.txt:1",
        "# wrapper_md5 is not known; ask the host: md5sum /opt/trend/imss/script/postfix",
        '#time_zone = "GMT+09:00"  # its manager log',
        "# queue_run_delay_seconds is not in imss12/postconf-n-20261124.txt: Postfix's default holds.",
        "#minimal_backoff_seconds = 120  # imss12/postconf-n-20261124.txt:2",
    ]
    imsva11 = lines[lines.index('[hosts."imsva11"]') :]
    assert imsva11[1] == (
        "# product is not known (the folder's name speaks of imsva, which is no proof): "
        'write "imss" or "imsva".'
    )
    assert (
        "# minimal_backoff_seconds is not known; ask the host: "
        "postconf -c /opt/trend/imss/postfix/etc/postfix minimal_backoff_time"
    ) in imsva11
    assert written.to_ask == ["imsva11"]


def test_every_key_of_the_fleet_file_can_be_put_in_force(archive: Path) -> None:
    write_settings(archive, may_overwrite=False)
    file = Path("fleet.toml")
    file.write_text(in_force(file), encoding="utf-8")
    imss12, imsva11 = read_fleet(archive, file).hosts
    assert (imss12.settings.build, imss12.settings.minimal_backoff_seconds) == (1335, 120)
    # What nobody told is no key that could be put in force.
    assert imsva11.settings == HostSettings(time_zone="GMT+09:00")


def test_hosts_and_files_of_any_name_are_quoted(archive: Path) -> None:
    shutil.move(archive / "imss12", archive / HOSTILE)
    notes = archive / HOSTILE / "md5sum\n[hosts.x]-20261101.txt"
    notes.write_text("5e0eb2ceffbf474480ec2814e85d66ae  /opt/trend/imss/script/postfix\n")
    write_settings(archive, may_overwrite=False)
    fleet = tomllib.loads(Path("fleet.toml").read_text(encoding="utf-8"))
    shown = host_name(HOSTILE.encode())
    assert fleet == {"hosts": {shown: {}, "imsva11": {}}}
    assert [host.name for host in read_fleet(archive, Path("fleet.toml")).hosts] == [shown, "imsva11"]


@given(st.text() | st.integers() | st.booleans())
def test_values_are_quoted_as_toml(value: Any) -> None:
    assert tomllib.loads(f"key = {toml_value(value)}\n[hosts.{toml_value(str(value))}]\n") == {
        "key": value,
        "hosts": {str(value): {}},
    }


def test_a_path_that_is_not_utf8_is_refused(archive: Path) -> None:
    odd = archive.with_name("archive\udcff")
    archive.rename(odd)
    with pytest.raises(MaillagError, match="is not UTF-8, so that no TOML file can hold it"):
        write_settings(odd, may_overwrite=False)
    assert list(Path.cwd().iterdir()) == []


def test_a_host_whose_name_is_not_utf8_has_a_table(archive: Path) -> None:
    (archive / "gw\udcff").mkdir()
    write_settings(archive, may_overwrite=False)
    assert tomllib.loads(Path("fleet.toml").read_text(encoding="utf-8"))["hosts"]["gw%FF"] == {}


def test_settings_that_are_there_are_kept_unless_forced(archive: Path) -> None:
    Path("maillag.toml").write_text("lake = 'mine'\n")
    done = write_settings(archive, may_overwrite=False)
    assert Path("maillag.toml").read_text() == "lake = 'mine'\n"
    assert [file.name for file in done.written] == ["fleet.toml"]
    assert [file.name for file in done.kept] == ["maillag.toml"]
    assert not done.is_used, "these settings do not name the fleet file"
    Path("maillag.toml").write_text("fleet_file = 'fleet.toml'\n")
    assert write_settings(archive, may_overwrite=False).is_used
    assert write_settings(archive, may_overwrite=True).is_used
    assert load_settings().archive == archive


def test_settings_that_cannot_be_read_are_refused_and_nothing_is_written(archive: Path) -> None:
    Path("maillag.toml").write_text("mine")
    with pytest.raises(MaillagError, match=r"maillag\.toml: is not valid TOML"):
        write_settings(archive, may_overwrite=False)
    assert [file.name for file in Path.cwd().iterdir()] == ["maillag.toml"]


MINE = "# mine\n[hosts.imss12]  # this too\nminimal_backoff_seconds = 90"


@pytest.mark.parametrize("end", ["", "\n", "\n\n# the end\n"])
def test_hosts_that_a_fleet_file_lacks_are_added_and_its_edits_are_kept(end: str, archive: Path) -> None:
    mine = MINE + end
    Path("fleet.toml").write_text(mine)
    done = write_settings(archive, may_overwrite=False)
    text = Path("fleet.toml").read_text(encoding="utf-8")
    assert text.startswith(mine)
    assert tomllib.loads(text) == {"hosts": {"imss12": {"minimal_backoff_seconds": 90}, "imsva11": {}}}
    assert (done.added, done.to_ask) == (["imsva11"], ["imsva11"])
    assert [file.name for file in done.written] == ["maillag.toml"]
    assert load_settings().fleet_file == Path.cwd() / "fleet.toml"
    again = write_settings(archive, may_overwrite=False)
    assert (again.added, again.written) == ([], [])
    assert [file.name for file in again.kept] == ["fleet.toml", "maillag.toml"]
    assert Path("fleet.toml").read_text(encoding="utf-8") == text


def test_a_host_whose_files_a_fleet_file_places_elsewhere_is_not_added_again(archive: Path) -> None:
    mine = "[hosts.gw1]\npath = 'imss12/*'\n"
    Path("fleet.toml").write_text(mine)
    assert write_settings(archive, may_overwrite=False).added == ["imsva11"]


@pytest.mark.parametrize(
    ("mine", "reason"),
    [("mine", "is not valid TOML"), ("hosts = {imss12 = {}}", "to which no table can be added")],
)
def test_a_fleet_file_that_cannot_be_added_to_is_refused_and_nothing_is_written(
    mine: str, reason: str, archive: Path
) -> None:
    Path("fleet.toml").write_text(mine)
    with pytest.raises(MaillagError, match=rf"fleet\.toml: .*{reason}"):
        write_settings(archive, may_overwrite=False)
    assert [(file.name, file.read_text()) for file in Path.cwd().iterdir()] == [("fleet.toml", mine)]
    write_settings(archive, may_overwrite=True)
    assert [host.name for host in read_fleet(archive, Path("fleet.toml")).hosts] == ["imss12", "imsva11"]


def test_the_fleet_file_of_the_archive_stays_the_one_that_counts(archive: Path) -> None:
    (archive / "fleet.toml").write_text("[hosts.imss12]\nbuild = 1335\n")
    write_settings(archive, may_overwrite=False)
    assert [file.name for file in Path.cwd().iterdir()] == ["maillag.toml"]
    assert load_settings().fleet_file is None


@pytest.mark.parametrize("folder", [".", "imss12"])
def test_nothing_is_written_into_the_archive(
    folder: str, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(archive / folder)
    before = sorted(archive.rglob("*"))
    with pytest.raises(MaillagError, match="lies in the archive, which is only read"):
        write_settings(archive, may_overwrite=True)
    assert sorted(archive.rglob("*")) == before


def test_an_archive_without_hosts_is_refused(tmp_path: Path, archive: Path) -> None:
    with pytest.raises(MaillagError, match="is not a folder"):
        write_settings(archive / "none", may_overwrite=False)
    with pytest.raises(MaillagError, match="holds no folder"):
        write_settings(archive / "imss12", may_overwrite=False)
