"""Files that are whole or not there, and the folder that one node at a time may use."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from falak.daemon.folder import DataFolder
from falak.errors import OperatorError
from falak.files import remove, remove_unfinished, write_whole

HOLD = "import sys; from pathlib import Path; from falak.daemon.folder import DataFolder; \
DataFolder(Path(sys.argv[1])).open(); print('open', flush=True); sys.stdin.read()"


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")
    write_whole(path, b"new", durable=False)
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_failed_write_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "inside").touch()
    with pytest.raises(OSError):
        write_whole(path, b"a folder is in the way")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
    with pytest.raises(ValueError):
        write_whole(tmp_path / "a\0b", b"")


def test_removing_is_repeatable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / ".file.1.tmp").touch()
    remove(tmp_path / "file")
    remove(tmp_path / "file")
    remove_unfinished(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "key", ["incarnation", "record/hello", "record/../../../x", "a%2Fb", "%", "record/%2F"]
)
def test_any_key_is_one_file_in_the_folder(tmp_path: Path, key: str) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.open()
    folder.write_state(key, b"value")
    assert folder.read_state(key) == b"value"
    assert list(folder.state_keys("")) == [key]
    assert len(list((tmp_path / "data" / "state").iterdir())) == 1
    folder.write_state(key, b"")
    assert folder.read_state(key) == b""
    assert not list(folder.state_keys(""))
    folder.close()


def test_what_cannot_be_written_says_so(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.open()
    with pytest.raises(OSError):
        folder.write_state("x" * 300, b"value")
    with pytest.raises(ValueError):
        folder.write_state("a\0b", b"value")
    folder.close()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout and holder.stdin
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(OperatorError, match=rf"another node uses .*\(process {holder.pid}\)"):
            DataFolder(tmp_path).open()
        holder.kill()
        holder.wait()
    assert (tmp_path / "lock").exists()  # a killed process removes nothing, and holds nothing
    folder = DataFolder(tmp_path)
    folder.open()
    assert (tmp_path / "lock").read_text() == str(os.getpid())
    folder.close()
    folder.close()
    assert not (tmp_path / "lock").exists()


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/none"])
def test_a_folder_that_cannot_be_is_an_error_for_people(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OperatorError, match="data folder") as caught:
        DataFolder(tmp_path / place).open()
    assert "--data" in caught.value.hint


def test_a_read_only_folder_is_an_error_for_people(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o500)
    (data / "lock").touch()
    folder = DataFolder(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
        with pytest.raises(OperatorError, match="cannot be used: Permission denied"):
            folder.open()
    assert not (data / "lock").exists()


def test_a_killed_nodes_socket_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "control.sock").touch()
    folder = DataFolder(tmp_path)
    folder.open()
    assert not folder.socket.exists()
    folder.close()
