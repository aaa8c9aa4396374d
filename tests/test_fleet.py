"""fleet.toml to hosts and their settings, each with where it came from."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from transforms.fleet.fleet import Fleet, fleet_file_zone, host_of_line, read_fleet, with_found_hosts
from transforms.fleet.history import HISTORY_SCHEMA, host_history, latest_hosts
from transforms.fleet.host_settings import SETTING_NAMES
from transforms.problems import MaillagError
from transforms.zone import Zone

IMSVA = {
    "queue_run_delay_seconds": 900,
    "minimal_backoff_seconds": 900,
    "maximal_backoff_seconds": 3600,
    "maximal_queue_lifetime_seconds": 86400,
    "bounce_queue_lifetime_seconds": 0,
}
POSTFIX = {
    "queue_run_delay_seconds": 300,
    "minimal_backoff_seconds": 300,
    "maximal_backoff_seconds": 4000,
    "maximal_queue_lifetime_seconds": 432000,
    "bounce_queue_lifetime_seconds": 432000,
}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[hosts.gw]\nbuid = 1\n", "'buid' is not a known key. Did you mean build?"),
        ("[hosts.gw]\nqueue_run_delay = 1\n", "Did you mean queue_run_delay_seconds?"),
        ("[hosts.gw]\nzzz = 1\n", "'zzz' is not a known key. Known keys: product, version, build"),
        ("[default]\nbuild = 1\n", "'default' is not a known key. Did you mean defaults?"),
        ("[defaults]\npath = 'x'\n", "'path' is not a known key."),
        ("[hosts.gw]\nbuild = '1631'\n", "build = '1631' is not a whole number."),
        ("[hosts.gw]\nbuild = 1631.0\n", "build = 1631.0 is not a whole number."),
        ("[hosts.gw]\nbuild = true\n", "build = True is not a whole number."),
        ("[hosts.gw]\nproduct = 9\n", "product = 9 is not a string."),
        ("[hosts.gw]\nsender_filter = 1\n", "sender_filter = 1 is not true or false."),
        ("[hosts.gw]\nbuild = -1\n", "build = -1 is out of range."),
        (
            "[hosts.gw]\nminimal_backoff_seconds = -300\n",
            "minimal_backoff_seconds = -300 is out of range",
        ),
        ("[hosts.gw]\nproduct = 'IMSVA'\n", "product = 'IMSVA' is not one of imss, imsva."),
        ("[hosts.gw]\nmta = 'exim'\n", "mta = 'exim' is not one of postfix, sendmail."),
        ("[hosts.gw]\ntime_zone = 'Tokyo'\n", "time_zone = 'Tokyo' is not a time zone. Write an IANA name"),
        ("[hosts.gw]\ntime_zone = '../passwd'\n", "time_zone = '../passwd' is not a time zone."),
        ("[hosts.gw]\npath = '/var/log/*'\n", "path must be a glob inside the archive"),
        ("[hosts.gw]\npath = '../other/*'\n", "path must be a glob inside the archive"),
        ("[hosts.gw]\npath = 5\n", "path must be a glob inside the archive"),
        ("[hosts]\ngw = 5\n", '[hosts."gw"]: is not a table.'),
        ("hosts = 5\n", "hosts is not a table."),
        ("defaults = 5\n", "[defaults]: is not a table."),
        ("[[hosts.gw.changes]]\nbuild = 1\n", "a change has no date. Write from = 2026-03-01"),
        ("[[hosts.gw.changes]]\nfrom = '2026-03-01'\n", "a change has no date."),
        ("[[hosts.gw.changes]]\nfrom = 2026-03-01T00:00:00\n", "a change has no date."),
        ("[hosts.gw]\nchanges = [5]\n", "a change has no date."),
        ("[hosts.gw]\nchanges = 5\n", "changes"),
        (
            "[[hosts.gw.changes]]\nfrom = 2026-03-01\nbuid = 1\n",
            "change from 2026-03-01: 'buid' is no",
        ),
        (
            "[hosts.gw]\nbuild = 2147483648\n",
            "build = 2147483648 is out of range. Give a number from 0 to 2147483647.",
        ),
        ("[hosts.gw]\nscan_port = 0\n", "scan_port = 0 is out of range. Give a number from 1 to 65535."),
        ("[hosts.gw]\nscan_port = 65536\n", "scan_port = 65536 is out of range."),
        ("[hosts.gw]\nqueue_run_delay_seconds = 0\n", "queue_run_delay_seconds = 0 is out of range."),
        ("[hosts.gw]\nmaximal_backoff_seconds = 2147483647\n", "maximal_backoff_seconds = 2147483647 is out"),
        ("[[hosts.gw.changes]]\nfrom = 9999-12-31\n", "from = 9999-12-31 is out of range."),
        ("[[hosts.gw.changes]]\nfrom = 0001-01-01\n", "from = 0001-01-01 is out of range."),
        ("[hosts.gw]\nhost_form = 'line'\n", "Did you mean host_from?"),
        ("[hosts.gw]\nalias = ['mx']\n", "Did you mean aliases?"),
        ("[hosts.gw]\nchange = []\n", "Did you mean changes?"),
        ("[defaults]\nhost_from = 'line'\n", "'host_from' is not a known key."),
        ("[hosts.gw]\nhost_from = 'lines'\n", "host_from = 'lines' is not one of folder, line."),
        ("[hosts.gw]\nhost_from = 5\n", "host_from = 5 is not a string."),
        ("[hosts.gw]\naliases = 'mx'\n", "aliases = 'mx' is not a list of names. Write aliases = "),
        ("[hosts.gw]\naliases = ['mx', 5]\n", "aliases = ['mx', 5] is not a list of names."),
        ("[hosts.gw]\naliases = ['']\n", "aliases = [''] is not a list of names."),
        (
            "[hosts.gw1]\naliases = ['mx']\n[hosts.gw2]\naliases = ['MX']\n",
            "[hosts.\"gw2\"]: alias 'MX' is an alias of host 'gw1' too.",
        ),
        (
            "[hosts.gw1]\naliases = ['gw2']\n[hosts.gw2]\n",
            "[hosts.\"gw1\"]: alias 'gw2' is the name of host 'gw2' too.",
        ),
        ("[hosts.gw\n", "is not valid TOML"),
        ("[hosts.gw]\nbuild = 1\nbuild = 2\n", "is not valid TOML"),
    ],
)
def test_wrong_fleet_file_is_refused_with_place_and_remedy(text: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(MaillagError) as caught:
        fleet_of(tmp_path, text)
    assert problem in str(caught.value)
    assert str(tmp_path / "fleet.toml") in str(caught.value)


def test_bytes_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_bytes(b"[hosts.gw]\nversion = 'na\xf8ve'\n")
    with pytest.raises(MaillagError, match="is not valid TOML"):
        read_fleet(tmp_path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[hosts.gw]\nbuild = 1\n".encode("utf-16"), "it holds NULs, as UTF-16 does"),
        ("[hosts.gw]\nbuild = 1\n".encode("utf-16-be"), "it holds NULs, as UTF-16 does"),
        (b"[hosts.gw]\n\0build = 1\n", "it holds NULs, as UTF-16 does"),
        (b"x = " + b"[" * 100_000, "nested too deeply"),
        (b"x = " + b"{a=" * 100_000, "nested too deeply"),
        (b"[hosts.gw]\nbuild = " + b"1" * 5000, "is not valid TOML"),
        (b"[hosts.gw]\nversion = '\xff'\n", "fleet.toml:2: is not valid TOML (not UTF-8)"),
        (b'[hosts.""]\n', "has no name"),
        ('[hosts."gw\u3000a"]\n[hosts."gw%E3%80%80a"]\n'.encode(), "appears twice, in two spellings"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_content_that_is_no_fleet_file_is_one_clear_error(
    content: bytes, problem: str, tmp_path: Path
) -> None:
    (tmp_path / "fleet.toml").write_bytes(content)
    with pytest.raises(MaillagError) as caught:
        read_fleet(tmp_path)
    assert problem in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "fleet.toml"))


def test_a_byte_order_mark_means_nothing(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_bytes("[hosts.gw]\nbuild = 1\n".encode("utf-8-sig"))
    (host,) = read_fleet(tmp_path).hosts
    assert host.settings.build == 1


@pytest.mark.parametrize("spelling", ["gw\u3000a", "gw%E3%80%80a"])
def test_a_host_of_the_fleet_file_is_named_as_its_folder_or_as_shown(spelling: str, tmp_path: Path) -> None:
    (tmp_path / "gw\u3000a").mkdir()
    (tmp_path / "fleet.toml").write_text(f'[hosts."{spelling}"]\nbuild = 1\n')
    fleet = read_fleet(tmp_path)
    assert [(host.name, host.settings.build) for host in fleet.hosts] == [("gw%E3%80%80a", 1)]
    assert host_of_line(fleet)["gw\u3000a"] == "gw%E3%80%80a"


def test_given_fleet_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(MaillagError, match="no such file"):
        read_fleet(tmp_path, tmp_path / "other.toml")


def test_given_fleet_file_replaces_that_of_the_archive(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text("[hosts.gw]\nbuild = 1\n")
    (tmp_path / "other.toml").write_text("[hosts.gw]\nbuild = 2\n")
    (host,) = read_fleet(tmp_path, tmp_path / "other.toml").hosts
    assert host.settings.build == 2


def test_without_a_fleet_file_the_folders_are_the_hosts(tmp_path: Path) -> None:
    for name in ("gw2", "gw1", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "notes.txt").touch()
    fleet = read_fleet(tmp_path)
    assert [host.name for host in fleet.hosts] == ["gw1", "gw2"]
    assert fleet.problems == ()


def test_folder_without_an_entry_is_a_host_and_a_note(tmp_path: Path) -> None:
    for name in ("gw1", "gw2", "logs-of-gw3"):
        (tmp_path / name).mkdir()
    fleet = fleet_of(tmp_path, "[hosts.gw1]\n[hosts.gw3]\npath = 'logs-of-gw3/maillog*'\n")
    assert [host.name for host in fleet.hosts] == ["gw1", "gw2", "gw3"]
    (note,) = fleet.problems
    assert note.is_note
    assert note.where == "gw2/"
    assert "has no entry in fleet.toml" in note.what
    assert '[hosts."gw2"]' in note.remedy


def test_entry_without_a_folder_is_a_host(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, "[hosts.gw1]\nbuild = 1631\n")
    assert [host.name for host in fleet.hosts] == ["gw1"]
    assert fleet.problems == ()


def test_product_gives_the_defaults_and_says_so(tmp_path: Path) -> None:
    fleet = fleet_of(
        tmp_path,
        "[hosts]\nimsva = { product = 'imsva', build = 1631 }\n"
        "imss = { product = 'imss', build = 1335 }\nunknown = {}\n",
    )
    rows = {row["host"]: row for row in history(fleet)}
    for host, expected, source in (
        ("imsva", IMSVA, "product_default"),
        ("imss", POSTFIX, "product_default"),
        ("unknown", POSTFIX, "postfix_default"),
    ):
        assert {name: rows[host][name] for name in expected} == expected
        assert {rows[host][f"{name}_source"] for name in expected} == {source}
        assert rows[host]["scan_port"] == 10025
        assert rows[host]["mta"] == "postfix"
    assert rows["imsva"]["build_source"] == "fleet_file"
    assert rows["unknown"]["build"] is None
    assert rows["unknown"]["build_source"] is None


@pytest.mark.parametrize(("build", "seconds"), [(None, 0), (1977, 0), (1978, 86400), (2090, 86400)])
def test_imsva_keeps_bounces_for_a_day_from_build_1978(
    build: int | None, seconds: int, tmp_path: Path
) -> None:
    line = f"build = {build}\n" if build else ""
    fleet = fleet_of(tmp_path, f"[hosts.gw]\nproduct = 'imsva'\n{line}")
    (row,) = history(fleet)
    assert row["bounce_queue_lifetime_seconds"] == seconds
    assert row["maximal_queue_lifetime_seconds"] == 86400


def test_entry_goes_before_fleet_defaults_and_these_before_the_product(tmp_path: Path) -> None:
    fleet = fleet_of(
        tmp_path,
        "[defaults]\nproduct = 'imsva'\nminimal_backoff_seconds = 300\nscan_port = 10024\n"
        "[hosts.gw]\nscan_port = 10030\nbounce_queue_lifetime_seconds = 5\nsender_filter = false\n",
    )
    (row,) = history(fleet)
    for name, value, source in (
        ("scan_port", 10030, "fleet_file"),
        ("bounce_queue_lifetime_seconds", 5, "fleet_file"),
        ("sender_filter", False, "fleet_file"),
        ("product", "imsva", "fleet_defaults"),
        ("minimal_backoff_seconds", 300, "fleet_defaults"),
        ("queue_run_delay_seconds", 900, "product_default"),
    ):
        assert (row[name], row[f"{name}_source"]) == (value, source)


def test_zero_is_a_value_of_its_own(tmp_path: Path) -> None:
    fleet = fleet_of(
        tmp_path,
        "[defaults]\nproduct = 'imsva'\nbuild = 2090\n[hosts.gw]\nbounce_queue_lifetime_seconds = 0\n",
    )
    (row,) = history(fleet)
    assert row["bounce_queue_lifetime_seconds"] == 0
    assert row["bounce_queue_lifetime_seconds_source"] == "fleet_file"


def test_changes_end_one_span_and_begin_the_next_at_local_midnight(tmp_path: Path) -> None:
    fleet = fleet_of(
        tmp_path,
        "[hosts.gw]\nproduct = 'imsva'\nbuild = 1631\ntime_zone = 'Asia/Tokyo'\n"
        "[[hosts.gw.changes]]\nfrom = 2026-06-01\nbuild = 2090\n"
        "[[hosts.gw.changes]]\nfrom = 2026-03-01\nbuild = 1830\nminimal_backoff_seconds = 300\n",
    )
    in_march = datetime(2026, 2, 28, 15, tzinfo=UTC)
    in_june = datetime(2026, 5, 31, 15, tzinfo=UTC)
    spans = [
        (
            row["build"],
            row["minimal_backoff_seconds"],
            row["bounce_queue_lifetime_seconds"],
            row["valid_from"],
            row["valid_until"],
        )
        for row in history(fleet)
    ]
    assert spans == [
        (1631, 900, 0, None, in_march),
        (1830, 300, 0, in_march, in_june),
        (2090, 300, 86400, in_june, None),
    ]
    latest = latest_hosts(host_history(fleet, zones(fleet)))
    assert latest["build"].to_list() == [2090]
    assert not {"valid_from", "valid_until"} & set(latest.columns)


def test_every_setting_has_a_column_and_a_source(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, "[hosts.gw]\n")
    frame = host_history(fleet, zones(fleet))
    assert frame.schema == HISTORY_SCHEMA
    assert {name for setting in SETTING_NAMES for name in (setting, f"{setting}_source")} <= set(
        frame.columns
    )


def test_fleet_without_hosts_has_an_empty_history(tmp_path: Path) -> None:
    fleet = read_fleet(tmp_path)
    assert fleet == Fleet(())
    assert host_history(fleet, {}).is_empty()
    assert host_history(fleet, {}).schema == HISTORY_SCHEMA


COLLECTOR = "[hosts.logs]\nhost_from = 'line'\ntime_zone = 'Asia/Tokyo'\n"


def test_alias_that_is_a_folder_without_an_entry_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mx.example.com").mkdir()
    with pytest.raises(MaillagError, match=r"is the name of host 'mx\.example\.com' too"):
        fleet_of(tmp_path, "[hosts.gw]\naliases = ['mx.example.com']\n")


def test_host_may_repeat_its_own_names(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, "[hosts.gw]\naliases = ['GW', 'mx', 'mx']\n")
    assert fleet.hosts[0].aliases == ("GW", "mx", "mx")
    assert host_of_line(fleet) == {"gw": "gw", "mx": "gw"}


def test_line_names_a_host_by_name_alias_or_what_stands_before_the_first_dot(tmp_path: Path) -> None:
    fleet = fleet_of(
        tmp_path,
        COLLECTOR
        + "[hosts.GW1]\naliases = ['MX1.example.com', '192.0.2.7', '2001:db8::7']\n"
        + "[hosts.'gw2.example.com']\n",
    )
    assert host_of_line(fleet) == {
        "logs": "logs",
        "gw1": "GW1",
        "mx1.example.com": "GW1",
        "mx1": "GW1",
        "192.0.2.7": "GW1",
        "2001:db8::7": "GW1",
        "gw2.example.com": "gw2.example.com",
        "gw2": "gw2.example.com",
    }


def test_short_name_of_two_hosts_means_none_and_a_whole_name_goes_first(tmp_path: Path) -> None:
    fleet = fleet_of(
        tmp_path,
        "[hosts.'a.example.com']\n[hosts.'a.example.net']\n[hosts.'b.example.com']\n[hosts.b]\n"
        "[hosts.c]\n[hosts.C]\n",
    )
    assert host_of_line(fleet) == {
        "a.example.com": "a.example.com",
        "a.example.net": "a.example.net",
        "b.example.com": "b.example.com",
        "b": "b",
    }


def test_collector_is_no_gateway(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, f"{COLLECTOR}[hosts.gw]\nhost_from = 'folder'\n")
    assert [(host.name, host.is_collector) for host in fleet.hosts] == [("gw", False), ("logs", True)]
    assert [host.name for host in fleet.gateways] == ["gw"]
    assert [row["host"] for row in host_history(fleet, zones(fleet)).rows(named=True)] == ["gw"]


def test_found_host_has_the_zone_of_its_collector_and_the_defaults_of_the_fleet(tmp_path: Path) -> None:
    fleet = fleet_of(
        tmp_path,
        f"[defaults]\nproduct = 'imsva'\n{COLLECTOR}build = 1631\n[hosts.gw]\naliases = ['mx']\n",
    )
    found = with_found_hosts(fleet, dict.fromkeys(("new", "GW", "MX", "logs"), "logs"))
    assert [host.name for host in found.hosts] == ["gw", "logs", "new"]
    (row,) = (row for row in history(found) if row["host"] == "new")
    assert (row["time_zone"], row["time_zone_source"]) == ("Asia/Tokyo", "fleet_file")
    assert (row["product"], row["product_source"]) == ("imsva", "fleet_defaults")
    assert row["build"] is None
    (note,) = found.problems
    assert (note.where, note.is_note) == ("logs/", True)
    assert note.what.startswith("host new has no entry in fleet.toml")


def test_nothing_found_changes_nothing(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, COLLECTOR)
    assert with_found_hosts(fleet, {}) == fleet


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[hosts.gw]\ntime_zone = 'Asia/Tokyo'\n", Zone("Asia/Tokyo", "fleet_file")),
        ("[defaults]\ntime_zone = 'Asia/Tokyo'\n[hosts.gw]\n", Zone("Asia/Tokyo", "fleet_file")),
        ("[hosts.gw]\n", None),
    ],
)
def test_fleet_file_gives_a_zone_to_a_host_or_to_all(
    text: str, expected: Zone | None, tmp_path: Path
) -> None:
    (host,) = fleet_of(tmp_path, text).hosts
    assert fleet_file_zone(host) == expected


def test_zone_of_a_host_is_a_setting_with_a_source(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, "[hosts.gw]\n")
    (row,) = host_history(fleet, {"gw": Zone("GMT+09:00", "manager_log")}).rows(named=True)
    assert (row["time_zone"], row["time_zone_source"]) == ("GMT+09:00", "manager_log")


def fleet_of(archive: Path, text: str) -> Fleet:
    """Read a fleet from the text of its file."""
    (archive / "fleet.toml").write_text(text)
    return read_fleet(archive)


def zones(fleet: Fleet) -> dict[str, Zone]:
    """Return the zones of a fleet's hosts where no log tells any."""
    return {host.name: fleet_file_zone(host) or Zone("UTC", "default") for host in fleet.hosts}


def history(fleet: Fleet) -> list[dict[str, Any]]:
    """Return the rows of fleet.host_history."""
    return host_history(fleet, zones(fleet)).rows(named=True)
