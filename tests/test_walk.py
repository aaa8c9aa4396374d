"""Whatever lies in an archive: no walk hangs, loops or leaves it, and what is not read is named."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from transforms.archive.files import Discovery, discover
from transforms.fleet.fleet import read_fleet
from transforms.problems import MaillagError, Problem

LOG = "Nov 24 10:00:00 gw postfix/qmgr[1]: 892A0205B6: removed\n"
OUT = "is a symbolic link that leads out of the archive, and was not followed"
# Root may read everything: another user lists the archive.
AS_NOBODY = """
import os, sys
from pathlib import Path
from transforms.archive.files import discover
from transforms.fleet.fleet import read_fleet
from transforms.problems import MaillagError
# Python loads it at its first use, from where the other user may not read.
"".encode("utf-8-sig")
os.setuid(65534)
archive = Path(sys.argv[1])
try:
    found = discover(archive, read_fleet(archive))
except MaillagError as error:
    sys.exit(str(error))
print(*(f"{problem.where}: {problem.what}" for problem in found.problems), sep="\\n")
print(*(source.path for source in found.sources), sep="\\n")
"""


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A host with a log."""
    archive = tmp_path / "archive"
    put(archive / "gw" / "maillog")
    return archive


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def put(path: Path, text: str = LOG) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def found_in(archive: Path) -> Discovery:
    return discover(archive, read_fleet(archive))


def paths(found: Discovery) -> list[str]:
    return [source.path for source in found.sources]


def told(problems: list[Problem]) -> dict[str, str]:
    return {problem.where: problem.what for problem in problems}


@pytest.mark.parametrize(
    "name", ["maillog.1", "main.cf", "bundle.zip", "logs.tar.gz", "imssmgr.20261124.0001"]
)
def test_a_fifo_is_named_and_not_opened(name: str, archive: Path) -> None:
    os.mkfifo(archive / "gw" / name)
    found = found_in(archive)
    assert paths(found) == ["gw/maillog"]
    assert told(found.problems) == {f"gw/{name}": "is a FIFO, not a regular file, so it was not opened"}


