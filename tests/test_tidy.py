"""House rules that no linter knows; each failure names the file, the line and the rule."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from typing import Final

from source_tree import PACKAGE, ROOT, TESTS, Function, modules, tracked_files

FUNCTION_LINES_MAX: Final = 60
MODULE_LINES_MAX: Final = 350
CODEC_USERS: Final = {"sip.offer", "sip.digest"}
BANNED_MODULES: Final = re.compile(r"^(utils?|common|helpers?|misc|tools|.*(?<!alert)manager)$")
BANNED_CLASSES: Final = re.compile(r"Manager|Helper|Utils?$|^_*Base[A-Z]|[a-z]Base$")

# Written in halves, so that this file does not find itself.
MACHINE_PATHS: Final = re.compile(
    "|".join(["/" + "work/", "/" + "root/", "/" + r"home/\w", "/" + r"tmp/\w", "file:" + "///"])
)
REGISTRIES: Final = re.compile(
    "|".join(["py" + "pi.org", "python" + "hosted", "registry.npm" + "js", "deb.deb" + "ian.org"])
)
WALL_CLOCK_SLEEPS: Final = {"time.sleep"}
TEXT_SUFFIXES_NOT: Final = {".png", ".ico", ".db", ".pcapng", ".bin", ".dat"}


def test_functions_are_short() -> None:
    """No function of the package is longer than 60 lines, docstring included."""
    long = [
        f"{module.shown}:{function.lineno} {function.name}: {length} lines"
        for module in modules(PACKAGE)
        for function in module.functions()
        if (length := _length(function)) > FUNCTION_LINES_MAX
    ]
    assert long == []


def test_modules_are_short() -> None:
    """No module of the package is longer than 350 lines."""
    long = [
        f"{module.shown}: {length} lines"
        for module in modules(PACKAGE)
        if (length := module.text.count("\n")) > MODULE_LINES_MAX
    ]
    assert long == []


def test_names_say_what_things_are() -> None:
    """No utils, common, helpers or Manager: a thing lives where its noun lives."""
    vague = [
        module.shown
        for module in modules(PACKAGE)
        if any(BANNED_MODULES.match(part) for part in module.name.split("."))
    ]
    vague += [
        f"{module.shown}:{node.lineno} {node.name}"
        for module in modules(PACKAGE)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef) and BANNED_CLASSES.search(node.name)
    ]
    assert vague == []


def test_public_things_are_described() -> None:
    """Every module, public class and public function of the package has a docstring."""
    silent = [
        f"{module.shown}: module"
        for module in modules(PACKAGE)
        if not module.is_init and ast.get_docstring(module.tree) is None
    ]
    silent += [
        f"{module.shown}:{node.lineno} {node.name}"
        for module in modules(PACKAGE)
        for node in _public(module.tree)
        if ast.get_docstring(node) is None
    ]
    assert silent == []


def test_every_test_has_a_sentence() -> None:
    """Each test says in one sentence the behaviour that it holds."""
    mute = [
        f"{module.shown}:{function.lineno} {function.name}"
        for module in modules(TESTS)
        for function in module.functions()
        if function.name.startswith("test_") and not _is_sentence(ast.get_docstring(function))
    ]
    assert mute == []


def test_nothing_is_skipped() -> None:
    """A missing component fails and names its package; no test is skipped anywhere."""
    skipping = [
        f"{module.shown}:{node.lineno}"
        for module in modules(TESTS)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and node.attr in {"skip", "skipif", "importorskip"}
    ]
    assert skipping == []


MEASURING: Final = {"benchmark", "left_behind", "round_trips"}
"""Programs of the tree that run for as long as they say; none of them is a test."""


def test_unit_tests_do_not_sleep() -> None:
    """Outside the live tests and the programs that measure nothing waits for the wall clock."""
    sleeping = [
        f"{module.shown}:{node.lineno}"
        for module in modules(TESTS)
        if module.name.partition(".")[0] not in MEASURING | {"components", "live"}
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in WALL_CLOCK_SLEEPS
    ]
    assert sleeping == []


def test_codec_stays_behind_its_fence() -> None:
    """Only sip.offer and sip.digest import aiosipua, each behind our own guard."""
    outside = [
        f"{module.shown}:{line} {name}"
        for module in modules(PACKAGE)
        for line, name in module.imported()
        if name.partition(".")[0] == "aiosipua" and module.name not in CODEC_USERS
    ]
    assert outside == []


def test_files_name_no_machine() -> None:
    """No tracked file names a path of somebody's machine or the address of a package registry."""
    named = [
        f"{path.relative_to(ROOT)}:{number} {found.group()}"
        for path in tracked_files()
        if path.suffix not in TEXT_SUFFIXES_NOT
        for number, line in enumerate(_text(path.read_bytes()).splitlines(), 1)
        for found in [MACHINE_PATHS.search(line) or REGISTRIES.search(line)]
        if found
    ]
    assert named == []


def test_constraints_are_pins() -> None:
    """Each line of constraints.txt is name==version, sorted, and pins all that we depend on."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.!+-]+", line)] == []
    pinned = {_canonical(line.partition("==")[0]) for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {_canonical(re.split(r"[<>=!~; \[]", one, maxsplit=1)[0]) for one in wanted}
    assert names - pinned == set()


def test_lint_exceptions_have_reasons() -> None:
    """Each ignored lint rule carries its reason, in pyproject.toml and at each noqa."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    rules = re.findall(r'^    "[A-Z]+\d*",.*$', project, re.MULTILINE)
    assert [line for line in rules if " # " not in line] == []
    bare = [
        f"{module.shown}:{number} {line.strip()}"
        for module in modules(PACKAGE)
        for number, line in enumerate(module.text.splitlines(), 1)
        if "# noqa" in line and not re.search(r"# noqa: [A-Z0-9, ]+ - \w", line)
    ]
    assert bare == []


def _length(function: Function) -> int:
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


def _public(tree: ast.Module | ast.ClassDef) -> Iterator[Function | ast.ClassDef]:
    """Public classes and functions, and public classes' public methods; setters need no word."""
    for node in tree.body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            if not any(ast.unparse(one).endswith(".setter") for one in node.decorator_list):
                yield node
            if isinstance(node, ast.ClassDef):
                yield from _public(node)


def _is_sentence(text: str | None) -> bool:
    return text is not None and " " in text and text.split("\n", 1)[0].rstrip().endswith((".", "?"))


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", errors="replace")


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
