"""A container engine of a test's own, which may be killed and restarted, and an image of a server for it."""

import contextlib
import fcntl
import io
import os
import shutil
import signal
import socket
import struct
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker

PATIENCE_S = 60
# In Linux's sockios.h.
SIOCSIFFLAGS, SIOCBRADDBR, SIOCBRDELBR = 0x8914, 0x89A0, 0x89A1
IMAGE = "tandem-test/answers:own"
# Answers TensorFlow Serving's questions about any model always in the same way.
SERVER = r"""
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define READY "{\"model_version_status\": [{\"version\": \"1\", \"state\": \"AVAILABLE\"}]}"
#define RIGHT "{\"predictions\": [[0.1, 0.7, 0.2]]}"

static void answer(int connection) {
    static char text[1 << 16], said[512];
    size_t have = 0;
    for (;;) {
        char *end;
        while (text[have] = 0, !(end = strstr(text, "\r\n\r\n"))) {
            ssize_t got = read(connection, text + have, sizeof text - 1 - have);
            if (got <= 0) return;
            have += got;
        }
        char *length = strcasestr(text, "content-length:");
        size_t whole = end + 4 - text + (length && length < end ? atoi(length + 15) : 0);
        while (have < whole) {
            ssize_t got = read(connection, text + have, sizeof text - 1 - have);
            if (got <= 0) return;
            have += got;
        }
        const char *body = strncmp(text, "GET", 3) ? RIGHT : READY;
        int size = snprintf(said, sizeof said, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                            "Content-Length: %zu\r\n\r\n%s", strlen(body), body);
        if (write(connection, said, size) != size) return;
        memmove(text, text + whole, have -= whole);
    }
}

int main(void) {
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons(8501)};
    int yes = 1, listening = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listening, (void *)&place, sizeof place) || listen(listening, 128)) return 1;
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        int connection = accept(listening, 0, 0);
        if (connection >= 0 && !fork()) { answer(connection); _exit(0); }
        close(connection);
    }
}
"""


@dataclass
class Engine:
    """An engine with its data in `folder` and a bridge of its own; packet filters stay the machine's own."""

    folder: Path
    bridge: str
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def host(self) -> str:
        """Where it answers, as DOCKER_HOST has it."""
        return f"unix://{self.folder}/docker.sock"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        folder = self.folder
        with (folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    "dockerd",
                    *("--host", self.host, "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"),
                    *("--pidfile", f"{folder}/pid", "--iptables=false", "--ip6tables=false"),
                    f"--bridge={self.bridge}",
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + PATIENCE_S
        while not self._answers():
            assert self.process.poll() is None, self.last_lines()
            assert time.monotonic() < deadline, self.last_lines()
            time.sleep(0.1)

    def _answers(self) -> bool:
        # Not by the engine's client: where nobody answers, it leaves its connection to the garbage collector.
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(1)
            try:
                asking.connect(self.host.removeprefix("unix://"))
                asking.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b" 200 " in asking.recv(100)
            except OSError:
                return False

    def client(self) -> "docker.DockerClient":
        return docker.DockerClient(base_url=self.host, timeout=PATIENCE_S)

    def stop(self) -> None:
        """End it as a restart of its service does: its containers end first."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash does: its containers go on without it."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(PATIENCE_S)

    def last_lines(self) -> str:
        return "\n".join((self.folder / "log").read_text(errors="replace").splitlines()[-10:])


def build_image(engine: Engine) -> None:
    """Make the image: one program, nothing else."""
    program = engine.folder / "answers"
    subprocess.run(
        ["gcc", "-O1", "-static", "-D_GNU_SOURCE", "-xc", "-", "-o", program],
        input=SERVER.encode(),
        check=True,
    )
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(program, "answers")
    with contextlib.closing(engine.client()) as client:
        repository, tag = IMAGE.split(":")
        client.api.import_image_from_data(
            packed.getvalue(), repository=repository, tag=tag, changes=['ENTRYPOINT ["/answers"]']
        )


@contextlib.contextmanager
def own_engine() -> Iterator[Engine]:
    """Yield an engine that runs and has the image; leaves nothing of it."""
    folder = Path(tempfile.mkdtemp(prefix="test-engine-", dir="/var/tmp"))
    # Without a bridge it would remove docker0, which the machine's own engine lives on.
    engine = Engine(folder, f"tandem-{os.getpid()}")
    make_bridge(engine.bridge)
    try:
        engine.start()
        build_image(engine)
        yield engine
    finally:
        if engine.process is not None:
            if engine.process.poll() is not None:
                engine.start()  # which ends the containers that outlived it
            engine.stop()
        # An engine that was killed has not undone its mount.
        subprocess.run(["umount", folder / "data"], capture_output=True, check=False)
        shutil.rmtree(folder)
        remove_bridge(engine.bridge)


def make_bridge(name: str) -> None:
    """Make a bridge; `ip` is not installed everywhere."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as kernel:
        fcntl.ioctl(kernel, SIOCBRADDBR, name.encode() + b"\0")


def remove_bridge(name: str) -> None:
    """Remove a bridge, which has to be down for it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as kernel:
        fcntl.ioctl(kernel, SIOCSIFFLAGS, struct.pack("16sH14x", name.encode(), 0))
        fcntl.ioctl(kernel, SIOCBRDELBR, name.encode() + b"\0")


def why_not() -> str | None:
    """Return why there can be no such engine here; None if there can."""
    if os.geteuid() != 0:
        return "needs root to start an engine"
    missing = [name for name in ("dockerd", "gcc") if shutil.which(name) is None]
    return f"needs {' and '.join(missing)}" if missing else None
