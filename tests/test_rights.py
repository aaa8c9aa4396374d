"""Who may read the lake, and what no message tells: rights of files, secrets, addresses of mail."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.settings import load_settings
from flows.tables import for_logs, for_pages
from tests.conftest import SAMPLE, run_job
from transforms.contracts.contracts import Checker
from transforms.lake.opening import open_ledger
from transforms.problems import MaillagError
from transforms.run import Job, open_run

MAILLAG = Path(sys.executable).with_name("maillag")
SECRET = "s3cret"  # noqa: S105 - of nobody


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    assert os.umask(before) == request.param, "a run puts it back"


def rights(lake: Path) -> dict[str, set[int]]:
    """Return the rights that files and folders of a lake have."""
    found: dict[str, set[int]] = {"files": set(), "folders": set()}
    for path in (lake, *lake.rglob("*")):
        found["folders" if path.is_dir() else "files"].add(stat.S_IMODE(path.stat().st_mode))
    return found


@pytest.mark.slow
def test_a_lake_is_open_to_its_group_alone_whatever_the_umask(
    umask: int, tmp_path: Path, checker: Checker
) -> None:
    job = Job(SAMPLE, tmp_path / "lake", hosts=("imsva15",))
    run_job(job, checker)
    assert rights(job.lake) == {"files": {0o640}, "folders": {0o750}}


@pytest.mark.parametrize(("mode", "folder"), [(0o600, 0o700), (0o640, 0o750), (0o644, 0o755)])
def test_the_next_run_mends_the_rights_of_a_lake(mode: int, folder: int, tmp_path: Path) -> None:
    job = Job(tmp_path / "archive", tmp_path / "lake", lake_mode=mode)
    ledger = job.open_ledger()
    old = job.lake / "marts" / "restarts" / "host=gw1"
    old.mkdir(parents=True)
    for file in (old / "1.parquet", job.lake / "maillag.duckdb"):
        file.touch()
        file.chmod(0o666)
    (job.lake / "elsewhere").symlink_to(tmp_path)
    before = stat.S_IMODE(tmp_path.stat().st_mode)
    with open_run(job, ledger):
        (job.lake / "elsewhere").unlink()
        assert rights(job.lake) == {"files": {mode}, "folders": {folder}}
    ledger.close()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == before, "a link is not followed"


def test_who_may_read_the_lake_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings().job(tmp_path).lake_mode == 0o640
    monkeypatch.setenv("MAILLAG_LAKE_MODE", "0644")
    assert load_settings().job(tmp_path).lake_mode == 0o644
    monkeypatch.setenv("MAILLAG_LAKE_MODE", "0666")
    with pytest.raises(MaillagError, match="lake_mode = '0666' is wrong"):
        load_settings()


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://maillag:p@{SECRET}:{SECRET}@127.0.0.1:1/maillag",
        f"postgresql://maillag:p@{SECRET}@127.0.0.1:1/maillag",
        f"postgresql://maillag:p@h/{SECRET}@127.0.0.1:1/maillag",
        f"postgresql://maillag:{SECRET}@127.0.0.1:port/maillag",
        f"postgresql://maillag:{SECRET}@127.0.0.1:1/maillag",
        f"postgresql://maillag:{SECRET}:x@127.0.0.1:1/maillag",
        f"postgresql://maillag@127.0.0.1:1/maillag?password={SECRET}",
        f"oracle://maillag:{SECRET}@db/maillag",
        f"nothing://maillag:{SECRET}@db/maillag",
        SECRET,
    ],
)
def test_an_error_of_the_ledger_tells_no_password(url: str, tmp_path: Path) -> None:
    with pytest.raises(MaillagError) as error:
        open_ledger(tmp_path / "lake", url)
    assert SECRET not in str(error.value)
    assert "ledger_url" in str(error.value)
    assert SECRET not in repr(Job(tmp_path, tmp_path, ledger_url=url))


@pytest.mark.parametrize("value", [f"['postgresql://u:{SECRET}@h/x']", f"{{url = '{SECRET}'}}", "1"])
def test_an_error_of_the_settings_tells_no_password(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("maillag.toml").write_text(f"ledger_url = {value}\n")
    with pytest.raises(MaillagError, match="ledger_url is wrong: Input should be a valid string") as error:
        load_settings()
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("gw1/maillog:7: from=<a.b+c@example.com> is odd", "gw1/maillog:7: from=<(address)> is odd"),
        ("to=user@example.com, relay=x", "to=(address), relay=x"),
        ('"a b, c"@example.com and x@[192.0.2.1]', "(address) and (address)"),
        ("日本@例え.jp", "(address)"),
        ("gw1/maillog: breaks a rule", "gw1/maillog: breaks a rule"),
        ("\x1b[31m\u202e\u2066\x9b", r"\x1b[31m\u202e\u2066\x9b"),
    ],
)
def test_a_message_tells_no_address_and_steers_no_terminal(text: str, told: str) -> None:
    assert for_logs(text) == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)&gt;"),
        ("[here](https://example.com)", r"\[here\](https&#58;//example.com)"),
        ("**bold** `code` ~~gone~~ a|b", r"\*\*bold\*\* \`code\` \~\~gone\~\~ a\|b"),
        ("_x_ but not_noticed", r"\_x\_ but not_noticed"),
        ("# heading", r"\# heading"),
        ("<a@example.com>", "&lt;(address)&gt;"),
        ("imss12-20261124T031333Z", "imss12-20261124T031333Z"),
    ],
)
def test_an_artifact_is_text_and_neither_markdown_nor_html(text: str, told: str) -> None:
    assert for_pages(text) == told


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["euc_jp", "ascii", "latin-1", None])
def test_no_terminal_lacks_a_character_and_none_is_steered(
    encoding: str | None, tmp_path: Path, checker: Checker
) -> None:
    host = "gw\x1b[31m\u202e\u2066\x9b\uff5e検"
    text = '"\x1b[31m\x9b\u202e\u2067\x7f\uff5e検"@example.com'
    (tmp_path / "archive" / host).mkdir(parents=True)
    lines = [
        "postfix/qmgr[9]: 4F2: from=<SENDER>, size=1, nrcpt=1 (queue active)",
        "postfix/smtp[8]: 4F2: to=<SENDER>, relay=none, delay=1, delays=0/0/1/0, dsn=4.4.1, status=deferred "
        "(connect to 127.0.0.1[127.0.0.1]:10025: Connection refused)",
        "postfix/qmgr[9]: no SENDER pattern knows this",
    ]
    (tmp_path / "archive" / host / "maillog-20261124").write_text(
        "".join(
            f"Nov 24 10:0{minute}:00 gw1 {line.replace('SENDER', text)}\n"
            for minute, line in enumerate(lines)
        )
    )
    (tmp_path / "archive" / host / "\x1b[31m\x85.txt").write_text("no log\n")
    run_job(Job(tmp_path / "archive", tmp_path / "lake"), checker)
    settings = {"PYTHONIOENCODING": encoding} if encoding else {"LANG": "C", "LC_ALL": "C"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAILLAG_", "LC_"))}
    commands: list[list[str | Path]] = [
        ["run", tmp_path / "archive"],
        ["run", tmp_path / "archive", "--json"],
        ["status"],
        ["status", "--json", "--verify"],
        ["restarts"],
        ["restarts", "--json"],
        ["restarts", "--csv"],
        ["restarts", "--host", "nobody"],
        ["fleet", "--lang", "ja"],
        ["fleet", "--changes"],
        ["fleet", "--json"],
        ["trace", text],
        ["trace", "4F2"],
        ["trace", "4F2", "--csv"],
        ["explain", f"{host}-20261124T100100Z"],
        ["explain", f"{host}-20261124T100100Z", "--json"],
        ["query", "select host, sender from events.queue_activations"],
        ["query", "select host, sender from events.queue_activations", "--json"],
        ["query", "select host, sender from events.queue_activations", "--csv"],
        ["query", f"select nothing, '{text}'"],
        ["init", tmp_path / "archive", "--force"],
    ]
    for command in commands:
        where: list[str | Path] = [] if command[0] == "init" else ["--lake", tmp_path / "lake"]
        done = subprocess.run(
            [MAILLAG, *command, *where], cwd=tmp_path, env=kept | settings, capture_output=True, check=False
        )
        shown = (done.stdout + done.stderr).decode(encoding or "utf-8")
        assert "Traceback" not in shown, command
        assert shown, command
        assert [c for c in shown if not (c.isprintable() or c in "\n\t")] == [], command
