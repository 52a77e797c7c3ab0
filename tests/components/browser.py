"""A real browser without a window: Chromium, driven by selenium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

WITHIN_S: Final = 60.0
ARGUMENTS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1300,900",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)


def installed(name: str, package: str) -> str:
    """Return where a program is; a missing one fails and names its package."""
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is missing: install {package} (scripts/system-packages does)")
    return found


@contextmanager
def open_browser(profile: Path) -> Iterator[webdriver.Chrome]:
    """Start a headless Chromium with a profile of its own, and end it."""
    options = Options()
    options.binary_location = installed("chromium", "chromium")
    for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = Service(installed("chromedriver", "chromium-driver"))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield driver
    finally:
        driver.quit()


def console(browser: webdriver.Chrome) -> list[str]:
    """Return what the console says above information."""
    said: list[dict[str, Any]] = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [line["message"] for line in said if line["level"] in ("SEVERE", "WARNING")]


def wait_for(browser: webdriver.Chrome, found: Callable[[webdriver.Chrome], object]) -> None:
    """Wait until the page has come so far."""
    WebDriverWait(browser, WITHIN_S, 0.05).until(found)


def shown(browser: webdriver.Chrome, element_id: str) -> str:
    """Return the text of an element."""
    return browser.find_element(By.ID, element_id).text


def photograph(browser: webdriver.Chrome, name: str, *, without: str = "") -> None:
    """Keep a picture where PSAPWATCH_SCREENSHOTS says; ``without`` selects what is not on it."""
    folder = os.environ.get("PSAPWATCH_SCREENSHOTS")
    if folder:
        script = "document.querySelectorAll(arguments[0]).forEach((e) => e.hidden = arguments[1])"
        browser.execute_script(script, without or "#nothing", True)
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))
        browser.execute_script(script, without or "#nothing", False)
