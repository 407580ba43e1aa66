"""The benchmarks' own arithmetic and words: ratios, quantiles, verdicts, tables, and what wrk prints."""

import os
from pathlib import Path

import msgspec
import pytest

from bench import __main__ as command
from bench import load, report
from bench.causes import CAUSES, UNKNOWN
from bench.claims import CLAIMS, cold
from bench.figures import Row, Spread, Target, against, alone, pooled, quantile, spread
from bench.http import unchunked
from bench.machine import Machine, busy_s, processor
from bench.run import HELLO

RATIO = Target(key="a/ratio", what="a ratio", unit="µs", at_most=0.5, of="ratio")
FIGURE = Target(key="a/figure", what="a figure", unit="ms", at_most=5.0)
BESIDE = Target(key="a/beside", what="only beside", unit="ms")
MACHINE = Machine(
    date="2026-01-02",
    commit="abc1234",
    falak="0.1.0",
    python="3.11.7",
    system="Linux 6.1, x86_64",
    processor="A Processor",
    cores=2,
    memory_gib=8,
)
TARGETS = [target for claim in CLAIMS.values() for target in claim.targets]


def test_a_quantile_is_a_value_that_was_seen() -> None:
    values = [float(number) for number in range(1, 201)]
    assert quantile(values, 0.5) == 100
    assert quantile(values, 0.99) == 198
    assert quantile(values, 0) == 1
    assert quantile(values, 1) == 200
    assert quantile([7.0], 0.99) == 7


def test_a_tail_is_taken_over_all_rounds() -> None:
    quiet, noisy = [1.0] * 100, [1.0] * 50 + [9.0] * 50
    assert pooled([quiet, noisy], 0.5) == Spread(1, 1, 1)
    assert pooled([quiet, noisy], 0.99) == Spread(9, 1, 9)
    assert pooled([[1.0] * 9 + [9.0], *[[1.0] * 10] * 10], 0.99) == Spread(1, 1, 9)


def test_a_ratio_is_made_in_each_round() -> None:
    row = against(RATIO, [10, 40, 9], [20, 100, 30], "peer 1.0")
    assert row.ratio == Spread(0.4, 0.3, 0.5)  # the ratio of the two medians would be 0.33
    assert (row.falak.middle, row.beside, row.rounds) == (10, Spread(30, 20, 100), 3)
    with pytest.raises(ValueError):
        against(RATIO, [1, 2], [1], "peer 1.0")


@pytest.mark.parametrize(
    ("row", "met"),
    [
        (against(RATIO, [50], [100], "peer"), True),
        (against(RATIO, [51], [100], "peer"), False),
        (alone(RATIO, spread([0.1]), 1), False),  # judged by a ratio that was not measured
        (alone(FIGURE, spread([5.0, 1.0, 9.0]), 3), True),
        (alone(FIGURE, spread([5.1, 1.0, 9.0]), 3), False),
        (against(FIGURE, [6], [1000], "peer"), False),
        (against(BESIDE, [6], [1], "peer"), None),
    ],
)
def test_verdicts(row: Row, met: bool | None) -> None:
    assert row.met is met


@pytest.mark.parametrize(
    ("value", "text"),
    [(12345.6, "12346"), (99.96, "100.0"), (12.34, "12.3"), (1.234, "1.23"), (0.05, "0.050"), (-0.2, "-0.20")],
)
def test_numbers_for_people(value: float, text: str) -> None:
    assert report.number(value) == text


def test_the_terminal_tells_what_was_missed_and_why() -> None:
    rows = [
        against(RATIO, [40], [100], "peer 1.0"),
        alone(FIGURE, spread([6.0, 7.0, 8.0]), 3, "three trials"),
    ]
    text = report.terminal(rows, {"a/figure": "too slow a clock", "a/ratio": "never told: it is met"})
    assert "a ratio   40.0 µs (40.0 .. 40.0)  100 µs (100 .. 100): peer 1.0  0.40 (0.40 .. 0.40)" in text
    assert "≤ 0.5 x  met" in text and "≤ 5 ms   missed" in text
    assert text.endswith(
        "  a/figure: 3 rounds; three trials\n\nTargets missed:\n  a figure: too slow a clock\n"
    )
    assert UNKNOWN in report.terminal(rows, {})
    assert report.terminal(rows[:1], {}).endswith("Every target is met.\n")
    assert report.terminal(rows[:1], {}, ["cold"]).endswith("\n\nNot measured, see above: cold\n")


