"""The charts and Vega to what draws them in the page: kept in the user's cache, because it takes seconds."""

import hashlib
import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flows.language import LANGUAGES, TEXT_FOLDER

# A change of any of these makes it again.
SOURCES = (
    Path(__file__),
    *(Path(__file__).parents[1] / name for name in ("charts.py", "chart_style.py", "language.py")),
    *(TEXT_FOLDER / f"{language}.yaml" for language in LANGUAGES),
)


def load_drawing() -> dict[str, Any]:
    """Return `script`, which defines vegaEmbed, and `specs`: by language, then by chart."""
    folder = _cache_folder()
    if folder is None:
        return _make_drawing()
    path = folder / f"{_digest()}.json"
    try:
        loaded: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        loaded = _make_drawing()
        _keep(path, loaded)
    return loaded


def _make_drawing() -> dict[str, Any]:
    # These imports take half a second, which a run with a filled cache does not wait for.
    import vl_convert

    from flows import charts

    made = {
        "waits": charts.waits_chart,
        "hours": charts.hours_chart,
        "changes": charts.changes_chart,
        "what_if": charts.what_if_chart,
        "marks": charts.timeline_chart,
    }
    return {
        "script": vl_convert.javascript_bundle(),  # type: ignore[call-arg]  # its stub lacks the default
        "specs": {
            language: {name: charts.page_spec(make([], language)) for name, make in made.items()}
            for language in LANGUAGES
        },
    }


def _keep(path: Path, drawing: dict[str, Any]) -> None:
    """Write it for later runs, and remove those of other versions; a full disk only costs time."""
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        aside.write_text(json.dumps(drawing), "utf-8")
        aside.replace(path)
        for other in path.parent.glob("*.json"):
            if other != path:
                other.unlink(missing_ok=True)
    except OSError:
        aside.unlink(missing_ok=True)


def _cache_folder() -> Path | None:
    """Return the user's own folder, beside that of compiled code; None for a user without a home."""
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = home / "maillag" / "page"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except (OSError, RuntimeError):
        return None
    return folder


def _digest() -> str:
    made_by = (version("vl-convert-python"), version("altair"))
    digest = hashlib.blake2b(repr(made_by).encode(), digest_size=8)
    for source in SOURCES:
        digest.update(source.read_bytes())
    return digest.hexdigest()