def test_sockets_and_devices_are_named(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(archive / "gw")
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind("maillog.1")
    expected = {"gw/maillog.1": "is a socket, not a regular file, so it was not opened"}
    if os.geteuid() == 0:
        os.mknod("maillog.2", 0o020600, os.makedev(1, 5))
        expected["gw/maillog.2"] = "is a device, not a regular file, so it was not opened"
    assert told(found_in(archive).problems) == expected


def test_what_is_no_file_and_bears_no_log_s_name_is_ignored(archive: Path) -> None:
    os.mkfifo(archive / "gw" / "pipe")
    os.mkfifo(archive / "maillog")
    found = found_in(archive)
    assert (found.ignored, found.problems) == (["gw/pipe", "maillog"], [])


def test_every_fifo_of_a_collector_is_named(archive: Path) -> None:
    os.mkfifo(archive / "gw" / "any name")
    put(archive / "fleet.toml", "[hosts.gw]\nhost_from = 'line'\n")
    assert list(told(found_in(archive).problems)) == ["gw/any name"]


def test_a_folder_called_like_a_log_is_a_folder(archive: Path) -> None:
    put(archive / "gw" / "maillog.d" / "maillog.1")
    put(archive / "gw" / "bundle.zip" / "maillog.2")
    (archive / "gw" / "maillog.3").mkdir()
    found = found_in(archive)
    assert paths(found) == ["gw/maillog", "gw/bundle.zip/maillog.2", "gw/maillog.d/maillog.1"]
    assert found.problems == []


def test_links_that_lead_out_are_named_and_not_followed(archive: Path, tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "maillog")
    (archive / "gw" / "maillog.1").symlink_to(tmp_path / "elsewhere" / "maillog")
    (archive / "gw" / "old").symlink_to(tmp_path / "elsewhere")
    (archive / "gw2").symlink_to("../elsewhere")
    found = found_in(archive)
    assert paths(found) == ["gw/maillog"]
    assert told(found.problems) == {
        "gw/maillog.1": OUT,
        "gw/old": OUT,
        "gw2": OUT,
        "gw2/": "holds no maillog and no log of the product",
    }


def test_a_glob_s_way_through_a_link_does_not_lead_out_either(archive: Path, tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "logs" / "maillog")
    (archive / "site").symlink_to(tmp_path / "elsewhere")
    for glob in ("si*/logs/*", "site/logs/maillog", "site/**/maillog"):
        put(archive / "fleet.toml", f"[hosts.gw]\npath = '{glob}'\n")
        found = found_in(archive)
        assert paths(found) == []
        assert told(found.problems)["site"] == OUT


def test_a_link_to_what_has_no_other_name_is_followed(archive: Path) -> None:
    put(archive / ".store" / "2026" / "maillog.1")
    put(archive / "gw" / "current", LOG)
    (archive / "gw" / "old").symlink_to("../.store/2026")
    (archive / "gw" / "maillog.2").symlink_to("current")
    (archive / "gw2").symlink_to(".store/2026")
    found = found_in(archive)
    assert paths(found) == ["gw/maillog", "gw/maillog.2", "gw/old/maillog.1", "gw2/maillog.1"]
    assert found.problems == []


def test_a_file_with_two_names_is_read_under_one(archive: Path) -> None:
    (archive / "gw" / "maillog.1").symlink_to("maillog")
    put(archive / "gw2" / "imssmgr.20261124.0001")
    (archive / "gw2" / "maillog").symlink_to("../gw/maillog")
    (archive / "alias").symlink_to("gw")
    (archive / "all").symlink_to(".")
    found = found_in(archive)
    assert paths(found) == ["gw/maillog", "gw2/imssmgr.20261124.0001"]
    read = "is a symbolic link to gw/maillog, which is read under that name"
    assert told(found.problems) == {"gw/maillog.1": read, "gw2/maillog": read}
    assert all(problem.is_note for problem in found.problems)
    assert found.ignored == ["alias", "all"]


def test_hosts_that_are_not_asked_for_keep_their_files(archive: Path) -> None:
    (archive / "gw2").mkdir()
    (archive / "gw2" / "maillog").symlink_to("../gw/maillog")
    assert paths(discover(archive, read_fleet(archive), only={"gw2"})) == []


def test_inventory_of_one_host_may_stand_for_another_s(archive: Path) -> None:
    put(archive / "gw" / "main.cf", "queue_run_delay = 300s\n")
    put(archive / "gw2" / "maillog")
    (archive / "gw2" / "main.cf").symlink_to("../gw/main.cf")
    found = found_in(archive)
    assert paths(found) == ["gw/maillog", "gw/main.cf", "gw2/maillog", "gw2/main.cf"]
    assert found.problems == []


def test_loops_of_links_end(archive: Path) -> None:
    put(archive / ".store" / "maillog.1")
    (archive / ".store" / "again").symlink_to(".")
    (archive / "gw" / "up").symlink_to("..")
    (archive / "gw" / "here").symlink_to(".")
    (archive / "gw" / "itself").symlink_to("itself")
    (archive / "gw" / "store").symlink_to("../.store")
    found = found_in(archive)
    assert paths(found) == ["gw/maillog", "gw/store/maillog.1"]
    (critical,) = (problem for problem in found.problems if not problem.is_note)
    assert (critical.where, critical.what) == (
        "gw/itself",
        "cannot be read (Too many levels of symbolic links)",
    )


def test_a_host_whose_link_leads_nowhere_is_named(archive: Path) -> None:
    (archive / "mounted").symlink_to("/nowhere/mounted")
    (archive / "moved").symlink_to("store/moved")
    (archive / "gw" / "maillog.1").symlink_to("maillog.2")
    found = told(found_in(archive).problems)
    assert found["mounted"] == OUT
    assert found["moved"] == found["gw/maillog.1"] == "cannot be read (No such file or directory)"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
@pytest.mark.usefixtures("open_umask")
@pytest.mark.parametrize("path", [None, "**/maillog*"])
def test_folders_and_files_that_may_not_be_read_are_named(path: str | None, archive: Path) -> None:
    put(archive / "gw" / "old" / "maillog.2").parent.chmod(0)
    put(archive / "gw" / "maillog.1").chmod(0)
    put(archive / "sound" / "maillog")
    if path:
        put(archive / "fleet.toml", f"[hosts.gw]\npath = 'gw/{path}'\n[hosts.sound]\n")
    printed = as_nobody(archive).stdout.split()
    denied = ["cannot", "be", "read", "(Permission", "denied)"]
    assert sorted(printed) == sorted(
        ["gw/maillog", "sound/maillog", "gw/maillog.1:", *denied, "gw/old/:", *denied]
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
@pytest.mark.usefixtures("open_umask")
def test_an_archive_or_fleet_file_that_may_not_be_read_is_an_error(archive: Path) -> None:
    put(archive / "fleet.toml", "").chmod(0)
    assert "fleet.toml: cannot be read (Permission denied)" in as_nobody(archive).stderr
    archive.chmod(0o311)
    (archive / "fleet.toml").unlink()
    assert f"{archive}: cannot be read (Permission denied)" in as_nobody(archive).stderr


def as_nobody(archive: Path) -> "subprocess.CompletedProcess[str]":
    for folder in archive.parents:
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    command = [sys.executable, "-c", AS_NOBODY, str(archive)]
    return subprocess.run(command, text=True, capture_output=True, check=False)


def test_deep_folders_are_walked(archive: Path) -> None:
    deep = archive / "gw"
    for _ in range(1500):
        deep /= "d"
        deep.mkdir()
    (deep / "maillog.1").write_text(LOG)
    assert len(paths(found_in(archive))) == 2
    put(archive / "fleet.toml", "[hosts.x]\npath = 'gw/**/maillog.1'\n")
    assert len(paths(discover(archive, read_fleet(archive), only={"x"}))) == 1
    # It is too deep for shutil.rmtree.
    subprocess.run(["rm", "-r", archive / "gw"], check=True)


@pytest.mark.parametrize(
    "name", ["..", ".", "../elsewhere", "/etc", "a/b", "x\0y", "*", "gw\n", "%2E%2E", "-rf", "gw%"]
)
def test_a_host_of_the_fleet_file_may_be_called_anything_and_leads_nowhere(name: str, archive: Path) -> None:
    put(archive.parent / "elsewhere" / "maillog")
    text = "".join(f"\\u{ord(character):04X}" for character in name)
    put(archive / "fleet.toml", f'[hosts."{text}"]\n[hosts.gw]\n')
    assert paths(found_in(archive)) == ["gw/maillog"]


@pytest.mark.parametrize("glob", ["", ".", "..", "gw/../..", "/etc", "a\\u0000b"])
def test_a_path_outside_of_the_archive_is_refused(glob: str, archive: Path) -> None:
    put(archive / "fleet.toml", f'[hosts.gw]\npath = "{glob}"\n')
    with pytest.raises(MaillagError, match="path must be a glob inside the archive"):
        read_fleet(archive)


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("gw/maillog", ["gw/maillog"]),
        ("gw", ["gw/maillog", "gw/a/b/maillog.1"]),
        ("g?/*", ["gw/a/b/maillog.1", "gw/maillog"]),
        ("**/maillog.1", ["gw/a/b/maillog.1"]),
        ("**/b", ["gw/a/b/maillog.1"]),
        ("gw/**", ["gw/maillog", "gw/a/b/maillog.1"]),
        ("gw/a**/**/**/mail*", ["gw/a/b/maillog.1"]),
        ("gw/[m]aillog", ["gw/maillog"]),
        ("nowhere/**", []),
    ],
)
def test_what_a_glob_matches(glob: str, expected: list[str], archive: Path) -> None:
    put(archive / "gw" / "a" / "b" / "maillog.1")
    put(archive / "fleet.toml", f"[hosts.x]\npath = '{glob}'\n")
    of_host = discover(archive, read_fleet(archive), only={"x"})
    assert paths(of_host) == expected


@pytest.mark.parametrize("kind", ["fifo", "folder", "link"])
def test_a_fleet_file_that_is_none_is_an_error(kind: str, archive: Path, tmp_path: Path) -> None:
    path = archive / "fleet.toml"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(put(tmp_path / "elsewhere.toml", ""))
    with pytest.raises(
        MaillagError, match=r"fleet\.toml: (cannot be read \(not a regular|is a symbolic link)"
    ):
        read_fleet(archive)


def test_names_of_any_bytes_are_shown_as_text(archive: Path) -> None:
    for name in (b"mail \xe9\xff", "受信".encode("shift_jis"), b"a!b.zip", b"\x1b[31m"):
        folder = os.fsencode(archive) + b"/gw/" + name
        os.mkdir(folder)  # noqa: PTH102 - a name of bytes
        Path(os.fsdecode(folder), "maillog.1").write_text(LOG)
    found = found_in(archive)
    assert sorted(paths(found)) == [
        "gw/%1B[31m/maillog.1",
        "gw/%8E%F3%90M/maillog.1",
        "gw/a%21b.zip/maillog.1",
        "gw/mail %E9%FF/maillog.1",
        "gw/maillog",
    ]
