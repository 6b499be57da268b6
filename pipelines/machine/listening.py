"""Whether an address is this machine's, and which processes listen behind it, as far as /proc tells."""

import ipaddress
import socket
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import psutil

PROC = Path("/proc")
LISTENS = "0A"
"""The state of a listening socket in /proc/net/tcp."""

# They pass on to a server that is somewhere else.
FORWARDERS = frozenset(
    {
        "docker-proxy",
        "rootlessport",
        "rootlesskit",
        "slirp4netns",
        "pasta",
        "ssh",
        "sshd",
        "socat",
        "kubectl",
        "haproxy",
        "nginx",
        "envoy",
        "traefik",
        "caddy",
    }
)


def is_here(host: str, port: int) -> bool:
    """Return whether all addresses of `host` are this machine's own.

    Raises:
        OSError: there is no such host.
    """
    own = {
        address.address.partition("%")[0]
        for of_interface in psutil.net_if_addrs().values()
        for address in of_interface
    }
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = {str(address[0]).partition("%")[0] for *_, address in infos}
    return all(ipaddress.ip_address(address).is_loopback or address in own for address in addresses)


def listeners(port: int, proc: Path = PROC) -> frozenset[int] | None:
    """Return the ids of processes that listen on `port`; None if /proc hides them, or they only pass on.

    Whose processes are another user's, or in a container's own network, cannot be seen.
    """
    inodes = _inodes(port, proc)
    if not inodes:
        return None
    by_inode: dict[str, set[int]] = {inode: set() for inode in inodes}
    for folder in proc.iterdir():
        if folder.name.isdigit():
            for inode in _sockets(folder, inodes):
                by_inode[inode].add(int(folder.name))
    pids = frozenset().union(*by_inode.values())
    unseen = any(not holders for holders in by_inode.values())
    return None if unseen or any(_name(proc, pid) in FORWARDERS for pid in pids) else pids


def _inodes(port: int, proc: Path) -> set[str]:
    """Find the sockets that listen on `port`, whatever the address."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (proc / "net" / table).read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == LISTENS and int(words[1].rpartition(":")[2], 16) == port:
                    inodes.add(words[9])
    return inodes


def _sockets(folder: Path, wanted: Collection[str]) -> set[str]:
    inodes = set()
    with suppress(OSError):
        for file in (folder / "fd").iterdir():
            with suppress(OSError):
                link = str(file.readlink())
                if link.startswith("socket:[") and link[8:-1] in wanted:
                    inodes.add(link[8:-1])
    return inodes


def _name(proc: Path, pid: int) -> str:
    try:
        return (proc / str(pid) / "comm").read_text().strip()
    except OSError:
        return ""
