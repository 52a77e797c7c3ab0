"""The pages as HTML: complete, escaped, and self-contained."""

from __future__ import annotations

import asyncio
import re
from html.parser import HTMLParser

from psapwatch.evidence import Packet
from psapwatch.sinks.alertmanager import LABELS
from psapwatch.verdict import Cause, Outcome, Plane, Verdict
from psapwatch.web.view import CheckRow
from samples import FAILED, LEG, OK_TEXT, WALL, Desk, attempt, incident, row
from web.web_door import door

EVIL = '</script><img src=x onerror="alert(1)"> \u202e\x1b[31m'


URLS = (
    *("/", "/psaps/evil", "/psaps/ma-boston", "/incidents/i-1"),
    *("/attempts/a-2", "/runbooks/README"),
)


def page(url: str, desk: Desk, params: dict[str, str] | None = None) -> str:
    """GET a page, by way of what it redirects to."""

    async def run() -> str:
        async with door(desk) as at, at.http.get(url, params=params) as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
            return await answer.text()

    return asyncio.run(run())


class Balanced(HTMLParser):
    """Fails on tags that do not nest, and remembers ids and addresses."""

    VOID = frozenset({"meta", "link", "img", "br", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), f"an inline handler on {tag}"
            assert name != "style", f"an inline style on {tag}"
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src"):
                self.addresses.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        """Close a tag."""
        assert self.open.pop() == tag


def busy_desk() -> Desk:
    """Return a desk with something of everything, and a stranger's words wherever they can be."""
    evil = Verdict(Outcome.FAIL, Cause.MISROUTED, Plane.SIGNALLING, EVIL)
    bad = CheckRow(
        "keepalive",
        "down",
        Outcome.FAIL,
        Cause.MISROUTED,
        EVIL,
        WALL,
        WALL - 60,
        0.021,
        last_failure="a-2",
        last_pass="a-1",
    )
    transcript = (Packet(0.1, "in", LEG, OK_TEXT.replace(b"OK", EVIL.encode())),)
    return Desk(
        rows=[
            row(),
            row("evil", "down", checks=(bad,), name="Ev<i>l</i> PD"),
            row("new", "unknown"),
        ],
        open=[incident(summary=EVIL, affected=("evil/east",), acknowledged="Ann")],
        attempts={"a-1": (attempt(), FAILED), "a-2": (attempt(transcript=transcript), evil)},
        stops={"evil": "unsafe"},
    )


def test_every_page_is_well_formed_and_self_contained() -> None:
    """Tags nest, ids are unique, and nothing is loaded from anywhere else."""
    desk = busy_desk()
    for url in (
        "/",
        "/psaps/evil",
        "/psaps/ma-boston",
        "/incidents/i-1",
        "/attempts/a-2",
        "/runbooks/README",
    ):
        parsed = Balanced(page(url, desk))
        assert len(set(parsed.ids)) == len(parsed.ids), url
        assert all(address.startswith(("/", "#")) for address in parsed.addresses), url
        assert {"header", "main", "nav", "footer", "h1"} <= set(parsed.tags), url


def test_the_words_of_a_stranger_are_escaped_everywhere() -> None:
    """No markup, no direction override and no terminal sequence comes through."""
    desk = busy_desk()
    for url in ("/", "/psaps/evil", "/incidents/i-1", "/attempts/a-2"):
        text = page(url, desk)
        assert "<img src=x" not in text, url
        assert "\u202e" not in text, url
        assert "\x1b" not in text, url
        assert "&lt;img src=x" in text, url
    assert "Ev&lt;i&gt;l&lt;/i&gt; PD" in page("/", desk)


def test_the_status_page_says_what_is_wrong_in_words() -> None:
    """Headline, counts, states as text, incidents with since-when, stopped calls."""
    text = re.sub(r"\s+", " ", page("/", busy_desk()))
    for words in (
        '<h1 id="headline-text">CALLS BLOCKED through fw-east</h1>',
        "1 of 3 paths healthy",
        "1 down, 1 no verdict yet",
        "Through fw-east",
        '<span class="word">Healthy</span>',
        '<span class="word">Down</span>',
        "acknowledged by Ann",
        "2025-06-18 17:16:40 UTC",
        "are stopped: unsafe",
    ):
        assert words in text, words


def test_problems_stand_first() -> None:
    """Within a firewall the worst tile comes first."""
    text = page("/", busy_desk())
    assert [*re.findall(r'id="tile:fw-east:([\w-]+)"', text)] == ["evil", "new", "ma-boston"]


def test_a_psap_shows_ladders_of_its_last_failure_and_pass() -> None:
    """The drill-down has each check's verdict and both call flows."""
    text = page("/psaps/evil", busy_desk())
    assert "Last failure of keepalive" in text
    assert "Last pass of keepalive" in text
    assert text.count("|&lt;--") + text.count("|---") >= 2
    assert "21 ms" in text
    assert "CallsBlocked" in text
    assert "stopped: unsafe" in text


def test_every_alert_has_its_runbook_at_hand() -> None:
    """An incident leads to the page that says what to do, and that page to the next."""
    desk = busy_desk()
    for url in ("/", "/incidents/i-1"):
        assert 'href="/runbooks/CallsBlocked"' in page(url, desk)
    for alertname in LABELS:
        text = page(f"/runbooks/{alertname}", desk)
        assert "How to tell it is over" in text
        assert page(f"/runbooks/{alertname}.md", desk) == text  # as runbook_url has it
    assert '<a href="/runbooks/causes">causes</a>' in page("/runbooks/CallsBlocked", desk)
    assert "/runbooks/CallsBlocked" in page("/runbooks/README", desk)


def test_an_attempt_has_a_page_by_its_id_and_by_its_call_id() -> None:
    """Verdict and call flow; a search finds it by either name, as pasted from a log line."""
    desk = Desk(attempts={"a-1": (attempt(), FAILED)})
    text = page("/attempts/a-1", desk)
    assert "fail: calls blocked" in text.replace("_", " ")
    assert "|---" in text
    assert 'href="/psaps/' in text
    for name in ("a-1", "abc123@192.0.2.10"):
        assert page(f"/attempts/{name}", desk) == text
        assert page("/attempts", desk, {"id": f" {name} "}) == text


def test_an_attempt_that_was_cleaned_away_leaves_the_page_standing() -> None:
    """A ladder whose attempt is gone is left out."""
    desk = busy_desk()
    desk.attempts.clear()
    assert "Last failure of" not in page("/psaps/evil", desk)


def test_a_daemon_without_paths_says_so() -> None:
    """The empty page is a page."""
    assert "No path is configured." in page("/", Desk(rows=[]))
