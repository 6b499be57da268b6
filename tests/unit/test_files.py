import errno
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from tiny_disk import tiny_disk  # noqa: F401 - a fixture

from pipelines.errors import MachineError
from pipelines.files import atomic as files
from pipelines.files.atomic import copy_file, locked, make_first, new_folder, update_link, write_atomically
from pipelines.processes.group import last_lines
from pipelines.run.run import new_run_folder

HOLD_THE_LOCK = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""
TRY_THE_LOCK = """
import fcntl, sys
try:
    fcntl.flock(open(sys.argv[1], "w"), fcntl.LOCK_SH | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(7)
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def disk_full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class HalfWriter:
    """A temporary file whose disk fills up after three bytes."""

    def __init__(self, real):
        self.real, self.name = real, real.name

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.real.close()

    def write(self, data):
        self.real.write(data[:3])
        self.real.flush()
        disk_full()


@pytest.fixture
def full_disk(monkeypatch):
    real = files.tempfile.NamedTemporaryFile
    monkeypatch.setattr(files.tempfile, "NamedTemporaryFile", lambda **given: HalfWriter(real(**given)))


@pytest.mark.parametrize("content", ["grün\n", b"\x00\xff"])
def test_text_and_bytes_arrive(tmp_path, content):
    path = tmp_path / "new" / "deep" / "x"
    write_atomically(path, content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert names(path.parent) == ["x"]


def test_the_file_can_be_read_by_others(tmp_path):
    write_atomically(tmp_path / "x", "1")
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o644


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, full_disk):
    path = tmp_path / "x"
    path.write_text("the old content")
    with pytest.raises(MachineError) as caught:
        write_atomically(path, "the new content")
    assert str(caught.value) == (
        f"cannot write {path}: No space left on device; free disk space or check its permissions"
    )
    assert path.read_text() == "the old content"
    assert names(tmp_path) == ["x"]


def test_a_full_disk_leaves_no_new_file(tmp_path, full_disk):
    with pytest.raises(MachineError):
        write_atomically(tmp_path / "x", "content")
    assert names(tmp_path) == []


def test_a_failed_rename_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "x").write_text("old")
    monkeypatch.setattr(Path, "replace", disk_full)
    with pytest.raises(MachineError, match="No space left on device"):
        write_atomically(tmp_path / "x", "new")
    assert (tmp_path / "x").read_text() == "old"
    assert names(tmp_path) == ["x"]


def test_an_interrupted_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "x", "new")
    assert names(tmp_path) == []


def test_a_reader_never_sees_half_a_file(tmp_path):
    path = tmp_path / "x"
    contents = {"a" * 300_000, "b" * 300_000}
    path.write_text("a" * 300_000)
    stop, seen = threading.Event(), set()

    def read():
        while not stop.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(15):
        for content in sorted(contents):
            write_atomically(path, content)
    stop.set()
    reader.join()
    assert seen <= contents


def test_a_parent_that_is_a_file_is_named(tmp_path):
    (tmp_path / "x").write_text("a file")
    with pytest.raises(MachineError, match=r"cannot write .*/x/y: .*no folder"):
        write_atomically(tmp_path / "x" / "y", "1")


def test_a_pipe_is_written_into_and_stays_one(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_atomically(pipe, "content")
    assert os.read(reader, 100) == b"content"
    os.close(reader)
    assert pipe.is_fifo()
    assert names(tmp_path) == ["pipe"]


def test_a_pipe_that_nobody_reads_is_an_error_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(MachineError, match="cannot write"):
        write_atomically(tmp_path / "pipe", "content")
    assert (tmp_path / "pipe").is_fifo()


def test_a_pipe_of_another_user_is_replaced(tmp_path, monkeypatch):
    """Its reader may never read, and hold us for ever."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    write_atomically(tmp_path / "pipe", "content")
    os.close(reader)
    assert (tmp_path / "pipe").read_text() == "content"


def test_a_descriptor_beyond_all_numbers_is_one_that_is_not_open():
    with pytest.raises(MachineError, match="cannot write"):
        write_atomically(Path("/dev/fd/99999999999"), "content")


def test_a_device_is_written_into():
    screen, device = os.openpty()
    write_atomically(Path(os.ttyname(device)), "content")
    assert os.read(screen, 100) == b"content"
    os.close(device)
    os.close(screen)


