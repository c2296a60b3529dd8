"""A browser without a window for tests of pages: chromium, driven by selenium.

What it asks of other machines ends in a proxy of ours, which answers nothing and remembers who was asked.

A test marked with `needs_browser` asks for the fixture `browser`, which `conftest.py` hands to every module: one
browser for all tests of a process.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import shutil
import socketserver
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

#: What the two programs are called: by Debian, by others, and where Debian puts them beside the path.
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "/usr/lib/chromium/chromium")
DRIVERS = ("chromedriver", "/usr/lib/chromium/chromedriver")
#: No sandbox for root, no shared memory that a container lacks, nothing asked of the network by the browser itself.
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
)
#: Whom the browser asks by itself, whatever it is told.
OWN = ("google.com", "googleapis.com", "gstatic.com", "gvt1.com", "googleusercontent.com")
#: Seconds within which a page has to load and a script has to end.
PATIENCE = 120
#: Makes modules of their texts, the first one first, and calls a function that is given them by name.
RUN = """
const [sources, script, given, done] = arguments;
(async () => {
  const urls = {}, modules = {};
  for (const [name, source] of sources) {
    let text = source;
    for (const [other, url] of Object.entries(urls)) text = text.replaceAll(`./${other}.js`, url);
    urls[name] = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
    modules[name] = await import(urls[name]);
  }
  const AsyncFunction = (async () => {}).constructor;
  const run = new AsyncFunction(...Object.keys(modules), "given", script);
  return JSON.stringify((await run(...Object.values(modules), JSON.parse(given))) ?? null);
})().then((text) => done({ text }), (error) => done({ error: String(error?.stack ?? error) }));
"""


def _found(programs: tuple[str, ...]) -> str | None:
    return next((path for path in map(shutil.which, programs) if path), None)


def _missing() -> str:
    """What there is no browser without, in words; empty where all is there."""
    lacks = {
        "chromium": _found(BROWSERS) is None,
        "chromedriver (Debian: chromium-driver)": _found(DRIVERS) is None,
        "selenium": importlib.util.find_spec("selenium") is None,
    }
    return ", ".join(name for name, missing in lacks.items() if missing)


needs_browser = pytest.mark.skipif(bool(_missing()), reason=f"needs a browser, and lacks {_missing()}")


class Nowhere(socketserver.ThreadingTCPServer):
    """A proxy behind which there is nothing."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Refusal)
        #: The machines that were asked for.
        self.hosts: list[str] = []


class Refusal(socketserver.StreamRequestHandler):
    """What is answered to a request, `CONNECT host:port` or `GET http://host/path`."""

    server: Nowhere

    def handle(self) -> None:
        """Remember the host, and refuse."""
        line = self.rfile.readline().decode("latin-1").split()
        if len(line) < 2:
            return  # A connection made before anything is asked.
        asked = line[1]
        self.server.hosts.append(urlsplit(asked if "//" in asked else f"//{asked}").hostname or asked)
        self.wfile.write(b"HTTP/1.1 502 nowhere\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


class Browser:
    """One window, and what has happened in it since the last page was opened."""

    def __init__(self, profile: Path, proxy: Nowhere) -> None:
        from selenium.webdriver import Chrome, ChromeOptions, ChromeService

        options = ChromeOptions()
        options.binary_location = _found(BROWSERS) or ""
        self._proxy = proxy
        for flag in (*FLAGS, f"--user-data-dir={profile}", f"--proxy-server=127.0.0.1:{proxy.server_address[1]}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        #: For what has no word here: elements, clicks, keys.
        self.driver = Chrome(options, ChromeService(_found(DRIVERS)))
        self.driver.set_script_timeout(PATIENCE)
        self.driver.set_page_load_timeout(PATIENCE)
        self._requests: list[str] = []
        self._console: list[dict[str, Any]] = []

    def open(self, page: Path | str) -> None:
        """Open a file, or an address, in the usual light window, with a record that starts here."""
        self.emulate()
        self.driver.get("about:blank")
        self._read()
        self._requests, self._console = [], []
        self._proxy.hosts.clear()
        self.driver.get(page.absolute().as_uri() if isinstance(page, Path) else page)

    def emulate(self, *, dark: bool = False, printed: bool = False, width: int = 1280, height: int = 800) -> None:
        """Look at the page as a reader does who likes it dark, prints it, or has a window of this size in pixels."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        media = {"media": "print" if printed else "screen", "features": [scheme, still]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def js(self, script: str, *given: Any) -> Any:
        """What a script returns that runs in the page, where `arguments` are those given."""
        return self.driver.execute_script(script, *given)

    def run_modules(self, sources: Mapping[str, str], script: str, given: Any = None) -> Any:
        """What the body of an async function returns, run on an empty page, through JSON: nan comes back as None.

        Args:
            sources: Texts of ES modules by name, of which a later one may import `./name.js` of an earlier one.
            script: Sees the modules by their names, and `given`.
            given: What JSON can say.
        """
        self.open("about:blank")
        text = json.dumps(given, allow_nan=False)
        answer = self.driver.execute_async_script(RUN, list(sources.items()), script, text)
        assert "error" not in answer, answer["error"]
        return json.loads(answer["text"])

    def wait(self, script: str) -> None:
        """Until a script returns what is true; a TimeoutException where it does not within `PATIENCE`."""
        from selenium.webdriver.support.wait import WebDriverWait

        WebDriverWait(self.driver, PATIENCE, 0.02).until(lambda _: self.js(script))

    def requests(self) -> list[str]:
        """The addresses that the page has asked for, itself first; those of its own memory (data, blob) left out.

        Of the page and its frames: what a worker asks for is told by `hosts` alone.
        """
        self._read()
        return [url for url in self._requests if not url.startswith(("data:", "blob:", "about:"))]

    def hosts(self) -> list[str]:
        """Other machines that anything in the browser has asked for, workers too, and not the browser by itself."""
        return [host for host in self._proxy.hosts if not host.endswith(OWN)]

    def console(self, level: str = "SEVERE") -> list[str]:
        """What the console says at a level: errors of scripts, of loading, and of the page's own rules."""
        self._read()
        return [entry["message"] for entry in self._console if entry["level"] == level]

    def _read(self) -> None:
        """Take what the logs say, which they say once."""
        for entry in self.driver.get_log("performance"):
            event = json.loads(entry["message"])["message"]
            if event["method"] == "Network.requestWillBeSent":
                self._requests.append(event["params"]["request"]["url"])
        self._console += self.driver.get_log("browser")

    def screenshot(self, path: Path) -> Path:
        """A picture of the whole page as a PNG."""
        taken = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
        path.write_bytes(base64.b64decode(taken["data"]))
        return path


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The browser of this process, which starts with the first test that asks for it."""
    with Nowhere() as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        window = Browser(tmp_path_factory.mktemp("profile"), proxy)
        try:
            yield window
        finally:
            window.driver.quit()
            proxy.shutdown()
