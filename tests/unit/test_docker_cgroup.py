"""Counters of control groups, versions 1 and 2, from folders laid out as the kernel lays them out."""

import pytest

from pipelines.runners.cgroup import ControlGroup, Usage

PID = 4711


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def groups(tmp_path, lines):
    write(tmp_path / "proc" / str(PID), cgroup="\n".join(lines) + "\n")
    return lambda: ControlGroup.of(PID, tmp_path / "proc", tmp_path / "sys")


@pytest.fixture
def version_1(tmp_path):
    write(
        tmp_path / "sys/memory/docker/abc",
        memory__usage_in_bytes="1000\n",
        memory__max_usage_in_bytes="1500\n",
        memory__stat="cache 400\ntotal_inactive_file 300\n",
        memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    )
    write(tmp_path / "sys/cpu,cpuacct/docker/abc", cpuacct__usage="2500000000\n")
    return groups(
        tmp_path, ["9:name=systemd:/docker/abc", "4:memory:/docker/abc", "2:cpu,cpuacct:/docker/abc"]
    )


@pytest.fixture
def version_2(tmp_path):
    write(
        tmp_path / "sys/system.slice/docker-abc.scope",
        memory__current="1000\n",
        memory__peak="1500\n",
        memory__stat="anon 600\ninactive_file 300\n",
        memory__events="low 0\noom 3\noom_kill 2\n",
        cpu__stat="usage_usec 2500000\nuser_usec 1\n",
    )
    return groups(tmp_path, ["0::/system.slice/docker-abc.scope"])


@pytest.mark.parametrize("version", [1, 2])
def test_all_counters_are_read(version, request):
    group = request.getfixturevalue(f"version_{version}")()
    assert group.version == version
    assert group.read() == Usage(memory_bytes=700, peak_bytes=1500, cpu_s=2.5, oom_kills=2)


def test_an_old_kernel_keeps_no_peak_in_version_2(version_2, tmp_path):
    (tmp_path / "sys/system.slice/docker-abc.scope/memory.peak").unlink()
    assert version_2().read().peak_bytes is None


def test_a_group_that_is_gone_counts_nothing(version_1, tmp_path):
    import shutil

    group = version_1()
    shutil.rmtree(tmp_path / "sys/memory/docker/abc")
    assert group.read() == Usage(None, None, None, None)


def test_groups_that_cannot_be_seen_from_here(tmp_path):
    with pytest.raises(OSError, match="no memory counters"):
        groups(tmp_path, ["0::/elsewhere"])()
