"""The machine's half of the web door, over real HTTP on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from psapwatch.evidence import Kind, Observation
from psapwatch.exposition import OPENMETRICS, TEXT
from psapwatch.verdict import PASSED
from psapwatch.web.api import PROBES_MAX, SCRAPES_MAX
from psapwatch.web.app import BODY_OCTETS_MAX, HEADERS
from psapwatch.web.probe import probe_pieces
from psapwatch.web.view import MaintenanceRow
from samples import FAILED, WALL, Desk, answered, attempt, incident, row, sent
from web.web_door import Reached, door

Exchange = Callable[[Reached], Awaitable[Any]]


def through(exchange: Exchange, desk: Desk | None = None, *, lifecycle: bool = False) -> Any:
    """Run one exchange through an open door."""

    async def run() -> Any:
        async with door(desk, lifecycle=lifecycle) as reached:
            return await exchange(reached)

    return asyncio.run(run())


def get(url: str, desk: Desk | None = None, **more: Any) -> tuple[int, dict[str, str], str]:
    """GET a URL: status, headers, text."""

    async def exchange(at: Reached) -> tuple[int, dict[str, str], str]:
        async with at.http.get(url, **more) as answer:
            return answer.status, dict(answer.headers), await answer.text()

    return through(exchange, desk)  # type: ignore[no-any-return]


def post(
    url: str, desk: Desk | None = None, *, lifecycle: bool = False, **more: Any
) -> tuple[int, Any]:
    """POST to a URL: status and JSON."""

    async def exchange(at: Reached) -> tuple[int, Any]:
        async with at.http.post(url, **more) as answer:
            return answer.status, await answer.json()

    return through(exchange, desk, lifecycle=lifecycle)  # type: ignore[no-any-return]


def complaint(text: str) -> dict[str, str]:
    """Return an error's what, where and what to do, all three given."""
    error: dict[str, str] = json.loads(text)["error"]
    assert set(error) == {"what", "where", "what_to_do"}
    assert all(error.values())
    return error


class TestMetrics:
    """`/metrics` as Prometheus asks for it."""

    def test_both_formats_come_as_negotiated(self) -> None:
        """The content type says what the body is."""
        status, headers, text = get("/metrics")
        assert (status, headers["Content-Type"]) == (200, TEXT)
        assert any(family.name == "psapwatch_paths" for family in parse_text(text))
        status, headers, text = get("/metrics", headers={"Accept": "application/openmetrics-text"})
        assert (status, headers["Content-Type"]) == (200, OPENMETRICS)
        assert list(parse_openmetrics(text))  # type: ignore[no-untyped-call]

    def test_it_is_served_by_the_loop_that_probes(self) -> None:
        """While a scrape is under way, an attempt is counted; both finish."""

        async def exchange(at: Reached) -> list[int]:
            async def scrape() -> int:
                async with at.http.get("/metrics") as answer:
                    await answer.read()
                    return answer.status

            return await asyncio.gather(*(scrape() for _ in range(SCRAPES_MAX)))

        assert through(exchange) == [200] * SCRAPES_MAX