def test_what_this_process_has_open_is_written_on_where_it_stands(tmp_path):
    path = tmp_path / "x"
    with path.open("w+b", buffering=0) as file:
        file.write(b"before, ")
        write_atomically(Path(f"/dev/fd/{file.fileno()}"), "content")
        file.write(b", after")
        assert os.fstat(file.fileno()).st_ino == path.stat().st_ino
    assert path.read_text() == "before, content, after"


def test_the_standard_output_is_written_to_and_keeps_its_file(tmp_path):
    # Not in /dev itself: who replaces the link there, as root may, breaks this machine.
    (tmp_path / "stdout").symlink_to("/proc/self/fd/1")
    code = (
        "import sys; from pathlib import Path; from pipelines.files import atomic; "
        "atomic.DEVICES = sys.argv[1]; print('before', flush=True); "
        "atomic.write_atomically(Path(sys.argv[1], 'stdout'), 'content\\n'); print('after')"
    )
    with (tmp_path / "x").open("wb") as file:
        subprocess.run([sys.executable, "-c", code, str(tmp_path.resolve())], stdout=file, check=True)
    assert (tmp_path / "x").read_text() == "before\ncontent\nafter\n"
    assert (tmp_path / "stdout").is_symlink()


def test_a_reader_that_has_gone_away_is_no_failure():
    reader, writer = os.pipe()
    os.close(reader)
    write_atomically(Path(f"/dev/fd/{writer}"), "content")
    os.close(writer)


@pytest.mark.parametrize("make", [os.mkfifo, Path.touch])
def test_a_link_that_others_could_have_made_is_replaced_and_not_followed(make, tmp_path):
    make(tmp_path / "theirs")
    (tmp_path / "x").symlink_to("theirs")
    write_atomically(tmp_path / "x", "content")
    assert (tmp_path / "x").read_text() == "content"
    assert not (tmp_path / "x").is_symlink()
    assert (tmp_path / "theirs").stat().st_size == 0


def test_a_new_folder_replaces_the_old_one_whole(tmp_path):
    final = tmp_path / "final"
    final.mkdir()
    (final / "old").touch()
    with new_folder(final) as temporary:
        (temporary / "new").touch()
        assert names(final) == ["old"]
        assert temporary.parent == tmp_path
    assert names(final) == ["new"]
    assert names(tmp_path) == ["final"]
    assert final.stat().st_mode & 0o777 == 0o755


def test_a_new_folder_appears_where_there_was_none(tmp_path):
    final = tmp_path / "deep" / "final"
    with new_folder(final) as temporary:
        (temporary / "new").touch()
        assert not final.exists()
    assert names(final) == ["new"]


@pytest.mark.parametrize("failure", [RuntimeError("export failed"), KeyboardInterrupt()])
def test_a_failure_keeps_the_old_folder_and_nothing_else(tmp_path, failure):
    final = tmp_path / "final"
    final.mkdir()
    (final / "old").touch()
    with pytest.raises(type(failure)), new_folder(final) as temporary:
        (temporary / "half").touch()
        raise failure
    assert names(final) == ["old"]
    assert names(tmp_path) == ["final"]


def test_a_disk_that_fills_up_inside_is_one_line_about_the_folder(tmp_path):
    with (
        pytest.raises(MachineError, match=r"cannot write .*/final: No space left"),
        new_folder(tmp_path / "final"),
    ):
        disk_full()
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_swapped_in_leaves_the_old_one(tmp_path, monkeypatch):
    final, real = tmp_path / "final", Path.replace
    final.mkdir()
    (final / "old").touch()

    def no_new_one(self, target):
        return disk_full() if (self / "new").exists() else real(self, target)

    monkeypatch.setattr(Path, "replace", no_new_one)
    with pytest.raises(MachineError), new_folder(final) as temporary:
        (temporary / "new").touch()
    assert final.exists()
    assert names(final) == ["old"]


def test_no_space_for_the_folder_itself_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(files.tempfile, "mkdtemp", disk_full)
    with (
        pytest.raises(MachineError, match=r"cannot write .*final: No space left"),
        new_folder(tmp_path / "final"),
    ):
        pass


