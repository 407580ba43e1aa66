"""How the command line takes words apart: values, what is wrong with a word, help, and what each verb loads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from falak.cli.main import GROUPS, VERBS, main, parser_of
from falak.errors import USAGE, OperatorError

ROOT = Path(__file__).resolve().parents[2]
SLOW = {  # what a command need not pay for before it knows its verb; argparse needs re and typing is the house's
    *"asyncio cyclopts dataclasses difflib falak.client falak.config falak.daemon inspect json logging".split(),
    *"msgspec rich shutil socket ssl subprocess tempfile textwrap threading tomllib urllib.parse uvloop".split(),
}
DAEMON = {"falak.config", "falak.core", "falak.daemon", "falak.client", "falak.seam", "asyncio", "msgspec"}


def read(words: str) -> object:
    verb, *others = words.split(" ")
    return parser_of(verb).read(others)


# --- values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words, expected",
    [
        ("call a", {"capsule": "a", "path": "/", "method": None, "header": [], "body": None}),
        ("call a -X GET /p", {"path": "/p", "method": "GET"}),
        ("call -X GET a /p", {"capsule": "a", "path": "/p"}),
        ("call -H A:1 a --header B:2", {"header": ["A:1", "B:2"]}),
        ("call a --body=-x", {"body": "-x"}),
        ("call a -dx", {"body": "x"}),
        ("call a -- -p", {"capsule": "a", "path": "-p"}),
        ("call -- -a --help", {"capsule": "-a", "path": "--help"}),
        ("call -d x -- -a", {"capsule": "-a", "body": "x"}),
        ("launch x --no-call", {"what": "x", "call": False}),
        ("launch --call x", {"call": True}),
        ("launch x", {"call": True, "name": None, "data": None}),
        ("ps", {"output": "table", "wait": 1.0}),
        ("ps -o json --wait=0.5 --data /d", {"output": "json", "wait": 0.5, "data": Path("/d")}),
        ("ps --json", {"output": "json"}),
        ("events -f --after 3 --local", {"follow": True, "after": 3, "local": True, "capsule": ""}),
        ("up --orbit a --orbit b --tag x", {"orbit": ["a", "b"], "tag": ["x"], "join": None, "name": None}),
        ("up --ready-file r", {"ready_file": Path("r")}),
        ("demo --nodes 3 --keep", {"nodes": 3, "keep": True}),
        ("why -v a", {"capsule": "a", "verbose": True}),
    ],
)
def test_values(words, expected):
    values = read(words)
    assert isinstance(values, dict)
    assert {key: values[key] for key in expected} == expected


def test_repeatable_flags_do_not_remember():
    assert read("call a -H A:1") != read("call a")
    assert read("call a") == read("call a")


# --- what is wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words, said",
    [
        ("ps --bogus", "Unknown option: --bogus."),
        ("ps --outpu json", 'Unknown option: --outpu. Did you mean "--output"?'),
        ("ps --outpu=json", 'Unknown option: --outpu. Did you mean "--output"?'),
        ("up --ready_file x", 'Unknown option: --ready_file. Did you mean "--ready-file"?'),
        ("up --list x", 'Unknown option: --list. Did you mean "--listen"?'),
        ("up --joi x", 'Unknown option: --joi. Did you mean "--join"?'),
        ("why --bogus", "Unknown option: --bogus."),
        ("ps -o xml", 'Invalid value for --output: "xml" is not one of: table, json.'),
        ("ps --wait x", 'Invalid value for --wait: "x" is no number of seconds.'),
        ("ps --wait nan", 'Invalid value for --wait: "nan" is no number of seconds.'),
        ("ps --wait -1", 'Invalid value for --wait: "-1" is no number of seconds.'),
        ("events --after 1.5", 'Invalid value for --after: "1.5" is no whole number.'),
        ("demo --nodes five", 'Invalid value for --nodes: "five" is no whole number.'),
        ("ps --json=5", "--json takes no value."),
        ("up --http", "--http requires an argument."),
        ("call a --body -x", "--body requires an argument."),
        ("why", "CAPSULE is missing: falak why CAPSULE"),
        ("call", "CAPSULE is missing: falak call CAPSULE [PATH]"),
        ("why a b", "Unused words: 'b'."),
        ("ps x y", "Unused words: 'x' 'y'."),
    ],
)
def test_what_is_wrong_is_said_with_a_way_on(words, said, capsys):
    with pytest.raises(OperatorError) as raised:
        read(words)
    verb = words.split()[0]
    assert (raised.value.what, raised.value.hint) == (said, f"see: falak {verb} --help")
    assert raised.value.exit == USAGE
    assert main(words.split(" ")) == USAGE
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", f"falak: {said}\n  see: falak {verb} --help\n")


@pytest.mark.parametrize(
    "word, said",
    [
        ("nodse", 'Unknown command "nodse". Did you mean "nodes"?'),
        ("blub", 'Unknown command "blub".'),
        ("PS", 'Unknown command "PS".'),
        ("", 'Unknown command "".'),
        ("--verison", 'Unknown option "--verison". Did you mean "--version"?'),
        ("--", 'Unknown option "--".'),
    ],
)
def test_a_word_that_is_no_verb(word, said, capsys):
    assert main([word]) == USAGE
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", f"falak: {said}\n  see: falak --help\n")


# --- help --------------------------------------------------------------------------------------------------


def test_the_groups_have_every_verb():
    assert [verb for verbs in GROUPS.values() for verb in verbs] == list(VERBS)


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_the_list_of_verbs(words, capsys):
    assert main(words) == 0
    told = capsys.readouterr()
    assert told.err == "" and told.out.startswith("Usage: falak VERB")
    for verb, (_, what) in VERBS.items():
        assert verb in told.out and what in told.out


def test_the_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip().count(".") == 2


@pytest.mark.parametrize("columns", [20, 40, 61, 300])
@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_fits_the_terminal(verb, columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main([*verb.split(), "--help"]) == 0
    told = capsys.readouterr()
    longest = max(map(len, told.out.splitlines()))
    assert told.err == "" and longest <= max(40, min(100, columns))


@pytest.mark.parametrize("verb", VERBS)
def test_help_names_every_flag_and_is_asked_for_anywhere(verb, capsys):
    assert main([verb, "--help"]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"Usage: falak {verb}")
    assert not [flag for flag in parser_of(verb).flags() if flag not in told]
    assert main([verb, "--bogus", "-h"]) == 0
    assert capsys.readouterr().out == told


# --- what is loaded ----------------------------------------------------------------------------------------


def loaded(code: str) -> set[str]:
    """Modules loaded once ``code`` ran. The names of what the interpreter's own start loads are left out."""
    whole = f"import sys; before = set(sys.modules)\n{code}\nprint('', *set(sys.modules) - before, sep='\\nmodule ')"
    run = subprocess.run(
        [sys.executable, "-c", whole], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert run.returncode == 0, run.stderr
    return {line.removeprefix("module ") for line in run.stdout.splitlines() if line.startswith("module ")}


def test_the_table_of_verbs_loads_nothing_slow():
    modules = loaded("import falak.cli.main")
    assert "falak.cli.parser" in modules and not modules & SLOW


def test_help_of_up_loads_no_daemon():
    modules = loaded("from falak.cli.main import main; main(['up', '--help'])")
    assert "falak.cli.up" in modules and not modules & DAEMON


def test_wrong_flags_of_up_load_no_daemon():
    modules = loaded("from falak.cli.main import main; assert main(['up', '--http', 'nowhere']) == 2")
    assert "falak.config" in modules and not modules & {"falak.daemon", "falak.client", "asyncio", "tomllib"}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_loads_its_own_module_only(verb):
    modules = loaded(f"from falak.cli.main import parser_of; parser_of({verb!r})")
    rooms = {where.partition(":")[0] for where, _ in VERBS.values()}
    assert modules & rooms == {VERBS[verb][0].partition(":")[0]}
    assert not modules & {"cyclopts", "rich", "asyncio", "falak.daemon", "falak.demo"}


def test_help_is_80_wide_where_nobody_looks():
    environ = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    run = subprocess.run(
        [sys.executable, "-m", "falak", "up", "--help"],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert 70 < max(map(len, run.stdout.splitlines())) <= 80
