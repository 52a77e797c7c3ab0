"""The status page in a real browser: it loads clean, lives, and can be read by everybody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from components.browser import console, photograph, shown, wait_for
from psapwatch.web.view import MaintenanceRow
from samples import FAILED, WALL, Desk, attempt, incident, row
from web.web_door import Reached, door

PSAPS: Final = 204
EVIL: Final = '<img src=x onerror="document.title=1"></script>\u202e'
PHONE: Final = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
READABLE: Final = (
    "#headline-text, #counts, #others, .state, .name, .badge, .small, h2, .incident p, a"
)
OnTheLoop = Callable[[Callable[[], None]], None]

CONTRAST_MIN: Final = 4.5
"""WCAG 2.1 AA for text of any size."""

CONTRASTS = """
const parse = (text) => {
  const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
  return [r, g, b, a];
};
const back = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const colour = parse(getComputedStyle(e).backgroundColor);
    if (colour[3] === 1) return colour;
  }
  return [255, 255, 255, 1];
};
const light = ([r, g, b]) => {
  const [x, y, z] = [r, g, b].map((c) => c / 255).map(
    (c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
};
return [...document.querySelectorAll(arguments[0])]
  .filter((e) => e.offsetParent && e.textContent.trim())
  .map((e) => {
    const [one, two] = [light(parse(getComputedStyle(e).color)), light(back(e))];
    const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    return [ratio, e.className + " " + e.textContent.trim().slice(0, 40)];
  })
  .sort((a, b) => a[0] - b[0])[0];
"""


def healthy() -> Desk:
    """Return 204 healthy PSAPs behind two firewalls."""
    rows = [
        row(f"ma-{number:03}", name=f"Town {number} Police", firewall=f"fw-{side}")
        for number, side in ((n, "east" if n % 2 else "west") for n in range(PSAPS))
    ]
    return Desk(rows=rows)


def blocked(desk: Desk) -> None:
    """Let fw-east block everything, and a stranger write the summary of a second incident."""
    desk.rows = [
        row(each.psap, "down", name=each.name, firewall=each.firewall)
        if each.firewall == "fw-east"
        else each
        for each in desk.rows
    ]
    desk.stops = {"ma-001": "unsafe"}
    desk.open = [
        incident(),
        incident(id="i-2", severity="ticket", alertname="Misrouted", scope="psap", summary=EVIL),
    ]


def look(
    desk: Desk, steps: Callable[[Reached, Callable[[Callable[[], None]], None]], None]
) -> None:
    """Open a door and run blocking steps beside it; ``steps`` may have the loop do things."""

    async def run() -> None:
        async with door(desk) as at:
            loop = asyncio.get_running_loop()

            def on_the_loop(action: Callable[[], None]) -> None:
                loop.call_soon_threadsafe(action)

            await asyncio.to_thread(steps, at, on_the_loop)

    asyncio.run(run())


def test_a_healthy_state_loads_without_a_console_error(browser: webdriver.Chrome) -> None:
    """204 tiles in words, a green headline, the live mark, and a silent console."""

    def steps(at: Reached, _on_the_loop: object) -> None:
        browser.get(at.url)
        wait_for(browser, lambda b: shown(b, "live") == "Live")
        assert shown(browser, "headline-text") == "Calls get through"
        assert shown(browser, "counts") == "204 of 204 paths healthy"
        tiles = browser.find_elements(By.CSS_SELECTOR, ".tile")
        assert len(tiles) == PSAPS
        assert {tile.find_element(By.CLASS_NAME, "word").text for tile in tiles} == {"Healthy"}
        assert shown(browser, "no-incidents") == "None is open."
        assert browser.title == "Calls get through \N{EN DASH} psapwatch"
        assert console(browser) == []
        photograph(browser, "status-healthy")

    look(healthy(), steps)


def test_a_block_shows_live_and_goes_again(browser: webdriver.Chrome) -> None:
    """All follows without a reload, and a stranger's words stay text."""
    desk = healthy()

    def steps(at: Reached, on_the_loop: OnTheLoop) -> None:
        def block() -> None:
            blocked(desk)
            for each in desk.rows:
                at.events.path_changed(each)
            at.events.incident_changed(desk.open[0])

        def lift() -> None:
            desk.rows, desk.open, desk.stops = healthy().rows, [], {}
            for each in desk.rows:
                at.events.path_changed(each)
            at.events.incident_changed(incident(closed_at=WALL))

        browser.get(at.url)
        wait_for(browser, lambda b: shown(b, "live") == "Live")
        browser.execute_script("window.sameDocument = true")
        on_the_loop(block)
        wait_for(browser, lambda b: shown(b, "headline-text") == "CALLS BLOCKED through fw-east")
        assert shown(browser, "counts") == "102 of 204 paths healthy"
        assert shown(browser, "others") == "102 down"
        words = [word.text for word in browser.find_elements(By.CSS_SELECTOR, ".tile .word")]
        assert (words.count("Down"), words.count("Healthy")) == (102, 102)
        first, second = browser.find_elements(By.CSS_SELECTOR, "#incidents .incident")
        assert "10 of 10 test calls through fw-east failed" in first.text
        assert "Since Jun 18, 2025" in first.text
        assert "<img src=x onerror=" in second.text
        assert second.text.count("\\u202e") == 1, "the direction override is spelt out"
        assert browser.find_elements(By.CSS_SELECTOR, "#incidents img") == []
        assert browser.title == "CALLS BLOCKED through fw-east \N{EN DASH} psapwatch"
        assert shown(browser, "notes-list") == "Test calls to ma-001 are stopped: unsafe"
        photograph(browser, "status-blocked")
        on_the_loop(lift)
        wait_for(browser, lambda b: shown(b, "headline-text") == "Calls get through")
        assert browser.find_elements(By.CSS_SELECTOR, "#incidents .incident") == []
        assert not browser.find_element(By.ID, "notes").is_displayed()
        same = browser.execute_script("return window.sameDocument")
        assert same is True
        assert console(browser) == []

    look(desk, steps)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_either_scheme_and_on_a_phone(
    browser: webdriver.Chrome, scheme: str
) -> None:
    """WCAG contrast for every text, and no sideways scrolling at 360 pixels."""
    desk = healthy()
    blocked(desk)
    desk.rows[:4] = [
        row(
            f"ma-{at:03}", state, name="Town of Long Names Regional Emergency Communications Center"
        )
        for at, state in enumerate(("unknown", "suspect", "degraded", "muted"))
    ]
    desk.windows = [MaintenanceRow("firewall", "fw-west", WALL, "CHG-123")]
    features = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}

    def steps(at: Reached, _on_the_loop: object) -> None:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", features)
        try:
            browser.get(at.url)
            wait_for(browser, lambda b: shown(b, "live") == "Live")
            worst = browser.execute_script(CONTRASTS, READABLE)
            assert worst[0] >= CONTRAST_MIN, worst
            photograph(browser, f"status-{scheme}")
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
            for url in ("/", "/psaps/ma-001", "/incidents/i-1"):
                browser.get(at.url + url)
                wide = browser.execute_script(
                    "return [document.documentElement.scrollWidth, window.innerWidth]"
                )
                assert wide == [PHONE["width"], PHONE["width"]], url
                photograph(browser, f"phone-{scheme}{url.replace('/', '-')}")
            assert console(browser) == []
        finally:
            browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    look(desk, steps)


def test_a_keyboard_reaches_and_filters_everything(browser: webdriver.Chrome) -> None:
    """Skip link first; the filter hides what is healthy; a tile opens with Enter."""
    desk = healthy()
    desk.rows[5] = row("ma-005", "down", name="Town 5 Police")
    desk.attempts = {"a-1": (attempt(), FAILED)}

    def steps(at: Reached, _on_the_loop: object) -> None:
        browser.get(at.url)
        wait_for(browser, lambda b: shown(b, "live") == "Live")
        body = browser.find_element(By.TAG_NAME, "body")
        body.send_keys(Keys.TAB)
        assert browser.switch_to.active_element.text == "Skip to content"
        browser.switch_to.active_element.send_keys(Keys.ENTER)
        browser.switch_to.active_element.send_keys(Keys.TAB)
        assert browser.switch_to.active_element.get_attribute("id") == "find"
        browser.switch_to.active_element.send_keys("town 5 police")
        tiles = browser.find_elements(By.CSS_SELECTOR, ".tile")
        assert [tile.text.splitlines()[0] for tile in tiles if tile.is_displayed()] == [
            "Town 5 Police"
        ]
        browser.find_element(By.ID, "find").clear()
        problems = browser.find_element(By.ID, "problems")
        problems.send_keys(Keys.SPACE)
        left = [tile for tile in tiles if tile.is_displayed()]
        assert [tile.text.splitlines()[0] for tile in left] == ["Town 5 Police"]
        left[0].send_keys(Keys.ENTER)
        wait_for(browser, lambda b: b.find_element(By.TAG_NAME, "h1").text == "Town 5 Police")
        assert "Last pass of keepalive" in browser.find_element(By.TAG_NAME, "main").text
        assert console(browser) == []
        photograph(browser, "psap")

    look(desk, steps)


def test_a_screen_reader_finds_landmarks_and_states(browser: webdriver.Chrome) -> None:
    """The accessibility tree has the landmarks, and each tile's name says its state in words."""
    desk = healthy()
    blocked(desk)

    def steps(at: Reached, _on_the_loop: object) -> None:
        browser.get(at.url)
        wait_for(browser, lambda b: shown(b, "live") == "Live")
        tree = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        nodes = [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in tree
            if not node["ignored"]
        ]
        roles = {role for role, _name in nodes}
        assert {"banner", "main", "contentinfo", "navigation", "region", "status"} <= roles
        regions = {name for role, name in nodes if role == "region"}
        assert {"Open incidents 2", "Through fw-east 0 of 102 paths healthy"} <= regions
        links = [name for role, name in nodes if role == "link" and name.startswith("Town")]
        assert len(links) == PSAPS
        assert all(name.endswith((" Healthy", " Down")) for name in links), links[0]
        assert not any("✕" in name or "✓" in name for name in links)

    look(desk, steps)


def test_a_page_that_hears_nothing_says_so(browser: webdriver.Chrome) -> None:
    """When the daemon is gone, the page stops pretending to be live."""
    pages: list[str] = []

    def steps(at: Reached, _on_the_loop: object) -> None:
        browser.get(at.url)
        wait_for(browser, lambda b: shown(b, "live") == "Live")
        pages.append(at.url)

    look(healthy(), steps)  # the door closes behind us
    wait_for(browser, lambda b: shown(b, "live").startswith("No word from psapwatch"))
    assert browser.find_element(By.TAG_NAME, "body").get_attribute("data-lost") is not None
    photograph(browser, "status-lost")
    browser.get("about:blank")
    console(browser)  # refused connections are what this test made