class TestProbe:
    """`/probe` in the blackbox exporter's words."""

    def test_the_names_are_the_blackbox_exporters(self) -> None:
        """Success, durations, protocol, status code and phases."""
        status, headers, text = get("/probe?target=sip:psap1.example&module=keepalive")
        assert (status, headers["Content-Type"]) == (200, TEXT)
        samples = {
            (sample.name, *sample.labels.values()): sample.value
            for family in parse_text(text)
            for sample in family.samples
        }
        assert samples["probe_success",] == 1
        assert samples["probe_ip_protocol",] == 4
        assert samples["probe_sip_status_code",] == 200
        assert samples["probe_sip_duration_seconds", "final"] == pytest.approx(0.02)
        assert samples["probe_duration_seconds",] == pytest.approx(0.02)
        assert samples["probe_dns_lookup_time_seconds",] == 0
        assert samples["probe_sip_retransmits",] == 0
        assert not any(name.startswith("probe_failure_info") for name, *_ in samples)
        assert not any(name.startswith("probe_ssl") for name, *_ in samples)

    @pytest.mark.parametrize(
        "query",
        [
            "",
            "?target=sip:x",
            "?module=keepalive",
            "?target=sip:x&module=nonsense",
            f"?target=sip:{'x' * 600}&module=keepalive",
            "?target=sip:x%0d%0a&module=keepalive",
        ],
    )
    def test_a_question_that_cannot_be_probed_is_explained(self, query: str) -> None:
        """What is wrong, where, and what to do."""
        status, _headers, text = get(f"/probe{query}")
        assert status == 400
        complaint(text)

    def test_probes_at_once_are_bounded(self) -> None:
        """One more than the bound is asked to come again, and the others are served."""

        class Slow(Desk):
            async def probe(self, target: str, module: str) -> Any:
                await asyncio.sleep(0.05)
                return await super().probe(target, module)

        async def exchange(at: Reached) -> list[int]:
            async def probe() -> int:
                url = "/probe?target=sip:x&module=keepalive"
                async with at.http.get(url) as answer:
                    return answer.status

            return await asyncio.gather(*(probe() for _ in range(PROBES_MAX + 2)))

        assert sorted(through(exchange, Slow())) == [200] * PROBES_MAX + [503] * 2

    @pytest.mark.parametrize(
        "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}]
    )
    def test_a_foreign_page_cannot_make_a_browser_probe(self, headers: dict[str, str]) -> None:
        """A link or image on another site must not place a call."""
        desk = Desk()
        url = "/probe?target=sip:x&module=keepalive"
        status, _headers, text = get(url, desk, headers=headers)
        assert status == 403
        complaint(text)
        assert desk.done == []


