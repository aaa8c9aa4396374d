"""Names of any bytes: no two share a text, it can be pasted back, and every host has a folder of the lake."""

import os
import shlex
from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.lake.catalog import host_folder, host_of_file
from transforms.names import AS_SHOWN, given_host, host_name, raw_name, shown_name, shown_path

EXAMPLES = {
    b"imsva91": "imsva91",
    b"mx1.example.com": "mx1.example.com",
    "受信1".encode(): "受信1",
    "受信".encode("shift_jis"): "%8E%F3%90M",
    "受信".encode("euc_jp"): "%BC%F5%BF%AE",
    "Zürich".encode("latin-1"): "Z%FCrich",
    "gw\u3000a".encode(): "gw%E3%80%80a",
    b"-rf": "%2Drf",
    b"=cmd": "%3Dcmd",
    b"gw-1": "gw-1",
    b"50%off": "50%off",
    b"x%41": "x%2541",
    b"a b\t$(reboot);'\"\\": "a%20b%09%24%28reboot%29%3B%27%22%5C",
    b"gw\x1b[31m": "gw%1B%5B31m",
    "\u202egw".encode(): "%E2%80%AEgw",
}
# What a folder's name can be.
NAMES = st.binary(min_size=1, max_size=255).map(lambda raw: raw.replace(b"\0", b"0").replace(b"/", b"_"))
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=80).map(str.encode)
ESCAPES = st.text(st.sampled_from("%25aAfF0 é"), min_size=1, max_size=12).map(str.encode)
RAW = NAMES | TEXTS | ESCAPES


@pytest.mark.parametrize(("raw", "shown"), EXAMPLES.items(), ids=EXAMPLES.values())
def test_name_of_a_host_is_shown_so(raw: bytes, shown: str) -> None:
    assert host_name(raw) == shown
    assert given_host(shown) == shown
    if b"%41" not in raw:
        assert given_host(os.fsdecode(raw)) == shown


@given(RAW)
def test_text_tells_the_name_and_no_other(raw: bytes) -> None:
    for shown in (shown_name(raw), host_name(raw)):
        assert raw_name(shown) == raw
        assert shown.isprintable()
    assert raw_name(shown_path(raw)) == raw
    assert "!" not in shown_path(raw)


@given(RAW)
def test_name_of_a_host_is_one_word_that_can_be_pasted_back(raw: bytes) -> None:
    shown = host_name(raw)
    assert shlex.split(shown) == [shown]
    assert not shown.startswith(("-", "=", "+", "@", "~"))
    assert given_host(shown) == shown


@given(RAW)
def test_terminal_that_lacks_a_character_shows_what_can_be_pasted_back(raw: bytes) -> None:
    shown = host_name(raw)
    for encoding in ("ascii", "latin-1", "euc_jp"):
        printed = shown.encode(encoding, AS_SHOWN).decode(encoding)
        # EUC-JP has the byte of a backslash for a yen sign, and that of a tilde for an overline.
        if not (encoding == "euc_jp" and {"\u00a5", "\u203e"} & set(shown)):
            assert given_host(printed) == shown


@given(RAW.map(host_name) | st.sampled_from(["受" * 28, "受" * 85, "a" * 250, "a" * 251, "é" * 400]))
def test_every_host_has_a_folder_of_the_lake(host: str) -> None:
    for file in (
        f"events/clients/{host_folder(host)}/date=2026-11-24/r.parquet",
        f"a/b/{host_folder(host)}/r",
    ):
        assert host_of_file(file) == host
        assert host_of_file(PurePath("/host=other/lake", file)) == host
        assert all(len(part.encode()) <= 255 for part in file.split("/"))


def test_tables_that_are_not_kept_by_host_are_of_no_host() -> None:
    assert host_of_file("fleet/hosts/r.parquet") is None
    assert host_of_file("marts/message_trace/date=2026-11-24/r.parquet") is None
