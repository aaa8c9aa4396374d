"""Measures reading beside its peers, round by round in turn, and writes the tables of docs/performance.md."""

import argparse
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

from tests.bench.archives import Archives, make_archives
from tests.bench.document import DOCUMENT, replace_section
from tests.bench.measure import Cost, measure, size_bytes
from tests.bench.reading import STAGES
from tests.bench.results import Results, render

ROUNDS = 5
# Of what takes a minute or more.
SLOW_ROUNDS = 3
# The floor and the peer that are not Python packages.
DEBIAN_PACKAGES = ("isal", "pflogsumm")


@dataclass(frozen=True)
class Contender:
    """What is measured: a command, how often, and what it reads and writes."""

    name: str
    command: Sequence[str]
    rounds: int
    input_bytes: int
    output: Path | None = None


def main() -> None:
    """Generate the data, measure all contenders in turn, and print or write the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--short", action="store_true", help="a tenth of the data, fewer rounds, only printed: to try it out"
    )
    short = parser.parse_args().short
    with tempfile.TemporaryDirectory(prefix="maillag-bench-") as folder:
        _say("generating")
        archives = make_archives(Path(folder), scale=0.1 if short else 1)
        # What is compiled or cached by the first run is not measured.
        measure(_maillag("read", archives.archive("warm_up"), Path(folder, "warm_up.lake")))
        contenders = _contenders(
            archives, rounds=2 if short else ROUNDS, slow_rounds=1 if short else SLOW_ROUNDS
        )
        costs, output_bytes = _run(contenders)
    results = Results(
        line_count=archives.line_count,
        input_bytes={contender.name: contender.input_bytes for contender in contenders},
        output_bytes=output_bytes,
        costs=costs,
        debian_versions=_debian_versions(),
    )
    text = render(results)
    print(text)
    if not short:
        replace_section(DOCUMENT, "bench", text)


def _debian_versions() -> list[str]:
    command = ["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *DEBIAN_PACKAGES]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def _contenders(archives: Archives, *, rounds: int, slow_rounds: int) -> list[Contender]:
    """Return all that is measured, in the order of a round."""
    lake = archives.folder / "lake"
    parquet = archives.folder / "peer.parquet"
    gz, plain, ten_days = (archives.file(form) for form in ("gz", "plain", "ten_days"))

    def floor(name: str, file: Path, rounds: int) -> Contender:
        return Contender(name, _shell(f"igzip -dc '{file}' | wc -l"), rounds, file.stat().st_size)

    def maillag(name: str, form: str, rounds: int) -> Contender:
        archive = archives.archive(form)
        return Contender(name, _maillag("read", archive, lake), rounds, size_bytes(archive), lake)

    def peer(name: str, module: str, file: Path) -> Contender:
        command = [sys.executable, "-m", f"tests.bench.peers.{module}", str(file), str(parquet)]
        return Contender(name, command, slow_rounds, file.stat().st_size, parquet)

    return [
        floor("floor", gz, rounds),
        maillag("gz", "gz", rounds),
        maillag("plain", "plain", rounds),
        maillag("zst", "zst", rounds),
        maillag("small", "small", rounds),
        *(
            Contender(stage, _maillag(stage, archives.archive("gz"), lake), rounds, gz.stat().st_size)
            for stage in STAGES
        ),
        floor("floor_10x", ten_days, slow_rounds),
        maillag("gz_10x", "ten_days", slow_rounds),
        peer("duckdb_gz", "duckdb_only", gz),
        peer("duckdb_plain", "duckdb_only", plain),
        peer("python_re", "python_re", gz),
        Contender("pflogsumm", _shell(f"igzip -dc '{gz}' | pflogsumm"), slow_rounds, gz.stat().st_size),
    ]


def _run(contenders: Sequence[Contender]) -> tuple[dict[str, list[Cost]], dict[str, int]]:
    """Run all in turn, round by round; return what each run cost, and how much each contender wrote."""
    costs: dict[str, list[Cost]] = defaultdict(list)
    output_bytes = {}
    for number in range(max(contender.rounds for contender in contenders)):
        for contender in contenders:
            if number >= contender.rounds:
                continue
            cost = measure(contender.command)
            costs[contender.name].append(cost)
            if contender.output:
                output_bytes[contender.name] = size_bytes(contender.output)
                rmtree(contender.output) if contender.output.is_dir() else contender.output.unlink()
            _say(f"round {number + 1}: {contender.name:<14}{cost.wall_seconds:8.2f} s")
    return dict(costs), output_bytes


def _maillag(stage: str, archive: Path, lake: Path) -> list[str]:
    return [sys.executable, "-m", "tests.bench.reading", stage, str(archive), str(lake)]


def _shell(pipeline: str) -> list[str]:
    return ["bash", "-o", "pipefail", "-c", pipeline]


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    main()