class TestState:
    """Status, incidents and attempts."""

    def test_healthy_is_alive_and_ready_waits_for_the_first_round(self) -> None:
        """Two questions with two answers."""
        starting = Desk(is_ready=False)
        assert get("/-/healthy", starting)[0] == 200
        assert get("/-/ready", starting)[0] == 503
        assert get("/-/ready")[0] == 200

    def test_status_has_headline_counts_paths_and_open_incidents(self) -> None:
        """Everything that the page shows, for machines."""
        desk = Desk(
            rows=[row(), row("ma-worcester", "down")],
            open=[incident()],
            stops={"ma-worcester": "operator"},
            windows=[MaintenanceRow("firewall", "fw-west", WALL + 60, "CHG-1")],
        )
        status, headers, text = get("/api/v1/status", desk)
        plain = json.loads(text)
        assert (status, headers["Cache-Control"]) == (200, "no-store")
        assert plain["headline"] == "CALLS BLOCKED through fw-east"
        assert plain["counts"] == "1 of 2 paths healthy"
        assert plain["ready"] is True
        assert [each["state"] for each in plain["paths"]] == ["up", "down"]
        assert plain["paths"][0]["checks"][0]["outcome"] == "pass"
        assert plain["incidents"][0]["alertname"] == "CallsBlocked"
        assert plain["calls_stopped"] == {"ma-worcester": "operator"}
        assert plain["maintenance_windows"][0]["why"] == "CHG-1"

    def test_status_of_a_daemon_without_paths_is_json_too(self) -> None:
        """The empty case has no stray comma."""
        plain = json.loads(get("/api/v1/status", Desk(rows=[]))[2])
        assert (plain["paths"], plain["incidents"]) == ([], [])

    def test_incidents_are_listed_and_shown(self) -> None:
        """All from the store, the open ones on request, one by id."""
        closed = incident(id="i-0", closed_at=WALL)
        desk = Desk(open=[incident()], kept={"i-0": closed})
        every = json.loads(get("/api/v1/incidents", desk)[2])["incidents"]
        assert [each["id"] for each in every] == ["i-1", "i-0"]
        still = json.loads(get("/api/v1/incidents?state=open", desk)[2])["incidents"]
        assert [each["id"] for each in still] == ["i-1"]
        assert len(json.loads(get("/api/v1/incidents?limit=1", desk)[2])["incidents"]) == 1
        assert json.loads(get("/api/v1/incidents/i-0", desk)[2])["closed_at"] == WALL

    @pytest.mark.parametrize("limit", ["0", "-1", "x", "1001", "9" * 5000, "²"])
    def test_a_limit_that_cannot_be_served_is_explained(self, limit: str) -> None:
        """The bound is named."""
        status, _headers, text = get("/api/v1/incidents", params={"limit": limit})
        assert status == 400
        assert "1000" in complaint(text)["what_to_do"]

    def test_an_attempt_has_transcript_and_ladder(self) -> None:
        """The whole of one attempt by its id."""
        desk = Desk(attempts={"a-1": (attempt(), FAILED)})
        plain = json.loads(get("/api/v1/attempts/a-1", desk)[2])
        assert plain["attempt"]["call_id"] == "abc123@192.0.2.10"
        assert plain["verdict"]["cause"] == "calls_blocked"
        assert "OPTIONS" in plain["ladder"]

    def test_a_call_id_names_its_attempt(self) -> None:
        """What stands beside a latency in Prometheus, or in a log line, is enough."""
        desk = Desk(attempts={"a-1": (attempt(), FAILED)})
        by_call_id = get("/api/v1/attempts/abc123@192.0.2.10", desk)
        assert by_call_id[0] == 200
        assert by_call_id[2] == get("/api/v1/attempts/a-1", desk)[2]

    @pytest.mark.parametrize(
        "url",
        [
            "/api/v1/incidents/x",
            "/api/v1/attempts/x",
            "/psaps/x",
            "/incidents/x",
            "/attempts/x",
            "/runbooks/x",
            "/static/x",
            "/x",
        ],
    )
    def test_what_is_not_there_is_404_with_a_hint(self, url: str) -> None:
        """An unknown id or URL is told where to look."""
        status, headers, text = get(url)
        assert status == 404
        assert headers["Content-Type"].startswith("application/json")
        assert complaint(text)["where"] == url

    def test_a_method_that_is_not_allowed_is_explained(self) -> None:
        """The methods that are allowed are named."""
        status, body = post("/metrics")
        assert status == 405
        complaint(json.dumps(body))

    def test_every_answer_carries_the_security_headers(self) -> None:
        """Pages, JSON and errors alike."""
        for url in ("/", "/metrics", "/api/v1/status", "/nowhere", "/static/page.js"):
            _status, headers, _text = get(url)
            assert HEADERS.items() <= headers.items(), url


