"""A real Chromium at the dashboard: logged in as somebody, on a desk or a phone, and with everything that its console was told."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DESK, PHONE = (1280, 900), (375, 720)
#: Without these it asks its maker's hosts for updates.
ALONE = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run"]
#: Asked once, as a function: a page's policy refuses the text that `wait_for_function` asks again and again.
PAINT = """() => new Promise((painted) => {
    new PerformanceObserver((list) => list.getEntries()
        .filter((entry) => entry.name === "first-contentful-paint").forEach((entry) => painted(entry.startTime)),
    ).observe({type: "paint", buffered: true})
})"""


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ALONE)
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """A person at the dashboard. What goes wrong in the browser is collected in `wrong`."""

    def __init__(self, browser: Browser, url: str, size: tuple[int, int] = DESK, scheme: str = "light") -> None:
        width, height = size
        self.context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, base_url=url)
        self.page: Page = self.context.new_page()
        self.wrong: list[str] = []
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", lambda line: self.wrong.append(line.text) if line.type in ("error", "warning") else None)

    def log_in(self, key: str) -> Visit:
        self.page.goto("/login")
        self.page.get_by_label("API key").fill(key)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url("**/")
        return self

    def open(self, path: str) -> Page:
        """The page once its chart, where it has one, is drawn."""
        self.page.goto(path)
        if self.page.locator("#canvas").count():
            self.page.wait_for_selector("#chart[data-drawn]")
        return self.page

    def sideways(self) -> int:
        """Pixels by which the page is wider than the window."""
        found: int = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return found

    def first_paint_ms(self) -> float:
        """Once there is one: a page may be loaded before it is painted."""
        found: float = self.page.evaluate(PAINT)
        return found

    def picture(self, name: str, folder: Path) -> None:
        """Into the folder that FLEETCAST_SCREENSHOTS names, else into this one."""
        place = Path(os.environ.get("FLEETCAST_SCREENSHOTS") or folder)
        place.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=place / f"{name}.png", full_page=True)
        assert (place / f"{name}.png").stat().st_size > 5_000
