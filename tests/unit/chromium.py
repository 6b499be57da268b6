"""A headless Chromium that opens a page and is asked about it, over its own debugging protocol."""

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import websocket

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
START_S, ANSWER_S = 60.0, 60.0
# By name: the code of a key, and what it types.
KEYS = {
    "Tab": (9, ""),
    "Enter": (13, "\r"),
    "ArrowRight": (39, ""),
    "ArrowDown": (40, ""),
    "End": (35, ""),
}


def find_chromium() -> str:
    """The program. Where CI is set its absence is a failure: no test may go missing there."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        said = f"needs a Chromium: none of {', '.join(NAMES)} is on PATH"
        if os.environ.get("CI"):
            pytest.fail(said)
        pytest.skip(said)
    return found


class Page:
    """One tab. `errors` is what its console and its scripts complained of, `asked_for` what it fetched."""

    def __init__(self, address: str) -> None:
        self._socket = websocket.create_connection(address, timeout=ANSWER_S, suppress_origin=True)
        self._count = 0
        self.errors: list[str] = []
        self.asked_for: list[str] = []
        self._loaded = False
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """One command and its answer."""
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "method": method, "params": params}))
        while True:
            found = json.loads(self._socket.recv())
            if found.get("id") == self._count:
                assert "error" not in found, found
                return dict(found["result"])
            self._heard(found)

    def _heard(self, event: dict[str, Any]) -> None:
        method, params = event.get("method"), event.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"])[:500])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.errors.append(json.dumps(params["args"])[:500])
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.asked_for.append(params["request"]["url"])

    def open(self, file: Path, *, width: int = 900, height: int = 900, dark: bool = False) -> None:
        """Open a file at that width in CSS pixels, and wait until it is there."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self._loaded = False
        self.send("Page.navigate", url=file.resolve().as_uri())
        deadline = time.monotonic() + ANSWER_S
        while not self._loaded:
            assert time.monotonic() < deadline, "the page did not load"
            self.ask("1")

    def ask(self, script: str) -> Any:
        """The value of an expression; a promise is waited for."""
        found = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def resize(self, width: int, height: int = 900) -> None:
        """Give the open page another width in CSS pixels, and wait until it is laid out anew."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        self.ask("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press a key and let go of it, as a keyboard does: a name of KEYS."""
        code, text = KEYS[key]
        pressed = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": 8 * shift}
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **pressed)
        self.send("Input.dispatchKeyEvent", type="keyUp", **pressed)

    def close(self) -> None:
        """Let go of the tab."""
        self._socket.close()


@contextmanager
def open_browser(folder: Path) -> Iterator[Page]:
    """A browser with a profile of its own in `folder`, gone at the end."""
    command = [
        *(find_chromium(), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *(
            "--remote-debugging-port=0",
            "--no-first-run",
            "--disable-extensions",
            "--disable-background-networking",
        ),
        *(f"--user-data-dir={folder}", "about:blank"),
    ]
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            page = Page(_address(folder / "DevToolsActivePort", child))
            yield page
            page.close()
        finally:
            child.terminate()
            child.wait(20)


def _address(file: Path, child: "subprocess.Popen[bytes]") -> str:
    """Of the first tab; the port is in a file once the browser listens."""
    deadline = time.monotonic() + START_S
    while not (file.exists() and file.read_text().count("\n")):
        assert child.poll() is None, f"chromium ended: {(file.parent / 'log').read_text()[-500:]}"
        assert time.monotonic() < deadline, "chromium did not start to listen"
        time.sleep(0.05)
    port = file.read_text().split("\n")[0]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=ANSWER_S) as answer:
        tabs = json.load(answer)
    return str(next(one["webSocketDebuggerUrl"] for one in tabs if one["type"] == "page"))