def test_a_disk_that_is_really_full_keeps_the_old_content(tiny_disk):  # noqa: F811
    write_atomically(tiny_disk / "x", "old")
    with pytest.raises(MachineError, match="No space left on device"):
        write_atomically(tiny_disk / "x", "n" * 200_000)
    assert (tiny_disk / "x").read_text() == "old"
    assert names(tiny_disk) == ["x"]


def test_a_copy_that_finds_the_disk_full_names_the_file_that_could_not_be_written(tiny_disk, tmp_path):  # noqa: F811
    (tmp_path / "source").write_bytes(b"n" * 200_000)
    with pytest.raises(MachineError) as caught:
        copy_file(tmp_path / "source", tiny_disk / "copy")
    assert str(tiny_disk / "copy") in str(caught.value)
    assert str(tmp_path / "source") not in str(caught.value)


def test_a_copy_of_what_is_not_there_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        copy_file(tmp_path / "source", tmp_path / "copy")


def link_to_nowhere(path):
    path.symlink_to("nowhere")


def link_to_itself(path):
    path.symlink_to(path.name)


def plain_file(path):
    path.touch()


@pytest.mark.parametrize("occupy", [link_to_nowhere, link_to_itself, plain_file])
@pytest.mark.parametrize("inner", ["", "inner"])
def test_what_is_no_folder_is_refused_where_runs_shall_go(occupy, inner, tmp_path):
    occupy(tmp_path / "runs")
    with pytest.raises(MachineError, match="no folder"):
        new_run_folder(tmp_path / "runs" / inner, "m")
    with pytest.raises(MachineError, match="no folder"):
        write_atomically(tmp_path / "runs" / "file", "x")


def test_only_the_first_makes_a_run_folder(tmp_path):
    assert make_first(tmp_path / "run", "run.json", ["logs"])
    assert not make_first(tmp_path / "run", "run.json", ["logs"])
    assert names(tmp_path / "run") == ["logs"]


def test_a_lock_keeps_other_processes_out_until_it_is_left(tmp_path):
    path = tmp_path / "deep" / ".lock"
    attempt = [sys.executable, "-c", TRY_THE_LOCK, str(path)]
    with locked(path, lambda: pytest.fail("nobody else holds it")):
        assert subprocess.run(attempt, check=False).returncode == 7
    assert subprocess.run(attempt, check=False).returncode == 0


def test_a_held_lock_is_announced_once_and_waited_for(tmp_path):
    path, events = tmp_path / ".lock", []
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_THE_LOCK, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout.readline() == b"held\n"

    def waiting():
        events.append("waiting")
        threading.Timer(0.2, let_go).start()

    def let_go():
        events.append("let go")
        holder.communicate()

    with locked(path, waiting):
        events.append("mine")
    assert events == ["waiting", "let go", "mine"]


def test_a_lock_is_left_when_its_block_fails(tmp_path):
    with suppress(ValueError), locked(tmp_path / ".lock", lambda: None):
        raise ValueError
    with locked(tmp_path / ".lock", lambda: pytest.fail("still held")):
        pass


def test_a_lock_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "x").touch()
    with pytest.raises(MachineError, match="cannot write"), locked(tmp_path / "x" / ".lock", lambda: None):
        pass


def test_a_link_points_to_the_newest(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        update_link(tmp_path / "latest", name)
        assert (tmp_path / "latest").resolve() == (tmp_path / name).resolve()
    assert (tmp_path / "latest").readlink() == Path("second")
    assert names(tmp_path) == ["first", "latest", "second"]


def test_sockets_get_a_folder_with_a_short_name(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 138)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    assert len(f"{files.short_folder()}/tandem-12345678/tmp/.ts.sock.65535") <= 107
    monkeypatch.setattr(files, "SHORT_FOLDERS", (str(tmp_path / "nowhere"),))
    with pytest.raises(MachineError, match="TMPDIR="):
        files.short_folder()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system, for which one has to be root")
def test_a_full_disk_is_said_to_be_full(tmp_path, monkeypatch):
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tandem-test", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this root may not mount a file system")
    try:
        log = folder / "server.log"
        with suppress(OSError):
            log.write_bytes(b"\n" * 100_000)
        assert files.full_disk(folder)
        assert "is full" in last_lines(log)
        assert not files._can_hold_sockets(str(folder))
        with pytest.raises(MachineError, match="No space left on device"):
            files.write_atomically(folder / "more", b"x" * 100_000)
    finally:
        subprocess.run(["umount", str(folder)], check=True)
