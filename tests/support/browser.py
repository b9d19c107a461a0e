"""A real browser without a window: Chromium, where this machine has it and its driver. The standard library is all that
is needed to speak to them, by the WebDriver protocol (https://www.w3.org/TR/webdriver2/)."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
_START_S, _ANSWER_S = 30, 60
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key of an element's reference, fixed by the protocol


def missing() -> str:
    """What this machine lacks for a browser; empty where there is one."""
    if not any(map(shutil.which, _BROWSERS)):
        return "no Chromium (Debian's package is chromium)"
    return "" if shutil.which("chromedriver") else "no chromedriver (Debian's package is chromium-driver)"


class Browser:
    """One window. Places are CSS selectors."""

    def __init__(self, address: str) -> None:
        binary = next(found for name in _BROWSERS if (found := shutil.which(name)))
        self._address = address
        self._folder = tempfile.mkdtemp(prefix="dnnc-browser-")
        wanted = {
            "goog:chromeOptions": {"binary": binary, "args": [*_FLAGS, f"--user-data-dir={self._folder}"]},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        session = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._address += f"/session/{session['sessionId']}"

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._address + path, data, {"Content-Type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=_ANSWER_S) as answer:
            return json.load(answer)["value"]

    def close(self) -> None:
        self._ask("DELETE", "")
        shutil.rmtree(self._folder, ignore_errors=True)

    def open(self, page: Path) -> None:
        self._ask("POST", "/url", {"url": page.resolve().as_uri()})

    def show(self, width: int, height: int, *, dark: bool = False) -> None:
        """As on a screen of this size, by a reader who prefers light or dark."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._command("Emulation.setDeviceMetricsOverride", screen)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._command("Emulation.setEmulatedMedia", {"features": [scheme]})

    def _command(self, name: str, parameters: dict[str, Any]) -> Any:
        return self._ask("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def evaluate(self, script: str) -> Any:
        """What a function body in JavaScript returns."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": []})

    def _element(self, place: str) -> str:
        return str(self._ask("POST", "/element", {"using": "css selector", "value": place})[_ELEMENT])

    def click(self, place: str) -> None:
        self._ask("POST", f"/element/{self._element(place)}/click", {})

    def type(self, place: str, text: str) -> None:
        self._ask("POST", f"/element/{self._element(place)}/value", {"text": text})

    def point_at(self, place: str) -> None:
        """Move the pointer to the middle of an element."""
        origin = {_ELEMENT: self._element(place)}
        move = {"type": "pointerMove", "duration": 0, "x": 0, "y": 0, "origin": origin}
        mouse = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": [move]}
        self._ask("POST", "/actions", {"actions": [mouse]})

    def console(self) -> list[str]:
        """What the page and the browser have complained about since the last call."""
        return [f"{each['level']}: {each['message']}" for each in self._ask("POST", "/se/log", {"type": "browser"})]

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """A screenshot as PNG: of what is on the screen, or of the whole page."""
        found = self._command("Page.captureScreenshot", {"captureBeyondViewport": whole})
        path.write_bytes(base64.b64decode(found["data"]))


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser that ends with the block. Requires that nothing is `missing`."""
    command = ["chromedriver", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as driver:
        try:
            window = Browser(f"http://127.0.0.1:{_port(driver)}")
            try:
                yield window
            finally:
                window.close()
        finally:
            driver.terminate()


def _port(driver: subprocess.Popen[str]) -> int:
    """The port that the driver says it has chosen."""
    assert driver.stdout is not None
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        if found := re.search(r"successfully on port (\d+)", driver.stdout.readline()):
            return int(found[1])
    raise TimeoutError("chromedriver did not say its port")