class TestChanges:
    """`POST /api/v1/changes`, which alerts quote."""

    @pytest.mark.parametrize(
        ("at", "moment"),
        [
            (None, WALL),
            (WALL - 40, WALL - 40),
            (int(WALL), WALL),
            ("2025-06-18T13:16:00-04:00", 1_750_266_960.0),
            ("2025-06-18T17:16:00Z", 1_750_266_960.0),
        ],
    )
    def test_a_change_is_kept_with_who_and_when(self, at: object, moment: float) -> None:
        """Numbers and times with a zone are moments; without one it is now."""
        desk = Desk()
        body = {"what": "CHG-123 push policy", "by": "noc"} | ({} if at is None else {"at": at})
        status, answer = post("/api/v1/changes", desk, json=body)
        assert status == 201
        assert answer == {"what": "CHG-123 push policy", "by": "noc", "at": moment}
        assert desk.done == [("change", "CHG-123 push policy", "noc", str(moment))]

    @pytest.mark.parametrize(
        ("body", "where"),
        [
            ({"by": "noc"}, "body, what"),
            ({"what": "CHG"}, "body, by"),
            ({"what": "two\nlines", "by": "noc"}, "body, what"),
            ({"what": "x" * 201, "by": "noc"}, "body, what"),
            ({"what": 7, "by": "noc"}, "body, what"),
            ({"what": "CHG", "by": "noc", "at": "2025-06-18T13:16:00"}, "body, at"),
            ({"what": "CHG", "by": "noc", "at": "yesterday"}, "body, at"),
            ({"what": "CHG", "by": "noc", "at": True}, "body, at"),
            ({"what": "CHG", "by": "noc", "at": WALL + 1e6}, "body, at"),
            ([], "/api/v1/changes"),
        ],
    )
    def test_a_bad_change_is_refused_and_nothing_kept(self, body: object, where: str) -> None:
        """Each field says what it wants."""
        desk = Desk()
        status, answer = post("/api/v1/changes", desk, json=body)
        assert status == 400
        assert complaint(json.dumps(answer))["where"] == where
        assert desk.done == []

    @pytest.mark.parametrize(
        ("data", "content_type", "status"),
        [
            (b"{", "application/json", 400),
            (b"\xff\xfe", "application/json", 400),
            (b"[" * 4000, "application/json", 400),
            (b"[]", "application/json; charset=no-such-code", 400),
            (b'{"at": NaN, "what": "x", "by": "y"}', "application/json", 400),
            (b"what=x", "application/x-www-form-urlencoded", 415),
            (b" " * (BODY_OCTETS_MAX + 1), "application/json", 413),
        ],
    )
    def test_bodies_are_bounded_and_typed(
        self, data: bytes, content_type: str, status: int
    ) -> None:
        """A form, garbage or a flood is refused with words."""
        headers = {"Content-Type": content_type}
        got, answer = post("/api/v1/changes", data=data, headers=headers)
        assert got == status
        complaint(json.dumps(answer))

    def test_a_foreign_page_cannot_record_a_change(self) -> None:
        """Cross-site requests change nothing."""
        desk = Desk()
        headers = {"Origin": "http://evil.example"}
        body = {"what": "CHG", "by": "noc"}
        assert post("/api/v1/changes", desk, json=body, headers=headers)[0] == 403
        assert desk.done == []


class TestReload:
    """`POST /-/reload`."""

    def test_it_is_off_unless_the_configuration_allows_it(self) -> None:
        """Without web.lifecycle nothing is reloaded, and SIGHUP is named."""
        desk = Desk()
        status, answer = post("/-/reload", desk)
        assert status == 403
        assert "SIGHUP" in complaint(json.dumps(answer))["what_to_do"]
        assert desk.done == []

    def test_it_reloads_and_says_who_asked(self) -> None:
        """The peer's address stands where nobody signs in."""
        desk = Desk()
        assert post("/-/reload", desk, lifecycle=True) == (200, {"reloaded": True})
        assert desk.done == [("reload", "127.0.0.1")]

    def test_a_bad_configuration_is_told_line_by_line(self) -> None:
        """The old one stays, and the caller learns why."""
        desk = Desk(wrong=["psapwatch.yml:3: web.listen: no port"])
        status, answer = post("/-/reload", desk, lifecycle=True)
        assert status == 422
        assert "psapwatch.yml:3" in complaint(json.dumps(answer))["what"]


def test_a_passing_attempt_at_an_ipv6_leg_over_tls_shows_on_probe() -> None:
    """Protocol 6 and the certificate's end are told."""
    up = Observation(Kind.TLS_UP, 0.01, {"not_after": WALL})
    evidence = attempt(
        seen=(up, sent(), sent(0.5, 2), answered(0.6, 404)), leg="[2001:db8::9]:5061"
    )
    text = "".join(probe_pieces(evidence, PASSED, openmetrics=False))
    assert "probe_ip_protocol 6.0\n" in text
    assert "probe_ssl_earliest_cert_expiry 1.750267e+09\n" in text
    assert "probe_sip_status_code 404.0\n" in text
    assert "probe_sip_retransmits 1.0\n" in text
    failed = "".join(probe_pieces(attempt(leg=""), FAILED, openmetrics=True))
    assert 'probe_failure_info{cause="calls_blocked"} 1.0\n' in failed
    assert "probe_ip_protocol 0.0\n" in failed
    assert failed.endswith("# EOF\n")
