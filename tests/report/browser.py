"""Headless Chromium, driven over a pipe by the DevTools protocol: no other program, port or package."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PATIENCE_S = 60.0
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium() -> str | None:
    """Where Chromium is, if it is."""
    return shutil.which("chromium")


class Browser:
    """One page in a Chromium of its own; a context manager. ``complaints``: what the page put on its console."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self.requested: list[str] = []
        self._number = 0
        self._left = b""

    def __enter__(self) -> Browser:
        self._profile = tempfile.mkdtemp()
        to_it, self._to = os.pipe()
        self._from, from_it = os.pipe()
        command = [chromium() or "chromium", *QUIET, "--remote-debugging-pipe", f"--user-data-dir={self._profile}"]
        script = f'exec "$@" 3<&{to_it} 4>&{from_it}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", *command], pass_fds=(to_it, from_it), stderr=subprocess.DEVNULL
        )
        os.close(to_it)
        os.close(from_it)
        target = self._call("Target.createTarget", {"url": "about:blank"}, None)["targetId"]
        self._session = self._call("Target.attachToTarget", {"targetId": target, "flatten": True}, None)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._to)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._from)
        shutil.rmtree(self._profile, ignore_errors=True)

    def on_paper(self) -> None:
        """The open page as it is printed."""
        self.call("Emulation.setEmulatedMedia", {"media": "print"})

    def open(self, file: Path, width: int, height: int = 900, dark: bool = False) -> None:
        """Opens a file in a window of this size, in light or dark; returns when its charts are drawn."""
        self.complaints.clear()
        self.requested.clear()
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", {"media": "", "features": [scheme]})
        self.call("Page.navigate", {"url": file.resolve().as_uri()})
        self.until("document.body?.dataset.drawn === 'yes'")

    def until(self, condition: str) -> None:
        """Waits until an expression is true in the page."""
        poll = f"new Promise(done => {{ const look = () => {condition} ? done(1) : setTimeout(look, 20); look(); }})"
        self.value(poll)

    def value(self, expression: str) -> Any:
        """What an expression, or the promise that it is, comes to in the page."""
        asked = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        found = self.call("Runtime.evaluate", asked)
        if "exceptionDetails" in found:
            raise RuntimeError(json.dumps(found["exceptionDetails"]))
        return found["result"].get("value")

    def screenshot(self, file: Path) -> None:
        """The whole page as PNG."""
        height = self.value("Math.ceil(document.documentElement.scrollHeight)")
        clip = {"x": 0, "y": 0, "width": self.value("innerWidth"), "height": height, "scale": 1}
        found = self.call("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        file.write_bytes(base64.b64decode(found["data"]))

    def print(self, file: Path) -> None:
        """The page as PDF, on A4."""
        paper = {"paperWidth": 8.27, "paperHeight": 11.69, "printBackground": True}
        file.write_bytes(base64.b64decode(self.call("Page.printToPDF", paper)["data"]))

    def call(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """A method of the page's session."""
        return self._call(method, params or {}, self._session)

    def _call(self, method: str, params: Mapping[str, Any], session: str | None) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        self._write({**message, **({"sessionId": session} if session else {})})
        until_s = time.monotonic() + PATIENCE_S
        while True:
            answer = self._read(until_s, method)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self._heard(answer)

    def _write(self, message: Mapping[str, Any]) -> None:
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]

    def _read(self, until_s: float, method: str) -> Any:
        while b"\0" not in self._left:
            ready, _, _ = select.select([self._from], [], [], max(0.0, until_s - time.monotonic()))
            if not ready:
                raise TimeoutError(f"{method} got no answer in {PATIENCE_S:.0f} s")
            read = os.read(self._from, 1 << 20)
            if not read:
                raise RuntimeError(f"Chromium ended during {method}")
            self._left += read
        one, _, self._left = self._left.partition(b"\0")
        return json.loads(one)

    def _heard(self, event: Mapping[str, Any]) -> None:
        params = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(params["exceptionDetails"])[:2000])
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.complaints.append(json.dumps(params["args"])[:2000])
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.complaints.append(json.dumps(params["entry"])[:2000])
            case "Network.requestWillBeSent":
                self.requested.append(params["request"]["url"])
