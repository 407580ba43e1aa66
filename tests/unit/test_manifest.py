"""capsule.toml: what is right becomes a record, what is wrong is told, all of it at once, with its line."""

import re
from pathlib import Path

import pytest

from falak.core.model import Artifact, Limits, Resources, Route, Scale, Wishes
from falak.errors import OperatorError
from falak.manifest import ROUTES_MAX, Capsule, from_fields, load, size_text
from falak.tables import WrittenWrong

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "hello"
ARTIFACT = Artifact("ab" * 32, 6338, "application/wasm")

WHOLE = """
name = "shop"
version = "2.1"
orbit = "web"
kind = "function"
component = "shop.wasm"
outgoing = ["API.example:8080", "b.example"]

[env]
B = "2\\nlines"
A = "1"

[[route]]
host = "Shop.example"
[[route]]
host = "example.org"
prefix = "/shop/"

[limits]
memory = "64MiB"
cpu = "500ms"
wall = "1.5min"

[resources]
cpu = 0.25
memory = "1GB"

[gravity]
prefer = ["ssd", "zone=a"]
require = ["arch=x86_64"]
spread = true
near = "db"
away = "batch"
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "shop.wasm").write_bytes(b"\0asm")
    return tmp_path


def problems(folder: Path, text: str) -> dict[int, str]:
    """Line -> what is told of it (several: joined)."""
    (folder / "capsule.toml").write_text(text)
    with pytest.raises(WrittenWrong) as caught:
        load(folder)
    told: dict[int, str] = {}
    for problem in caught.value.problems:
        told[problem.line] = "; ".join(filter(None, [told.get(problem.line), problem.what, problem.hint]))
    return told


def test_everything_that_can_be_said(folder):
    (folder / "capsule.toml").write_text(WHOLE)
    capsule, component = load(folder)
    assert component == folder / "shop.wasm"
    assert capsule == Capsule(
        name="shop",
        version="2.1",
        orbit="web",
        env=(("A", "1"), ("B", "2\nlines")),
        routes=(Route("shop.example"), Route("example.org", "/shop")),
        limits=Limits(64 * 1024**2, 500, 90_000),
        resources=Resources(250, 1_000_000_000),
        wishes=Wishes(("ssd", "zone=a"), ("arch=x86_64",), True, "db", "batch"),
        outgoing=("api.example:8080", "b.example"),
    )
    assert load(folder / "capsule.toml") == (capsule, component)


def test_the_record_has_all_of_it(folder):
    (folder / "capsule.toml").write_text(WHOLE)
    capsule, _ = load(folder)
    record = capsule.to_record(ARTIFACT)
    assert (record.name, record.generation, record.version, record.orbit) == ("shop", 0, "2.1", "web")
    assert (record.kind, record.runtime, record.artifacts) == ("function", "wasm", (ARTIFACT,))
    for field in ("routes", "limits", "resources", "wishes", "env", "outgoing"):
        assert getattr(record, field) == getattr(capsule, field)


def test_the_least_that_can_be_said(folder):
    (folder / "capsule.toml").write_text('name = "shop"\ncomponent = "shop.wasm"\n')
    capsule, _ = load(folder)
    assert capsule == Capsule(name="shop")
    assert capsule.to_record(ARTIFACT).version == "ab" * 6, "without a label: the beginning of the digest"


def test_fields_go_over_the_wire_and_come_back(folder):
    (folder / "capsule.toml").write_text(WHOLE)
    capsule, _ = load(folder)
    assert from_fields(capsule.to_fields()) == capsule
    assert from_fields(Capsule(name="a").to_fields()) == Capsule(name="a")


def test_how_long_it_orbits(folder):
    lines = 'ttl = "30s"\nkeep = false\nnot_after = 2030-01-31T18:00:00+01:00\n'
    (folder / "capsule.toml").write_text('name = "shop"\ncomponent = "shop.wasm"\n' + lines)
    capsule, _ = load(folder)
    assert (capsule.ttl_s, capsule.keep, capsule.not_after_s) == (30, False, 1_896_109_200)
    record = capsule.to_record(ARTIFACT)
    assert (record.ttl_s, record.keep, record.not_after_s) == (30, False, 1_896_109_200)
    assert from_fields(capsule.to_fields()) == capsule


def test_the_example_is_right():
    capsule, component = load(EXAMPLE)
    assert capsule.name == "hello" and component.is_file()


BAD = """name = "My_Shop"
verion = "1"
component = "shop.wsm"
kind = "service"
orbit = 7
memory = "1GiB"
outgoing = ["*.example", "http://x/", "a:0", "a", "a", 3]
[env]
"A B" = "x"
C = 3
[[route]]
host = "other.localhost"
[[route]]
prefix = "/v1"
[[route]]
host = "x.example"
prefix = "v1"
colour = "red"
[[route]]
host = "x.example:80"
[[route]]
host = "y.example"
[[route]]
host = "Y.example."
prefix = "/"
[limits]
memory = "2GiB"
cpu = 3
wall = "-1s"
[resources]
cpu = "500m"
memory = -1
[gravity]
prefer = ["rack=7", "a", "a"]
require = ["zone=a", "zone=b"]
near = "x"
away = "x"
spread = "yes"
"""


@pytest.mark.parametrize(
    "line, words",
    [
        (1, "name cannot be 'My_Shop': small letters.* write 'my-shop'"),
        (2, "unknown key 'verion'.*did you mean 'version'"),
        (3, "component 'shop.wsm' is no file in .*did you mean 'shop.wasm'"),
        (4, "kind 'service' does not exist.*function"),
        (5, "orbit must be text, not a number"),
        (6, r"unknown key 'memory'.*\[limits\]"),
        (7, "wildcards are not.*without scheme.*no port from 1.*must be text.*names a twice"),
        (9, "env.A B is no name of a variable"),
        (10, "env.C must be text, not a number"),
        (12, "other.localhost belongs to the capsule 'other'"),
        (13, r"route\[2\] has no host"),
        (17, 'does not begin with /.*write "/v1"'),
        (18, r"unknown key 'colour' in route\[3\]; known: host, prefix"),
        (20, "x.example:80' has a port"),
        (24, r"route\[6\].host is the same route as route\[5\]"),
        (27, "limits.memory '2GiB' is out of range; from 64 KiB to 1 GiB"),
        (28, 'limits.cpu must be a time, not a number.*"3s"'),
        (29, "limits.wall '-1s' is no time"),
        (31, "resources.cpu must be a number of cores.*0.5"),
        (32, "resources.memory -1 is out of range"),
        (34, "gravity.prefer has 'rack=7'.*gravity.prefer names a twice"),
        (35, "gravity.require asks for zone=a and zone=b"),
        (37, "gravity.away is 'x', which it also wants to be near to"),
        (38, "gravity.spread must be true or false"),
    ],
)
def test_every_problem_is_told_at_its_line(folder, line, words):
    told = problems(folder, BAD)
    assert line in told, told
    assert re.search(words, told[line]), told[line]


def test_all_problems_come_at_once_in_order(folder):
    (folder / "capsule.toml").write_text(BAD)
    with pytest.raises(WrittenWrong) as caught:
        load(folder)
    lines = [problem.line for problem in caught.value.problems]
    assert lines == sorted(lines) and len(lines) == 29
    text = str(caught.value)
    assert text.startswith(f"{folder / 'capsule.toml'}: 29 problems\n")
    assert f"{folder / 'capsule.toml'}:27: limits.memory" in text
    assert caught.value.exit == 2


@pytest.mark.parametrize(
    "line, words",
    [
        ("", "name is missing"),
        ('name = "shop"\nname = "b"', "not TOML"),
        ('name = "shop"\nroute = "x"', r"write \[\[route\]\]"),
        ('name = "shop"\n[route]\nhost = "a.b"', r"write \[\[route\]\]"),
        ('name = "shop"\n[[route]]\nhost = "shop.localhost"', "every capsule has NAME.localhost"),
        ('name = "shop"\n[[route]]\nhost = "a.b"\nprefix = "/a/../b"', "is no path"),
        ('name = "shop"\n[[route]]\nhost = "a..b"', "is no host"),
        ('name = "shop"\n[[route]]\nhost = "a.b/c"', "without scheme and path"),
        ('name = "shop"\nenv = ["A=1"]', "must be a table, not a list"),
        ('name = "shop"\nlimits.memory = "0B"', "out of range"),
        ('name = "shop"\nlimits.memory = 1e3', "must be a size"),
        ('name = "shop"\nlimits.memory = true', "must be a size"),
        ('name = "shop"\nlimits.memory = "128M"', "is no size"),
        ('name = "shop"\nlimits.wall = "2h"', "out of range"),
        ('name = "shop"\nresources.cpu = nan', "finite"),
        ('name = "shop"\nresources.cpu = -0.5', "out of range"),
        ('name = "shop"\ngravity.near = "shop"', "names this capsule itself"),
        ('name = "shop"\ngravity.require = "ssd"', r"write \[ \] around it"),
        ('name = "shop"\nversion = ""', "label of 1 to 64"),
        ('name = "shop"\nenv.A = "a\\u0000b"', "NUL"),
        ('name = "shop"\nttl = 300', "must be a time"),
        ('name = "shop"\nttl = "9s"', "out of range"),
        ('name = "shop"\nttl = "169h"', "from 10s to 168h"),
        ('name = "shop"\nttl = "10500ms"', "no whole number of seconds"),
        ('name = "shop"\nkeep = "no"', "must be true or false"),
        ('name = "shop"\nnot_after = 2030-01-31', "with its offset"),
        ('name = "shop"\nnot_after = 2030-01-31T18:00:00', "with its offset"),
        ('name = "shop"\nnot_after = "tomorrow"', "is no moment"),
        ('name = "shop"\nnot_after = 1969-01-31T18:00:00Z', "before 1970"),
        ('name = "shop"\nname2 = 1979-05-27', "did you mean 'name'"),
        (f'name = "shop"\nroute = [{",".join(["{}"] * (ROUTES_MAX + 1))}]', f"{ROUTES_MAX} are the most"),
        (f'name = "{"a" * 64}"', "at most 63"),
        ('name = "-a"', "write 'a'"),
    ],
)
def test_what_cannot_be(folder, line, words):
    (folder / "capsule.toml").write_text('component = "shop.wasm"\n' + line)
    with pytest.raises(WrittenWrong) as caught:
        load(folder)
    assert re.search(words, str(caught.value)), str(caught.value)


def test_a_component_outside_of_its_folder_is_refused(folder):
    for written in (str(EXAMPLE / "hello.wasm"), "../shop.wasm", "a/../../shop.wasm"):
        (folder / "capsule.toml").write_text(f'name = "a"\ncomponent = "{written}"\n')
        with pytest.raises(WrittenWrong, match=f"2: component '{written}' is not in {folder}"):
            load(folder)


def test_a_component_that_is_missing_or_not_written(folder):
    (folder / "capsule.toml").write_text('name = "a"\n')
    with pytest.raises(WrittenWrong, match="component is missing"):
        load(folder)
    (folder / "capsule.toml").write_text(f'name = "a"\ncomponent = "{"x" * 5000}"\n')
    with pytest.raises(WrittenWrong, match="is no file"):
        load(folder)


def test_a_folder_without_a_manifest(tmp_path):
    with pytest.raises(OperatorError, match=r"has no capsule.toml") as caught:
        load(tmp_path)
    assert caught.value.exit == 2 and "write one" in caught.value.hint


def test_fields_of_a_stranger_are_checked_as_well():
    with pytest.raises(WrittenWrong, match="3 problems") as caught:
        from_fields({"nam": 1, "limits": {"memory": "9TiB"}}, "the request")
    assert str(caught.value).startswith("the request: ")


@pytest.mark.parametrize(
    "size_bytes, text", [(0, "0 B"), (1023, "1023 B"), (6338, "6.2 KiB"), (2**27, "128 MiB"), (2**40, "1 TiB")]
)
def test_sizes_for_people(size_bytes, text):
    assert size_text(size_bytes) == text


# --- rest and scale ------------------------------------------------------------------------------------------

SHOP = 'name = "shop"\ncomponent = "shop.wasm"\n'


@pytest.mark.parametrize(
    ("written", "idle_s"),
    [("", 60), ('idle = "1s"', 1), ('idle = "5min"', 300), ('idle = "24h"', 86_400), ('idle = "never"', 0)],
)
def test_idle(folder, written, idle_s):
    (folder / "capsule.toml").write_text(SHOP + written)
    capsule, _ = load(folder)
    assert capsule.to_record(ARTIFACT).idle_s == idle_s
    assert from_fields(capsule.to_fields()) == capsule


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ('idle = "0"', 'or "never"'),
        ('idle = "0s"', "from 1s to 24h"),
        ("idle = 0", 'or "never"'),
        ('idle = "25h"', "out of range"),
        ('idle = "1500ms"', "no whole number of seconds"),
    ],
)
def test_idle_that_is_none(folder, written, told):
    assert told in problems(folder, SHOP + written)[3]


@pytest.mark.parametrize(
    ("written", "scale"),
    [
        ("", Scale(0, 1, 0)),
        ("[scale]\nmin = 3", Scale(3, 3, 0)),
        ("[scale]\nmax = 4\nconcurrency = 10", Scale(0, 4, 10)),
        ("[scale]\nmin = 2\nmax = 64\nconcurrency = 1", Scale(2, 64, 1)),
        ("[scale]\nmin = 2\nmax = 2", Scale(2, 2, 0)),
    ],
)
def test_scale(folder, written, scale):
    (folder / "capsule.toml").write_text(SHOP + written)
    capsule, _ = load(folder)
    assert capsule.to_record(ARTIFACT).scale == scale
    assert from_fields(capsule.to_fields()) == capsule


@pytest.mark.parametrize(
    ("written", "line", "told"),
    [
        ("[scale]\nmin = 3\nmax = 2\nconcurrency = 5", 4, "raise max, or lower min"),
        ("[scale]\nmax = 3", 4, "nothing would ask for more than 1"),
        ("[scale]\nconcurrency = 3", 4, "raise max, or leave it out"),
        ("[scale]\nmin = 65", 4, "from 0 to 64"),
        ("[scale]\nmax = 0", 4, "from 1 to 64"),
        ("[scale]\nmax = true", 4, "whole number"),
        ("[scale]\nmax = 2\nconcurrency = 0.5", 5, "whole number"),
        ("[scale]\nmost = 2", 4, "most"),
        ("min = 2", 3, "write it in [scale]"),
    ],
)
def test_scale_that_makes_no_sense(folder, written, line, told):
    assert told in problems(folder, SHOP + written)[line]
