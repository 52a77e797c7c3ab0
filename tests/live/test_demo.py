"""``psapwatch demo`` as people start it: the fast story, the buttons in a browser, the end."""

from __future__ import annotations

import math
import signal
from pathlib import Path
from typing import Any, Final

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from components.browser import console, photograph, shown, wait_for
from components.daemon import PROGRAM
from components.inbox import fetch
from components.ports import free_port
from components.pressing import Press, ask, lift, press, wait_until_well
from components.process import Bench, Running
from components.waiting import PATIENCE, until
from psapwatch.demo.block import KINDS

FAST_WITHIN_S: Final = 30.0
HEALTHY_WITHIN_S: Final = 60.0
READ_WITHIN_S: Final = 15.0
"""After a press; ``make presses`` measures it."""
END_WITHIN_S: Final = 5.0
TOWN_WITHIN_S: Final = 60.0
"""Each town is called every 4 s; a page of its own takes longer on a busy machine."""
ONE_OF_EACH: Final = (
    Press("fw-east", "refuse", "Bristol"),
    Press("fw-west", "options", "Hampden"),
    Press("fw-east", "answers", "Plymouth"),
    Press("fw-west", "all", "Franklin"),
    Press("fw-west", "invite", "ma-lee"),
)
assert {button.kind for button in ONE_OF_EACH} == KINDS.keys()


def start(bench: Bench, *arguments: str) -> tuple[Running, str]:
    """Start a demo on a free port; returns it and where its page is."""
    port = free_port()
    log = bench.new_folder("logs") / "demo.json"
    argv = [str(PROGRAM), "demo", *arguments, "--listen", f"127.0.0.1:{port}", "--log", str(log)]
    return bench.start("demo", argv), f"http://127.0.0.1:{port}"


def status(url: str) -> dict[str, Any]:
    """Return what the daemon says now."""
    found: dict[str, Any] = fetch(f"{url}/api/v1/status").json()
    return found


@pytest.mark.timeout(300)
def test_the_fast_story_goes_well(bench: Bench) -> None:
    """One page, in time, right scope and cause, recovery seen: only then the exit code is 0."""
    demo, _url = start(bench, "--fast")
    until(lambda: demo.exit_code is not None, FAST_WITHIN_S, "the story ends")
    assert demo.exit_code == 0, demo.output
    for said in ("BLOCKED", "KNOWN", "PAGED", "LIFTED", "OVER", "RESOLVED", "75 min"):
        assert said in demo.output
    assert "0 test calls left open by psapwatch, 0 open at the answering points" in demo.output


@pytest.mark.timeout(400)
def test_a_person_presses_a_button_and_reads_a_true_alert(
    bench: Bench, browser: webdriver.Chrome
) -> None:
    """204 healthy paths within a minute; a blocked INVITE is on the page as what it is."""
    demo, url = start(bench, "--endless")
    demo.wait_until(lambda: fetch(f"{url}/-/ready").status == 200, "is ready", 20)
    browser.get(url)
    WebDriverWait(browser, PATIENCE * HEALTHY_WITHIN_S, 0.1).until(
        lambda page: shown(page, "counts") == "204 of 204 paths healthy"
    )
    photograph(browser, "demo-healthy")
    button = '[data-firewall-buttons="fw-east"] [data-kind="invite"]'
    browser.find_element(By.CSS_SELECTOR, button).click()
    wait_for(browser, lambda page: "CALLS BLOCKED through fw-east" in shown(page, "headline-text"))
    wait_for(browser, lambda page: "CallsBlocked firewall fw-east" in shown(page, "demo-told"))
    assert "invite blocked" in shown(browser, "incidents")
    assert "OPTIONS still pass" in shown(browser, "incidents")
    assert "packets stopped" in shown(browser, "demo-blocks")
    assert console(browser) == []
    photograph(browser, "demo-blocked")
    incidents = status(url)["incidents"]
    assert [(each["scope"], each["member"]) for each in incidents] == [("firewall", "fw-east")]
    [town, *_more] = until(lambda: _towns_that_failed(status(url)), TOWN_WITHIN_S, "a town fails")
    browser.get(f"{url}/psaps/{town}")
    for said in ("Last failure of test-call", "Last pass of test-call"):
        assert said in browser.find_element(By.TAG_NAME, "main").text
    photograph(browser, "town-blocked")
    browser.get(url)
    wait_for(browser, lambda page: "packets stopped" in shown(page, "demo-blocks"))
    photograph(browser, "status-blocked", without="#demo")
    browser.find_element(By.CSS_SELECTOR, "#demo-blocks button").click()
    wait_for(browser, lambda page: "everything passes" in shown(page, "demo-nothing"))
    _ends_well(demo)


@pytest.mark.timeout(400)
def test_a_button_of_each_kind_is_told_alone_as_what_it_is(bench: Bench) -> None:
    """Each after the other, without lifting: five failures in five places are five alerts."""
    demo, url = start(bench, "--endless")
    demo.wait_until(lambda: fetch(f"{url}/-/ready").status == 200, "is ready", 20)
    wait_until_well(url, HEALTHY_WITHIN_S)
    for button in ONE_OF_EACH:
        read = press(url, button, PATIENCE * READ_WITHIN_S)
        assert math.isfinite(read.read_s), f"{button}: {read}"
    told = ask(f"{url}/demo/state")["told"]
    assert [(each["severity"], each["alertname"], each["where"]) for each in reversed(told)] == [
        button.told for button in ONE_OF_EACH
    ]
    assert lift(url) == len(ONE_OF_EACH), "a firewall stopped nothing"
    demo.kill()


@pytest.mark.timeout(300)
def test_the_end_in_mid_outage_leaves_no_open_call(bench: Bench) -> None:
    """Ctrl-C while answers are lost: the towns know that their calls are over."""
    demo, url = start(bench, "--endless")
    demo.wait_until(lambda: fetch(f"{url}/-/ready").status == 200, "is ready", 20)
    fetch(f"{url}/demo/block", body={"firewall": "fw-west", "kind": "answers"})
    until(lambda: status(url)["incidents"], 20, "an incident opens")
    _ends_well(demo)


def test_a_port_that_is_taken_is_named(bench: Bench) -> None:
    """One line that says which, and what to do; exit code 1."""
    first, url = start(bench, "--endless")
    first.wait_until(lambda: fetch(f"{url}/-/ready").status == 200, "is ready", 20)
    taken = url.removeprefix("http://")
    second = bench.start("second", [str(PROGRAM), "demo", "--fast", "--listen", taken])
    until(lambda: second.exit_code is not None, 15, "the second demo ends")
    assert second.exit_code == 1
    assert f"cannot start on {taken}" in second.output
    assert "--listen" in second.output
    assert "Traceback" not in second.output
    first.kill()


def _towns_that_failed(told: dict[str, Any]) -> list[str]:
    """Towns to which a test call got through, and a later one did not."""
    return [
        path["psap"]
        for path in told["paths"]
        for check in path["checks"]
        if check["check"] == "test-call" and check["last_failure"] and check["last_pass"]
    ]


def _ends_well(demo: Running) -> None:
    assert demo.end(END_WITHIN_S, by=signal.SIGINT) == 0, demo.output
    assert "0 test calls left open by psapwatch, 0 open at the answering points" in demo.output
    assert Path(demo.log).read_text(encoding="utf-8").count("Traceback") == 0
