"""What an operator sets: which source wins, and that everything wrong in any of them is told at once."""

import os
from pathlib import Path

import pytest

from falak import config
from falak.config import DEFAULT_HTTP, DEFAULT_LISTEN, UpOptions, up_options
from falak.core.settings import Settings
from falak.errors import OperatorError
from falak.whereabouts import data_folder

NOWHERE = Path("/nonexistent/falak.toml")


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def test_defaults(data):
    options = up_options({"data": data}, {}, NOWHERE)
    assert options == UpOptions(config.host_label(), data, DEFAULT_LISTEN, DEFAULT_HTTP)


def test_flags_win_over_environment_over_files(data, tmp_path):
    system = tmp_path / "system.toml"
    system.write_text(
        'name = "s"\nzone = "s"\nhttp = "127.0.0.1:1"\ntag = ["s"]\nlisten = "/ip4/127.0.0.1/tcp/1"\n'
    )
    (data / "falak.toml").write_text('name = "f"\nzone = "f"\nhttp = "127.0.0.1:2"\ntag = ["f", "g"]\n')
    environ = {"FALAK_DATA": str(data), "FALAK_NAME": "e", "FALAK_ZONE": "e"}
    options = up_options({"name": "flag"}, environ, system)
    assert (options.name, options.zone, options.http) == ("flag", "e", "127.0.0.1:2")
    assert (options.tags, options.listen) == (("f", "g"), "/ip4/127.0.0.1/tcp/1")


def test_lists_from_every_source(data):
    assert up_options({"data": data, "orbit": ("a", "b", "a")}, {}, NOWHERE).orbits == ("a", "b")
    environ = {"FALAK_ORBIT": "gpu, default", "FALAK_JOIN": "t1 t2", "FALAK_TAG": ""}
    options = up_options({"data": data, "orbit": ()}, environ, NOWHERE)
    assert (options.orbits, options.join, options.tags) == (("gpu", "default"), ("t1", "t2"), ())


def test_settings_come_from_files_by_name(data, tmp_path):
    system = tmp_path / "system.toml"
    system.write_text("[settings]\nheartbeat_s = 9\nsuspect_s = 3\n")
    (data / "falak.toml").write_text("[settings]\nheartbeat_s = 1\nstarts_max = 4\nhedge_budget = 0\n")
    settings = up_options({"data": data}, {}, system).settings
    assert settings == Settings(heartbeat_s=1.0, suspect_s=3.0, starts_max=4, hedge_budget=0.0)
    assert isinstance(settings.heartbeat_s, float) and isinstance(settings.starts_max, int)


BAD_FILE = """name = "Bad Name"
https = "127.0.0.1:0"
tag = "one"
data = "/tmp"
http = "localhost"
[settings]
heart_s = 1
heartbeat_s = "2s"
suspect_s = -1
starts_max = 1.5
hello_s = 0
publish_s = nan
claims_max = 99999999999999999999
"""


def test_everything_wrong_in_all_sources_is_told_at_once(data):
    (data / "falak.toml").write_text(BAD_FILE)
    flags = {"data": data, "http": "host:x", "orbit": ("UP", "ok")}
    with pytest.raises(OperatorError) as caught:
        up_options(flags, {"FALAK_LISTEN": "0.0.0.0:7420"}, NOWHERE)
    text, file = str(caught.value), data / "falak.toml"
    assert caught.value.exit == 2
    for words in [
        "command line: 2 problems",
        "--http 'host:x' is no IP:PORT",
        "--orbit cannot be 'UP'",
        "environment: 1 problem",
        "FALAK_LISTEN '0.0.0.0:7420' is no address to listen on (write it like",
        f"{file}: 12 problems",
        f"{file}:1: name cannot be 'Bad Name'",
        f"{file}:2: unknown key 'https' (did you mean 'http'?)",
        f"{file}:3: tag must be a list",
        f"{file}:4: unknown key 'data' (--data or FALAK_DATA",
        f"{file}:5: http 'localhost' is no IP:PORT",
        f"{file}:7: unknown key 'heart_s' in settings (did you mean",
        f"{file}:8: settings.heartbeat_s must be a number, not text",
        f"{file}:9: settings.suspect_s must be above 0, not -1 (usual: 1)",
        f"{file}:10: settings.starts_max must be a whole number, not 1.5",
        f"{file}:11: settings.hello_s must be above 0",
        f"{file}:12: settings.publish_s must be a finite number",
        f"{file}:13: settings.claims_max is out of range",
    ]:
        assert words in text, f"{words!r} not in\n{text}"


