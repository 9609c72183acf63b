"""A browser as the tests of the page use it."""

import json
import shutil
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import ElementClickInterceptedException, WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.remote.webelement import WebElement

ROOT = Path(__file__).resolve().parents[2]
MISSING = "Chromium is not installed: apt-get install chromium chromium-driver"
PATIENCE_SECONDS = 60.0
"""Of machines that are busy with other tests."""
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # containers have no user namespaces, and run as root
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    # No name but this machine's is ever looked up.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
LOGS = {"browser": "ALL", "performance": "ALL"}
FOLLOW = """
window.seen = [];
const audio = document.getElementById("audio");
const look = () => {
  if (audio.paused) return;
  seen.push([audio.currentTime, document.querySelector(".word.heard")?.textContent ?? null]);
  requestAnimationFrame(look);
};
audio.addEventListener("playing", () => requestAnimationFrame(look), { once: true });
"""
MEDIA = "Emulation.setEmulatedMedia"
METRICS = "Emulation.setDeviceMetricsOverride"


@dataclass
class Browser:
    """A page, and what a reader does with it."""

    driver: webdriver.Chrome
    downloads: Path

    def desk(self) -> None:
        """As wide as a desk's screen."""
        self._size(1200, 900, 1, mobile=False)

    def phone(self) -> None:
        """As narrow as a small telephone."""
        self._size(360, 740, 2, mobile=True)

    def media(self, **features: str) -> None:
        """What the reader prefers, such as prefers_color_scheme='dark'."""
        asked = [{"name": k.replace("_", "-"), "value": v} for k, v in features.items()]
        self.driver.execute_cdp_cmd(MEDIA, {"features": asked})

    def open(self, url: str) -> None:
        """Open the page, and wait until it has met its server."""
        self.driver.get(url)
        asked = "document.getElementById('key-dialog').open"
        told = "/Ready|no model/.test(document.getElementById('server').textContent)"
        failed = "!document.getElementById('notice').hidden"
        self.wait(lambda: self.run(f"return {asked} || {told} || {failed}"))

    def leave(self) -> None:
        """Close the page; what it is busy with ends, and what the reader prefers is forgotten."""
        self.media()
        # A page with corrections asks whether it may be left; nobody is there to answer.
        self.run("addEventListener('beforeunload', (event) => event.stopImmediatePropagation(), "
                 "{ capture: true })")  # fmt: skip
        self.driver.get("about:blank")

    def give(self, *paths: Path) -> None:
        """Choose files."""
        self.driver.find_element("id", "files").send_keys("\n".join(map(str, paths)))

    def choose(self, name: str, value: str) -> None:
        """Choose a task, or one of a list."""
        self.run(
            "const [name, value] = arguments; const field = document.forms.choices.elements[name];"
            "if (field instanceof RadioNodeList)"
            "  document.querySelector(`[name=${name}][value=${value}]`).click();"
            "else { field.value = value;"
            "  field.dispatchEvent(new Event('change', {bubbles: true})); }",
            name, value,
        )  # fmt: skip

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns."""
        return self.driver.execute_script(script, *arguments)

    def import_and(self, module: str, body: str, *arguments: Any) -> Any:
        """What a script returns that has a module of the page as `page`."""
        script = (
            "const done = arguments[arguments.length - 1];"
            f"import('/page/{module}').then(async (page) => {{ {body} }})"
            ".then(done, (error) => done({ failed: String(error) }));"
        )
        found = self.driver.execute_async_script(script, *arguments)
        assert not (isinstance(found, dict) and "failed" in found), found
        return found

    def all(self, selector: str) -> list[WebElement]:
        """The elements that fit."""
        return self.driver.find_elements("css selector", selector)

    def one(self, selector: str) -> WebElement:
        """The element that fits."""
        return self.driver.find_element("css selector", selector)

    def press(self, selector: str, place: int = 0) -> None:
        """Click on an element that fits, once it stands still: a row that comes into sight gets its
        height only then, and moves what is near."""

        def pressed() -> bool:
            try:
                self.all(selector)[place].click()
            except ElementClickInterceptedException:
                return False
            return True

        self.wait(pressed)

    def text(self, selector: str) -> str:
        """What an element says, whether it is in sight or not."""
        return self.run("return document.querySelector(arguments[0]).textContent", selector).strip()

    def texts(self, task: str = "transcribe") -> list[str]:
        """The passages of a text."""
        return self.run(
            "return Array.from(document.querySelectorAll(`#rows [data-task=${arguments[0]}]`), "
            "(p) => Array.from(p.childNodes).filter((n) => !n.classList?.contains('unseen'))"
            ".map((n) => n.textContent).join('').trim())",
            task,
        )

    def shown(self, selector: str) -> bool:
        """Whether an element is in sight."""
        return self.one(selector).is_displayed()

    def follow(self) -> None:
        """Once something is heard, note in `seen` the seconds, and the marked word, of every
        picture of the screen."""
        self.run(FOLLOW)

    def state(self) -> str:
        """Of the recording that is open."""
        return self.run("return document.getElementById('recording').dataset.state ?? ''")

    def finish(self) -> None:
        """Wait until the recording that is open is through."""
        self.wait(lambda: self.state() in ("done", "failed", "stopped"))

    def wait(self, is_so: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
        """Wait until something is so; fails where it never is."""
        end = time.monotonic() + seconds
        while not (found := is_so()):
            assert time.monotonic() < end, f"not so within {seconds} s; {self.complaints()}"
            time.sleep(0.02)
        return found

    def complaints(self) -> list[str]:
        """What the browser says went wrong, but for refusals by the server and for what a test
        reads of a picture, which it lists too."""
        entries = [entry["message"] for entry in self.driver.get_log("browser")]
        usual = ("Failed to load resource", "willReadFrequently")
        return [entry for entry in entries if not any(words in entry for words in usual)]

    def addresses(self) -> set[str]:
        """Everything that was asked for since the last call."""
        found = set()
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.add(message["params"]["request"]["url"])
            if message["method"] == "Network.webSocketCreated":
                found.add(message["params"]["url"])
        return found

    def drawn(self) -> None:
        """Wait for two pictures of the screen."""
        self.driver.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))"
        )

    def picture(self, path: Path) -> None:
        """A picture of the whole page."""
        size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        asked = {"captureBeyondViewport": True, "clip": clip}
        found = self.driver.execute_cdp_cmd("Page.captureScreenshot", asked)
        path.write_bytes(b64decode(found["data"]))

    def _size(self, width: int, height: int, scale: int, *, mobile: bool) -> None:
        asked = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": mobile}
        self.driver.execute_cdp_cmd(METRICS, asked)


def programs() -> tuple[str, str] | None:
    """Chromium and its driver; None where one of them is missing."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    return (chromium, driver) if chromium and driver else None


@contextmanager
def opened(found: tuple[str, str], downloads: Path, microphone: Path) -> Iterator[Browser]:
    """A browser while it runs, of the `programs` that were found."""
    chromium, driver = found
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--use-file-for-fake-audio-capture={microphone}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", LOGS)
    browser = webdriver.Chrome(options=options, service=Service(driver))
    try:
        browser.set_script_timeout(60)
        where = {"behavior": "allow", "downloadPath": str(downloads)}
        browser.execute_cdp_cmd("Browser.setDownloadBehavior", where)
        yield Browser(browser, downloads)
    finally:
        try:
            browser.quit()
        except WebDriverException as error:
            print(f"Chromium was gone already: {error.msg}")