def test_other_work_on_the_machine_is_told() -> None:
    row = alone(FIGURE, spread([6.0]), 1, "one trial")
    assert report.told(row) == "1 rounds; one trial"
    assert report.told(msgspec.structs.replace(row, others=0.019)) == "1 rounds; one trial"
    disturbed = msgspec.structs.replace(row, others=0.25)
    assert report.told(disturbed) == "1 rounds; one trial; other work took 25% of the machine"
    assert busy_s("cpu  100 20 30 9999 888 4 5 6 0 0\ncpu0 1 2 3\n") == 165 / os.sysconf("SC_CLK_TCK")


def test_the_document_keeps_its_lessons() -> None:
    results = report.Results(machine=MACHINE, rows=[alone(FIGURE, spread([6.0]), 1, "one trial")])
    made = report.markdown(results, {"a/figure": "cause"})
    assert "| a figure | 6.00 ms (6.00 .. 6.00) | - | - | ≤ 5 ms | missed |" in made
    assert "- a figure: cause" in made and "- a figure: 1 rounds; one trial" in made
    first = report.rewritten("", made)
    assert first == f"{made}\n{report.LESSONS}\n"
    assert report.rewritten(first + "\nlearnt\n", "other\n") == f"other\n\n{report.LESSONS}\n\nlearnt\n"


def test_results_survive_their_file() -> None:
    results = report.Results(machine=MACHINE, rows=[against(RATIO, [40, 41], [100, 90], "peer 1.0", "note")])
    assert msgspec.json.decode(msgspec.json.encode(results), type=report.Results) == results


def test_every_target_has_a_name_of_its_own_and_every_cause_a_target() -> None:
    keys = [target.key for target in TARGETS]
    assert len(set(keys)) == len(keys) == len({target.what for target in TARGETS})
    assert set(CAUSES) <= set(keys)
    assert all(target.key.startswith(f"{name}/") for name, claim in CLAIMS.items() for target in claim.targets)


WRK = """Running 1s test @ http://127.0.0.1:8000/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     4.15ms    2.39ms  25.71ms   79.72%
  Latency Distribution
     50%  394.00us
     75%    5.05ms
     90%    6.66ms
     99%    1.26s
  7920 requests in 1.01s, 1.25MB read
Requests/sec:   7879.50
"""


def test_what_wrk_prints_is_read() -> None:
    assert load.read(WRK) == load.Load(7920, 7879.5, 394, 1_260_000)
    assert load.read(WRK.replace("1.26s", "1.26s ")).p99_us == 1_260_000  # it fills seconds up with a space


@pytest.mark.parametrize(
    "text",
    [
        WRK + "  Non-2xx or 3xx responses: 3\n",
        WRK.replace("7920", "  Socket errors: connect 0, read 1, write 0, timeout 0\n  7920"),
        WRK.replace("Requests/sec", "Nothing"),
        WRK.replace("394.00us", "3.00m"),
        "",
    ],
)
def test_failed_load_is_no_figure(text: str) -> None:
    with pytest.raises(RuntimeError):
        load.read(text)


def test_chunks_are_joined() -> None:
    assert unchunked(b"5\r\nhello\r\nB;x=y\r\n from there\r\n0\r\n\r\n") == b"hello from there"


def test_marking_changes_the_content_and_nothing_before_it() -> None:
    component = HELLO.read_bytes()
    one, other = cold.marked(component, "c0-1"), cold.marked(component, "c0-2")
    assert one != other and one.startswith(component)
    assert one[len(component) :] == b"\x00\x05\x04c0-1"  # a custom section: its size, its name


def test_a_processor_is_named() -> None:
    assert processor("processor : 0\nmodel : 1\nmodel name\t: A  Fast   One\n") == "A Fast One"
    assert "does not say" in processor("processor : 0\n")


@pytest.mark.parametrize("words", [["--write", "--quick"], ["--rounds", "4"], ["warmer"]])
def test_wrong_use_is_refused_before_anything_is_measured(words: list[str]) -> None:
    with pytest.raises(SystemExit) as error:
        command.main(words)
    assert error.value.code == 2


def results_of(targets: list[Target], path: Path) -> Path:
    rows = [alone(target, spread([1.0, 2.0]), 2) for target in targets]
    path.write_bytes(msgspec.json.encode(report.Results(machine=MACHINE, rows=rows)))
    return path


def test_the_document_is_written_from_every_claim_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "DOCUMENT", tmp_path / "performance.md")
    monkeypatch.setattr(command, "ROOT", tmp_path)
    some = results_of(TARGETS[:-1], tmp_path / "some.json")
    assert command.main(["--write", "--from", str(some)]) == 1
    assert not (tmp_path / "performance.md").exists()
    all_of_them = results_of(TARGETS, tmp_path / "all.json")
    assert command.main(["--write", "--from", str(all_of_them)]) == 0
    text = (tmp_path / "performance.md").read_text()
    assert all(target.what in text for target in TARGETS)
    assert "Targets missed" in capsys.readouterr().out