@pytest.mark.parametrize(
    "written, why",
    [
        (
            "call_deadline_s = 60\nconvene_deadline_s = 100",
            "convene_deadline_s (100) must be below settings.call_dead",
        ),
        (
            "call_deadline_s = 5",
            "settings.convene_deadline_s (8) must be below settings.call_deadline_s (5): the caller",
        ),
        ("vote_hold_s = 0.001", "settings.claim_unready_s (0.005) must be below settings.vote_hold_s (0.001)"),
        ("redial_max_s = 0.01", "settings.redial_first_s (0.05) must be below settings.redial_max_s"),
        ("silent_s = 3", "settings.silent_least_s (4) must be below settings.silent_s (3): more reports"),
        ("heartbeat_s = 0.001", "settings.heartbeat_s must be at least 0.1, not 0.001 (usual: 2)"),
        ("start_s = 1e-7", "settings.start_s must be at least 0.1, not 1e-07"),
        ("hello_s = 1e-7", "settings.hello_s must be at least 0.001, not 1e-07"),
        ("hedge_budget = 1.5", "settings.hedge_budget is a share: at most 1, not 1.5"),
    ],
)
def test_settings_that_contradict_each_other(data, written, why):
    (data / "falak.toml").write_text(f"[settings]\n{written}\n")
    with pytest.raises(OperatorError) as caught:
        up_options({"data": data}, {}, NOWHERE)
    assert why in str(caught.value) and caught.value.exit == 2


def test_a_ready_file_needs_its_folder(data, tmp_path):
    assert up_options({"data": data, "ready_file": tmp_path / "r"}, {}, NOWHERE).ready_file == tmp_path / "r"
    with pytest.raises(OperatorError, match=f"there is no folder {tmp_path / 'none'}") as caught:
        up_options({"data": data, "ready_file": tmp_path / "none" / "r"}, {}, NOWHERE)
    assert caught.value.exit == 2


@pytest.mark.parametrize(
    "written, read",
    [
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("localhost:80", "127.0.0.1:80"),
        ("[::1]:8420", "[::1]:8420"),
        ("[0:0::0]:1", "[::]:1"),
    ],
)
def test_http_addresses(data, written, read):
    assert up_options({"data": data, "http": written}, {}, NOWHERE).http == read


@pytest.mark.parametrize(
    "written", ["127.0.0.1", "127.0.0.1:", "::1:80", "[127.0.0.1]:1", "1.2.3.4:65536", ":80", "[::1]"]
)
def test_http_addresses_that_are_none(data, written):
    with pytest.raises(OperatorError, match="--http"):
        up_options({"data": data, "http": written}, {}, NOWHERE)


@pytest.mark.parametrize("written", ["/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/7420"])
def test_listen_addresses(data, written):
    assert up_options({"data": data, "listen": written}, {}, NOWHERE).listen == written


@pytest.mark.parametrize(
    "written", ["/ip4/::1/tcp/0", "/ip4/1.2.3/tcp/0", "/ip4/1.2.3.4/udp/0", "/ip4/1.2.3.4/tcp/-1", "x"]
)
def test_listen_addresses_that_are_none(data, written):
    with pytest.raises(OperatorError, match="--listen"):
        up_options({"data": data, "listen": written}, {}, NOWHERE)


def test_too_many_and_too_long(data, tmp_path):
    with pytest.raises(OperatorError, match="16 are the most"):
        up_options({"data": data, "tag": tuple(f"t{n}" for n in range(17))}, {}, NOWHERE)
    with pytest.raises(OperatorError, match=r"too long.*unix socket") as caught:
        up_options({"data": tmp_path / ("x" * 100)}, {}, NOWHERE)
    assert caught.value.exit == 2


def test_where_the_data_folder_is(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert data_folder(None, {}) == tmp_path / ".local/share/falak"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert data_folder(None, {}) == Path("/var/lib/falak")
    assert data_folder(None, {"FALAK_DATA": "~/x"}) == tmp_path / "x"
    assert data_folder(Path("rel"), {"FALAK_DATA": "/x"}) == Path.cwd() / "rel"


def test_every_usual_setting_could_be_written():
    for key in Settings.__struct_fields__:
        usual = getattr(Settings(), key)
        assert 0 < usual <= config.SETTING_MAX or (usual == 0 and key in config.MAY_BE_ZERO), key
    assert set(Settings.__struct_fields__) >= config.MAY_BE_ZERO
