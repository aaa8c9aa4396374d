"""Every sentence that is made of a finding has Japanese, with what stands in its places."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path

import pytest

from flows.findings_in_words import PLACE, finding_in_words, in_japanese, templates
from flows.language import TEXT_FOLDER
from tests.conftest import Run
from transforms.yaml_file import read_yaml

PROJECT = Path(__file__).parents[1]
MODULES = sorted(path for folder in ("flows", "transforms") for path in (PROJECT / folder).rglob("*.py"))
TEXTS: dict[str, str] = read_yaml(TEXT_FOLDER / "findings.yaml")
# The arguments that hold sentences, by what is made of them.
SENTENCES = {
    "Problem": ((1, "what"), (2, "remedy")),
    "QuarantineRow": ((None, "what"), (None, "remedy")),
    "DamagedFileError": ((0, ""),),
    "OverLimitError": ((0, ""),),
}
# Stands where a sentence has a value.
VALUE = "0"
Functions = ast.FunctionDef | ast.AsyncFunctionDef


class Module:
    """A module's strings: what an expression may be, with VALUE for what only a run knows."""

    def __init__(self, path: Path) -> None:
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.functions = {node.name: node for node in ast.walk(self.tree) if isinstance(node, Functions)}

    def sentences(self) -> Iterator[str]:
        """Yield each sentence of a finding that is written here, once for each form that it may have."""
        for scope in [self.tree, *self.functions.values()]:
            for call in ast.walk(scope):
                if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
                    continue
                keywords = {keyword.arg: keyword.value for keyword in call.keywords}
                for position, name in SENTENCES.get(call.func.id, ()):
                    if name in keywords:
                        yield from self.forms(keywords[name], scope)
                    elif position is not None and position < len(call.args):
                        yield from self.forms(call.args[position], scope)

    def forms(self, node: ast.expr, scope: ast.AST) -> set[str]:
        """Return the texts that an expression may give."""
        match node:
            case ast.Constant(value=str(text)):
                return {text}
            case ast.JoinedStr(values=parts):
                return {"".join(some) for some in product(*(self.forms(part, scope) for part in parts))}
            case ast.FormattedValue(value=ast.Name() as name):
                return self.forms(name, self.tree)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return {a + b for a, b in product(self.forms(left, scope), self.forms(right, scope))}
            case ast.IfExp(body=body, orelse=orelse):
                return self.forms(body, scope) | self.forms(orelse, scope)
            case ast.Subscript(value=ast.Name() as table):
                return {form for value in self._values(table.id, self.tree) for form in self._entries(value)}
            case ast.Name(id=name):
                found = {form for value in self._values(name, scope) for form in self.forms(value, scope)}
                return found or {VALUE}
            case ast.Call(func=ast.Name(id=name)) if name in self.functions:
                returns = [item for item in ast.walk(self.functions[name]) if isinstance(item, ast.Return)]
                return {
                    form
                    for item in returns
                    if item.value
                    for form in self.forms(item.value, self.functions[name])
                }
        return {VALUE}

    def _entries(self, value: ast.expr) -> set[str]:
        if not isinstance(value, ast.Dict):
            return {VALUE}
        return {form for entry in value.values for form in self.forms(entry, self.tree)}

    @staticmethod
    def _values(name: str, scope: ast.AST) -> Iterator[ast.expr]:
        # A name of the module is assigned at its top, not somewhere within a function.
        nodes = scope.body if isinstance(scope, ast.Module) else ast.walk(scope)
        for node in nodes:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name) and target.id == name:
                        yield node.value


@cache
def written() -> list[str]:
    modules = [Module(path) for path in MODULES]
    return sorted({text for module in modules for text in module.sentences()} - {VALUE})


@cache
def constants() -> set[str]:
    return {
        node.value
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


@pytest.mark.house
@pytest.mark.parametrize("text", written())
def test_every_sentence_has_japanese(text: str) -> None:
    japanese = re.sub(r"`[^`]*`", "", in_japanese(text))
    assert not re.search(r"\b(is|was|the|it|of|and|not|To|Copy)\b", japanese), (
        f"flows/texts/findings.yaml: lacks {text!r}"
    )


def test_the_sentences_are_those_of_the_whole_program() -> None:
    assert len(written()) > 60
    assert "its marts could not be built0: 0" in written()


@pytest.mark.parametrize("english", TEXTS)
def test_every_template_is_a_sentence_of_the_program_with_the_same_places(english: str) -> None:
    longest = max(PLACE.split(english)[::2], key=len).removeprefix("; ")
    assert any(longest in text for text in (*constants(), *written()))
    assert set(PLACE.findall(english)) == set(PLACE.findall(TEXTS[english]))
    TEXTS[english].encode("euc_jp")


def test_no_template_hides_another_one() -> None:
    for pattern, japanese in templates():
        english = next(text for text, its in TEXTS.items() if its == japanese)
        filled = PLACE.sub(VALUE, english)
        assert pattern.fullmatch(filled)
        assert in_japanese(filled) == PLACE.sub(VALUE, japanese)


@pytest.mark.parametrize(
    ("what", "remedy", "japanese"),
    [
        (
            "the compressed data ends early; the 3 lines before that were read; cannot be read (gone)",
            "Copy the file again from its host; the next run then replaces these lines. Remove it.",
            "圧縮データが途中で終わっています。その前の 3 行は読み取りました。読み取れません (gone)。"
            "ホストからもう一度コピーしてください。次回の実行で、これらの行が置き換えられます。"
            "削除してください。",
        ),
        (
            "{0} is a new finding",
            "Remove it. Nobody knows this.",
            "{0} is a new finding。削除してください。Nobody knows this.",
        ),
    ],
)
def test_combined_sentences_are_told_apart_and_what_is_not_known_stays_english(
    what: str, remedy: str, japanese: str
) -> None:
    assert finding_in_words(what, remedy, "ja") == japanese
    assert finding_in_words(what, remedy, "en") == f"{what}. {remedy}"


@pytest.mark.slow
def test_findings_of_real_runs_come_in_japanese(rig_run: Run, troubles_run: Run) -> None:
    findings = [finding for run in (rig_run, troubles_run) for finding in run.findings]
    assert findings
    for finding in findings:
        text = finding_in_words(finding.what, finding.remedy, "ja")
        assert not re.search(r"\b(was|the|it)\b", re.sub(r"`[^`]*`|: .*", "", text)), text
