"""Counters of control groups, versions 1 and 2, from folders laid out as the kernel lays them out."""

import pytest

from pipelines.runners.cgroup import ControlGroup, Usage

PID = 4711
ID = "5f1d" * 16


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def groups(tmp_path, lines):
    write(tmp_path / "proc" / str(PID), cgroup="\n".join(lines) + "\n")
    return lambda: ControlGroup.of(PID, ID, tmp_path / "proc", tmp_path / "sys")


@pytest.fixture
def version_1(tmp_path):
    write(
        tmp_path / f"sys/memory/docker/{ID}",
        memory__usage_in_bytes="1000\n",
        memory__max_usage_in_bytes="1500\n",
        memory__stat="cache 400\ntotal_inactive_file 300\n",
        memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    )
    write(tmp_path / f"sys/cpu,cpuacct/docker/{ID}", cpuacct__usage="2500000000\n")
    controllers = ("9:name=systemd", "4:memory", "2:cpu,cpuacct")
    # Beside version 1 the one hierarchy of version 2 has nobody's groups.
    return groups(tmp_path, [*(f"{each}:/docker/{ID}" for each in controllers), "0::/"])


@pytest.fixture
def version_2(tmp_path):
    write(
        tmp_path / f"sys/system.slice/docker-{ID}.scope",
        memory__current="1000\n",
        memory__peak="1500\n",
        memory__stat="anon 600\ninactive_file 300\n",
        memory__events="low 0\noom 3\noom_kill 2\n",
        cpu__stat="usage_usec 2500000\nuser_usec 1\n",
    )
    return groups(tmp_path, [f"0::/system.slice/docker-{ID}.scope"])


@pytest.mark.parametrize("version", [1, 2])
def test_all_counters_are_read(version, request):
    group = request.getfixturevalue(f"version_{version}")()
    assert group.version == version
    assert group.read() == Usage(memory_bytes=700, peak_bytes=1500, cpu_s=2.5, oom_kills=2)


def test_an_old_kernel_keeps_no_peak_in_version_2(version_2, tmp_path):
    (tmp_path / f"sys/system.slice/docker-{ID}.scope/memory.peak").unlink()
    assert version_2().read().peak_bytes is None


def test_a_group_that_is_gone_counts_nothing(version_1, tmp_path):
    import shutil

    group = version_1()
    shutil.rmtree(tmp_path / f"sys/memory/docker/{ID}")
    assert group.read() == Usage(None, None, None, None)


def test_groups_that_cannot_be_seen_from_here(tmp_path):
    with pytest.raises(OSError, match="no memory counters"):
        groups(tmp_path, [f"0::/../docker-{ID}.scope"])()


@pytest.mark.parametrize(
    "group", ["system.slice/sshd.service", f"docker/{ID[::-1]}", "user.slice/user-1000.slice/docker.service"]
)
def test_a_process_here_that_only_has_the_number_of_the_containers_counts_for_nobody(group, tmp_path):
    write(
        tmp_path / "sys" / group,
        memory__current="1000\n",
        memory__events="oom_kill 2\n",
        cpu__stat="usage_usec 2500000\n",
    )
    with pytest.raises(OSError, match="is not in the container"):
        groups(tmp_path, [f"0::/{group}"])()
