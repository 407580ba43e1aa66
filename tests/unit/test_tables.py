"""Lines of TOML keys: found where a reader would find them, for every way of writing one."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falak.errors import OperatorError
from falak.tables import FILE_MAX_BYTES, Table, WrittenWrong, lines_of, parse_table, path_text, read_table

TEXT = '''# a comment with [a table] = in it
name = "x"
text = """
fake = 1
[fake]
"""
raw = \'\'\'
[[fake]] # "
\'\'\'
inline = { a = 1, b = { c = 2 } }
list = [
  1, # one ]
  { in_list = 3 },
]
dotted.key.deep = 1
"quoted key" = 2
'single . quoted' = 3

[table] # [not this]
key = "#not a comment"

[ table . sub ]
key = 1
[[things]]
a = 1
[[things]]
  a = 2
[things.part]
b = 1
[["things".more]]
c = 1
[table2]
tail = 1'''


@pytest.mark.parametrize(
    "path, line",
    [
        (("name",), 2),
        (("text",), 3),
        (("raw",), 7),
        (("inline",), 10),
        (("list",), 11),
        (("dotted",), 15),
        (("dotted", "key"), 15),
        (("dotted", "key", "deep"), 15),
        (("quoted key",), 16),
        (("single . quoted",), 17),
        (("table",), 19),
        (("table", "key"), 20),
        (("table", "sub"), 22),
        (("table", "sub", "key"), 23),
        (("things",), 24),
        (("things", 0), 24),
        (("things", 0, "a"), 25),
        (("things", 1), 26),
        (("things", 1, "a"), 27),
        (("things", 1, "part"), 28),
        (("things", 1, "part", "b"), 29),
        (("things", 1, "more", 0, "c"), 31),
        (("table2", "tail"), 33),
    ],
)
def test_every_key_has_its_line(path, line):
    assert lines_of(TEXT)[path] == line


def test_nothing_is_found_in_strings_and_comments():
    paths = lines_of(TEXT)
    assert not [path for path in paths if any("fake" in str(part) or "not" in str(part) for part in path)]
    assert {path[0] for path in paths} == set(tomllib.loads(TEXT))


def test_inside_inline_tables_the_line_is_the_keys():
    table = parse_table(TEXT.encode(), "file")
    assert table.table("inline").line("b", "c") == 10
    assert table.line("nowhere") == 0


SAFE = st.text(alphabet="abc_-123", min_size=1, max_size=6)
VALUES = st.one_of(
    st.integers(), st.booleans(), st.text(max_size=20), st.lists(st.text(max_size=8), max_size=3)
)


def written(value: object) -> str:
    if isinstance(value, str):
        escaped = "".join(char if char.isalnum() else f"\\U{ord(char):08x}" for char in value)
        return f'"{escaped}"'
    if isinstance(value, list):
        return "[\n" + ",\n".join(written(item) for item in value) + "\n]"
    return str(value).lower()


@given(st.dictionaries(SAFE, st.dictionaries(SAFE, VALUES, max_size=4), max_size=4))
def test_lines_point_at_their_key(tables):
    text = "\n".join(
        [
            line
            for name, table in tables.items()
            for line in [f"[{name}]", *(f"{key} = {written(value)}" for key, value in table.items())]
        ]
    )
    found, lines = lines_of(text), text.split("\n")
    for name, table in tables.items():
        assert lines[found[(name,)] - 1] == f"[{name}]"
        for key in table:
            assert lines[found[(name, key)] - 1].startswith(f"{key} = ")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_an_error_with_a_line(data):
    try:
        table = parse_table(data, "file")
    except WrittenWrong as error:
        assert error.exit == 2 and all(problem.line >= 1 for problem in error.problems)
    else:
        assert isinstance(table, Table)


@pytest.mark.parametrize(
    "data", [b"a = " + b"9" * 5000, b"a = " + b"[" * 5000, b"\xff\xfe", b"a = 1\na = 2", b"a ="]
)
def test_what_tomllib_cannot_read_is_told(data):
    with pytest.raises(WrittenWrong) as caught:
        parse_table(data, "capsule.toml")
    assert str(caught.value).startswith("capsule.toml: 1 problem\n  capsule.toml:")


def test_a_syntax_error_has_its_line():
    with pytest.raises(WrittenWrong) as caught:
        parse_table(b"a = 1\nb = yes\n", "f.toml")
    assert caught.value.problems[0].line == 2


def test_files_that_are_not_there_or_too_large(tmp_path):
    with pytest.raises(OperatorError, match="cannot be read: No such file"):
        read_table(tmp_path / "none.toml")
    (tmp_path / "large.toml").write_bytes(b"#" * (FILE_MAX_BYTES + 1))
    with pytest.raises(OperatorError, match="larger than 256 KiB"):
        read_table(tmp_path / "large.toml")


def test_paths_count_from_one_for_people():
    assert path_text(("route", 1, "host")) == "route[2].host"
