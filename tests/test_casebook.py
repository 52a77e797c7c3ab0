"""What opens, changes, merges and closes: one failure, one page."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import count

import pytest

from psapwatch.battery import as_rows, named_cause
from psapwatch.casebook import Casebook
from psapwatch.detection import Standing, State
from psapwatch.endpoint import Check, Firewall, Path, Psap, Source
from psapwatch.incident import Incident, Notice
from psapwatch.look import Ground, look_at
from psapwatch.pooled import Pools
from psapwatch.probes.call import CallSettings
from psapwatch.probes.options import OptionsSettings
from psapwatch.verdict import Cause
from psapwatch.wanted import IN_A_ROW, PATIENCE_S, TOTAL_LOSS, Wanted, is_chance

OPTIONS = Check("keepalive", 15.0, 4.0, OptionsSettings())
CALLS = Check("test-call", 300.0, 8.0, CallSettings())
CLEAN_S = 300.0
COUNTY = ("county", "c3")


def _psap(number: int) -> Psap:
    return Psap(f"p{number:02}", "", (("county", f"c{number % 4}"),))


@dataclass
class Scene:
    """A casebook over so many PSAPs behind one or two firewalls, and the state of each path."""

    psaps: int = 40
    firewalls: tuple[str, ...] = ("fw-east",)
    now: float = 1_000.0
    down: dict[str, float] = field(default_factory=dict)
    """Path key -> failing since."""
    muted: set[str] = field(default_factory=set)
    cause: Cause = Cause.CALLS_BLOCKED
    checks: tuple[Check, ...] = (OPTIONS,)
    failures: int = IN_A_ROW
    """In a row, of each path that is down."""
    pools: Pools = field(default_factory=Pools)

    def __post_init__(self) -> None:
        made = {name: Firewall(name, (Source("192.0.2.1"),)) for name in self.firewalls}
        paths = [
            Path(_psap(n), name, "v", made[name], "sip:h", "udp")
            for n in range(self.psaps)
            for name in self.firewalls
        ]  # fmt: skip
        numbers = count(1)
        runs = tuple((path, check) for check in self.checks for path in paths)
        self.paths = {path.key: path for path in paths}
        self.book = Casebook(Ground("v", runs, CLEAN_S), lambda: f"i{next(numbers)}")

    def block(self, *keys: str) -> None:
        """These paths fail from now on; without names, all of them."""
        self.down |= dict.fromkeys(keys or self.paths, self.now)

    def lift(self, *keys: str) -> None:
        """These paths are up again; without names, all of them."""
        for key in keys or tuple(self.down):
            self.down.pop(key, None)

    def review(self, after_s: float = 1.0) -> list[Notice]:
        """Let time pass, with every path freshly sampled, and review."""
        self.now += after_s
        standings = {
            (key, check.name): {"leg": self._standing(key)}
            for key in self.paths
            for check in self.checks
        }
        return self.book.review(
            standings, self.pools, self.now, muted=lambda path: path.key in self.muted
        )

    def _standing(self, key: str) -> Standing:
        since = self.down.get(key)
        if since is None:
            return Standing(State.UP, passes=3, last_pass_at=self.now - 0.1, last_at=self.now - 0.1)
        return Standing(
            State.DOWN, self.failures, 0, since, since - 15, self.now - 0.1,
            last_failed=True, cause=self.cause, why="x",
        )  # fmt: skip


def _said(notices: list[Notice]) -> list[tuple[str, str, str, str]]:
    return [
        (notice.status, notice.incident.alertname, notice.incident.scope, notice.incident.member)
        for notice in notices
    ]


def test_a_firewall_is_one_page() -> None:
    """Forty PSAPs behind a blocked firewall are one incident, and nothing more while it lasts."""
    scene = Scene()
    scene.block()
    assert _said(scene.review()) == [("open", "CallsBlocked", "firewall", "fw-east")]
    assert [said for _ in range(60) for said in _said(scene.review(5.0))] == []
    (incident,) = scene.book.open
    assert incident.severity == "page"
    assert len(incident.affected) == 40
    assert "fw-east" in incident.summary


def test_one_psap_waits_for_its_neighbours_and_then_pages() -> None:
    """A single PSAP is told by its own name, after the time its neighbours need to answer."""
    scene = Scene()
    scene.block("p07/fw-east")
    assert _said(scene.review(1.0)) == []
    assert _said(scene.review(5.0)) == [("open", "CallsBlocked", "psap", "p07")]


@pytest.mark.parametrize("check", [OPTIONS, CALLS])
def test_two_options_in_a_row_may_be_bad_luck(check: Check) -> None:
    """Half a percent that fails at random would page every hour; of calls, two are enough."""
    scene = Scene(checks=(check,))
    scene.block("p07/fw-east")
    since = scene.now

    def review(after_s: float, failures: int) -> list[tuple[str, str, str, str]]:
        scene.now = since + after_s
        standings = {
            (key, check.name): {"leg": replace(scene._standing(key), failures=failures)}
            for key in scene.paths
        }
        return _said(scene.book.review(standings, scene.pools, scene.now))

    told = [("open", "CallsBlocked", "psap", "p07")]
    assert review(20.0, 2) == (told if check is CALLS else [])
    assert review(PATIENCE_S - 0.5, 3) == []
    assert review(PATIENCE_S, 3) == ([] if check is CALLS else told)


def test_a_psap_does_not_wait_for_another_that_was_told_before() -> None:
    """Two of one county at once may have one reason and wait; a later one is told on its own."""
    scene = Scene(checks=(CALLS,), failures=2)

    def fails(number: int) -> None:
        key = f"p{number:02}/fw-east"
        scene.block(key)
        scene.pools.take((COUNTY,), "call", key, scene.now, failed=True)

    def opened(after_s: float) -> list[str]:
        return [said[3] for said in _said(scene.review(after_s)) if said[0] == "open"]

    fails(3)
    assert opened(6.0) == ["p03"]
    scene.lift("p03/fw-east")
    fails(7)
    assert opened(6.0) == ["p07"]
    fails(11)
    fails(15)
    assert opened(6.0) == []
    assert opened(PATIENCE_S) == ["p11", "p15"]


def test_a_psap_does_not_wait_for_what_a_closed_incident_of_its_county_told() -> None:
    """The failures at the end of a county's outage leave nothing open that it could wait for."""
    scene = Scene()
    county = [f"p{number:02}/fw-east" for number in range(3, 40, 4)]
    scene.block(*county)
    for key in county[:3]:
        scene.pools.take((COUNTY,), "options", key, scene.now, failed=True)
    assert _said(scene.review()) == [("open", "CallsBlocked", "county", "c3")]
    scene.lift()
    closed = [said for _ in range(100) for said in _said(scene.review(5.0)) if said[0] == "closed"]
    assert closed == [("closed", "CallsBlocked", "county", "c3")]
    scene.block(county[5])
    scene.pools.take((COUNTY,), "options", county[5], scene.now, failed=True)
    assert _said(scene.review(6.0)) == [("open", "CallsBlocked", "psap", "p23")]


def test_one_of_two_paths_is_a_ticket() -> None:
    """Redundancy lost is no page: calls still get through the other firewall."""
    scene = Scene(firewalls=("fw-east", "fw-west"))
    scene.block("p07/fw-east")
    scene.review(1.0)
    assert _said(scene.review(5.0)) == [("open", "RedundancyLost", "path", "p07/fw-east")]
    assert scene.book.open[0].severity == "ticket"
    assert scene.book.open[0].unaffected == ("p07/fw-west",)


def test_the_second_path_escalates_the_ticket_to_a_page() -> None:
    """When the other path dies too, the ticket closes as merged and the PSAP pages."""
    scene = Scene(firewalls=("fw-east", "fw-west"))
    scene.block("p07/fw-east")
    scene.review(6.0)
    scene.block("p07/fw-west")
    said = _said(scene.review(6.0))
    assert ("open", "CallsBlocked", "psap", "p07") in said
    assert ("closed", "RedundancyLost", "path", "p07/fw-east") in said


def test_a_bigger_domain_takes_the_smaller_ones_in() -> None:
    """A PSAP that was told first closes as merged, without a page of its own for the firewall."""
    scene = Scene()
    scene.block("p07/fw-east")
    (opened,) = scene.review(6.0)
    scene.block(*(key for key in scene.paths if key != "p07/fw-east"))
    notices = scene.review(1.0)
    assert _said(notices) == [
        ("open", "CallsBlocked", "firewall", "fw-east"),
        ("closed", "CallsBlocked", "psap", "p07"),
    ]
    assert notices[1].incident.id == opened.incident.id
    assert notices[1].incident.merged_into == notices[0].incident.id


def test_it_closes_after_a_clean_while_and_not_before() -> None:
    """Five clean minutes, counted from the last failure."""
    scene = Scene()
    scene.block()
    scene.review()
    scene.lift()
    assert _said(scene.review(1.0)) == [("changed", "CallsBlocked", "firewall", "fw-east")]
    assert _said(scene.review(CLEAN_S - 5)) == []
    assert _said(scene.review(10.0)) == [("closed", "CallsBlocked", "firewall", "fw-east")]
    assert scene.book.open == ()


def test_flapping_is_one_incident_with_a_count() -> None:
    """Twenty seconds up and twenty down for twenty minutes: one page, counted changes."""
    scene = Scene()
    opened = []
    for _ in range(30):
        scene.block()
        opened += [each for each in scene.review(20.0) if each.status == "open"]
        scene.lift()
        opened += [each for each in scene.review(20.0) if each.status == "open"]
    assert len(opened) == 1
    assert scene.book.open[0].changes >= 58


def test_refining_the_cause_is_no_new_page() -> None:
    """Identity is without the cause: a better one is a change, not a second incident."""
    scene = Scene()
    scene.block()
    (opened,) = scene.review()
    scene.cause = Cause.EXPLICIT_REJECT
    (changed,) = scene.review()
    assert (changed.status, changed.incident.id) == ("changed", opened.incident.id)
    assert changed.incident.cause is Cause.EXPLICIT_REJECT


def test_calls_that_fail_beside_passing_options_are_a_pattern() -> None:
    """Only the calls are down: INVITE is blocked, and OPTIONS must not clear it."""
    scene = Scene(checks=(CALLS,))
    scene.block()
    scene.review()
    both = Scene(checks=(OPTIONS, CALLS))
    both.now += 1.0
    standings = {
        (key, check.name): {
            "leg": Standing(State.UP, last_pass_at=both.now, last_at=both.now)
            if check is OPTIONS
            else Standing(
                State.DOWN, 2, 0, both.now - 5, None, both.now, last_failed=True,
                cause=Cause.CALLS_BLOCKED, why="no answer to INVITE",
            )
        }
        for key in both.paths
        for check in both.checks
    }  # fmt: skip
    (opened,) = both.book.review(standings, Pools(), both.now)
    assert opened.incident.alertname == "CallsBlocked"
    assert opened.incident.cause is Cause.INVITE_BLOCKED
    assert "OPTIONS still pass" in opened.incident.summary


def test_the_end_of_a_total_block_is_not_taken_for_a_block_of_calls() -> None:
    """OPTIONS come back first; only a call that failed after they passed says what they mean."""
    since, now = 1_000.0, 1_060.0
    calls = [
        Standing(State.DOWN, 3, 0, since, None, tried_at, True, Cause.CALLS_BLOCKED)
        for tried_at in (1_040.0, 1_048.0)
    ]
    came_back_at = {1_047.0: Cause.INVITE_BLOCKED, 1_049.0: Cause.CALLS_BLOCKED}
    for passing_since, cause in came_back_at.items():
        options = Standing(State.UP, passes=3, last_at=now, passing_since=passing_since)
        by_kind = {"call": calls, "options": [options]}
        assert named_cause(by_kind, as_rows(by_kind, since))[0] is cause


def test_a_psap_that_answers_calls_and_no_options_is_a_ticket() -> None:
    """Calls get through: nobody is woken, whoever is at fault, and nothing is called blocked."""
    scene = Scene(checks=(OPTIONS, CALLS))
    scene.now += 20.0
    since = scene.now - 10.0
    silent = Standing(
        State.DOWN, IN_A_ROW, 0, since, since - 15, scene.now - 1, last_failed=True,
        cause=Cause.CALLS_BLOCKED, why="x",
    )  # fmt: skip
    up = Standing(State.UP, passes=3, last_pass_at=scene.now - 1, last_at=scene.now - 1)
    standings = {
        (key, check.name): {"leg": silent if (key, check) == ("p07/fw-east", OPTIONS) else up}
        for key in scene.paths
        for check in (OPTIONS, CALLS)
    }
    (notice,) = scene.book.review(standings, Pools(), scene.now)
    told = notice.incident
    assert (told.alertname, told.severity, told.member) == ("CallsDegraded", "ticket", "p07")
    assert told.cause is Cause.UNKNOWN
    because = "OPTIONS on new flows fail, test calls to the PSAPs, as scheduled pass"
    assert told.evidence["because"] == because


def test_a_restart_in_mid_outage_neither_pages_again_nor_forgets() -> None:
    """The adopted incident is followed: no open notice, and a close when it is over."""
    scene = Scene()
    scene.block()
    scene.review()
    after = Scene(now=scene.now + 10)
    after.book.adopt(scene.book.open, after.now)
    after.block()
    assert [said for said in _said(after.review(2.0)) if said[0] == "open"] == []
    after.lift()
    after.review(1.0)
    assert ("closed", "CallsBlocked", "firewall", "fw-east") in _said(after.review(CLEAN_S + 5))


def test_maintenance_scopes_and_does_not_mute_a_total_loss() -> None:
    """What a window names may be down; a PSAP whose every path is down pages all the same."""
    scene = Scene(firewalls=("fw-east", "fw-west"))
    scene.muted = {key for key in scene.paths if key.endswith("fw-east")}
    scene.block(*scene.muted)
    assert [said for said in _said(scene.review(6.0)) if said[1] == "CallsBlocked"] == []
    scene.block("p07/fw-west")
    assert ("open", "CallsBlocked", "psap", "p07") in _said(scene.review(6.0))


def test_acknowledgement_is_kept_and_told() -> None:
    """Who works on it is part of the incident; an unknown id is nobody's."""
    scene = Scene()
    scene.block()
    (opened,) = scene.review()
    notice = scene.book.acknowledge(opened.incident.id, "J. Doe", scene.now)
    assert notice is not None
    assert notice.incident.acknowledged == "J. Doe"
    assert scene.book.acknowledge("nobody", "J. Doe", scene.now) is None


def test_a_reported_incident_opens_once() -> None:
    """The same unsafe PSAP reported twice is one page; withdrawing closes it."""
    scene = Scene()
    unsafe = Incident(
        "", "TestCallUnsafe", "page", "v", "psap", "p07", "p07", "fw-east",
        Cause.UNSAFE_ANSWER, "ended at once", 0.0, 0.0,
    )  # fmt: skip
    first = scene.book.report(unsafe, 10.0)
    assert first is not None
    assert scene.book.report(unsafe, 11.0) is None
    assert _said(scene.review()) == []
    closed = scene.book.withdraw(unsafe.identity, 12.0)
    assert closed is not None
    assert closed.status == "closed"


@pytest.mark.parametrize("share", [0.05, 0.10])
def test_a_few_stragglers_do_not_keep_a_domain_sick(share: float) -> None:
    """Up to a tenth of the members may still fail; they are told by themselves afterwards."""
    scene = Scene()
    scene.block()
    scene.review()
    stragglers = sorted(scene.paths)[: int(share * 40)]
    scene.lift(*(key for key in scene.paths if key not in stragglers))
    scene.review(1.0)
    said = _said(scene.review(CLEAN_S + 5)) + _said(scene.review(1.0))
    assert ("closed", "CallsBlocked", "firewall", "fw-east") in said
    assert {each[3] for each in said if each[0] == "open"} == {
        key.partition("/")[0] for key in stragglers
    }


def test_the_end_of_an_outage_is_no_new_failure() -> None:
    """Paths that pass again, though not ``rise`` times yet, page nobody of their own."""
    scene = Scene()
    now = scene.now

    def standing(key: str) -> Standing:
        if key < "p03":
            return Standing(State.DOWN, 0, 1, now - 50.0, now - 1.0, now - 1.0, cause=scene.cause)
        return Standing(State.UP, passes=3, last_pass_at=now - 1.0, last_at=now - 1.0)

    standings = {(key, OPTIONS.name): {"leg": standing(key)} for key in scene.paths}
    assert scene.book.review(standings, Pools(), now) == []


def test_options_that_all_die_while_calls_pass_are_a_ticket_only() -> None:
    """The pooled test sees the same loss of OPTIONS, and makes no page of it either."""
    scene, pools = Scene(checks=(OPTIONS, CALLS)), Pools()
    now = scene.now
    standings = {
        (key, check.name): {
            "leg": Standing(State.UP, passes=3, last_pass_at=now - 1, last_at=now - 1)
            if check is CALLS
            else Standing(
                State.DOWN, 2, 0, now - 5, None, now, last_failed=True, cause=scene.cause, why="x"
            )
        }
        for key in scene.paths
        for check in scene.checks
    }
    for key in scene.paths:
        pools.take([("firewall", "fw-east")], "options", key, now - 5, failed=True)
    assert [finding.loss for finding in pools.findings()] == [1.0]
    (opened,) = scene.book.review(standings, pools, now)
    assert (opened.incident.alertname, opened.incident.severity) == ("CallsDegraded", "ticket")
    for key in scene.paths:  # they come back by and by
        for failed in (False, True):
            pools.take([("firewall", "fw-east")], "options", key, now, failed=failed)
    assert [round(finding.loss, 1) for finding in pools.findings()] == [0.7]
    assert "open" not in {
        status for status, *_rest in _said(scene.book.review(standings, pools, now))
    }


def test_a_total_block_that_both_kinds_of_check_see_is_one_page() -> None:
    """Its first silent calls go to one county, by chance; its silent OPTIONS already say more."""
    scene = Scene(checks=(OPTIONS, CALLS))
    now, since = scene.now, scene.now - 4.0
    failing = {OPTIONS.name: ("p00", "p01", "p02", "p03", "p04"), CALLS.name: ("p01", "p05", "p09")}
    silent = Standing(
        State.DOWN, 2, 0, since, since - 1, now, last_failed=True, cause=scene.cause, why="x"
    )
    before = Standing(State.UP, passes=3, last_pass_at=since - 1, last_at=since - 1)
    standings = {
        (key, check.name): {"leg": silent if path.psap.id in failing[check.name] else before}
        for key, path in scene.paths.items()
        for check in scene.checks
    }
    opened = scene.book.review(standings, Pools(), now)
    told = [said for said in _said(opened) if said[0] == "open"]
    assert told == [("open", "CallsBlocked", "firewall", "fw-east")]


def test_a_failure_that_a_closed_incident_explained_is_not_told_anew() -> None:
    """Only an attempt made after the firewall was well again says that a PSAP is not."""
    scene = Scene()
    scene.block()
    scene.review()
    straggler = "p07/fw-east"
    tried_at = scene.now
    scene.lift(*(key for key in scene.paths if key != straggler))

    def review(last_at: float) -> list[Notice]:
        scene.now += 1.0
        standings = {
            (key, OPTIONS.name): {"leg": replace(scene._standing(key), last_at=last_at)}
            if key == straggler
            else {"leg": scene._standing(key)}
            for key in scene.paths
        }
        return scene.book.review(standings, Pools(), scene.now)

    review(tried_at)
    scene.now += CLEAN_S
    assert _said(review(tried_at)) == [("closed", "CallsBlocked", "firewall", "fw-east")]
    assert review(tried_at) == []
    assert _said(review(scene.now)) == [("open", "CallsBlocked", "psap", "p07")]


@pytest.mark.parametrize("proved", [True, False])
def test_a_path_not_called_since_its_domain_was_proved_well_is_untested(proved: bool) -> None:
    """All paths prove together that a firewall is well; each alone is called every five minutes."""
    scene, pools = Scene(checks=(CALLS,)), Pools()
    scopes = next(iter(scene.book.ground.scopes.values()))

    def review(now: float, last_at: float) -> list[Notice]:
        leg = Standing(
            State.DOWN, 2, 0, 1_000.0, 990.0, last_at, last_failed=True, cause=scene.cause, why="x"
        )
        standings = {(key, CALLS.name): {"leg": leg} for key in scene.paths}
        return scene.book.review(standings, pools, now)

    for nth in range(6):
        pools.take(scopes, "call", f"p{nth}", 1_000.0 + nth, failed=True)
    assert _said(review(1_010.0, 1_009.0)) == [("open", "CallsBlocked", "firewall", "fw-east")]
    for nth in range(8 * proved):
        pools.take(scopes, "call", f"p{nth}", 1_060.0 + nth, failed=False)
    review(1_070.0, 1_050.0)
    closed = _said(review(1_071.0 + CLEAN_S, 1_050.0))
    assert closed == [("closed", "CallsBlocked", "firewall", "fw-east")] * proved


def test_what_was_seen_before_the_clock_was_stepped_back_keeps_nothing_open() -> None:
    """A failure that seems to lie ahead is none of now; the next attempts tell."""
    scene = Scene()
    scene.block()
    scene.review()
    down, pools = scene.down, Pools()
    ahead = {key: replace(scene._standing(key), last_at=scene.now) for key in down}
    now = scene.now - 600.0
    standings = {(key, OPTIONS.name): {"leg": leg} for key, leg in ahead.items()}
    assert _said(scene.book.review(standings, pools, now)) == [
        ("changed", "CallsBlocked", "firewall", "fw-east")
    ]
    scene.book.review(standings, pools, now + 700.0)
    assert [incident.changes for incident in scene.book.open] == [2], "met again, and failing now"


@pytest.mark.parametrize(
    ("told", "loss", "pages"), [(0.85, 0.92, 0), (0.85, 1.0, 1), (0.25, 0.92, 1)]
)
def test_a_share_that_was_paged_pages_again_only_when_all_of_it_is_lost(
    told: float, loss: float, pages: int
) -> None:
    """An estimate that crosses nine in ten to and fro wakes nobody a second time."""
    scene = Scene()
    paged = Wanted(
        *("CallsDegraded", "page", "firewall", "fw-east", "", "fw-east", 1_000.0, ()),
        evidence={"kind": "call", "loss": told, "samples": 20, "failures": 17},
    )
    look = look_at(scene.book.ground, {}, scene.now, lambda _: False, lambda _path, _at: False)
    assert [each.status for each in scene.book._want(paged, look)] == ["open"]
    more = replace(paged, alertname="CallsBlocked", evidence=dict(paged.evidence) | {"loss": loss})
    news = scene.book._want(more, look)
    assert [each.status for each in news].count("open") == pages


def test_a_psap_that_comes_back_is_no_ticket_beside_its_page() -> None:
    """Its first call passes while OPTIONS have not come back yet: that is told already."""
    scene = Scene(checks=(OPTIONS, CALLS))
    scene.block("p07/fw-east")
    assert _said(scene.review(6.0)) == [("open", "CallsBlocked", "psap", "p07")]
    down = scene._standing("p07/fw-east")
    scene.lift()
    standings = {
        (key, check.name): {"leg": scene._standing(key)}
        for key in scene.paths
        for check in scene.checks
    }
    standings["p07/fw-east", OPTIONS.name] = {"leg": down}
    assert _said(scene.book.review(standings, Pools(), scene.now + 1.0)) == []


def test_three_failed_calls_in_a_row_are_no_block_where_half_is_lost() -> None:
    """Bad luck that comes once in eight times is not told; one in a million is."""
    assert is_chance(0.5, 3)
    assert is_chance(0.5, 20)
    assert not is_chance(0.5, 21)
    assert not is_chance(TOTAL_LOSS, 3), "a share that is all but all is a block"


@pytest.mark.parametrize(("others_fail", "failures"), [(True, 1), (True, 4), (False, 1)])
def test_a_county_is_no_block_while_bad_luck_explains_it(others_fail: bool, failures: int) -> None:
    """Three towns of one county in a row, while the firewall may lose a share of all calls."""
    scene = Scene(checks=(CALLS,))
    east = ("firewall", "fw-east")
    for nth in range(40):
        is_lost = others_fail and nth % 10 == 0
        scene.pools.take((east,), "call", f"x{nth}", scene.now, failed=is_lost)
    county = [key for key in scene.paths if _county(scene, key) == "c1"][:3]
    scene.block(*county)
    before = Standing(State.UP, passes=3, last_pass_at=900.0, last_at=900.0)
    since = replace(before, last_pass_at=scene.now + 0.5, last_at=scene.now + 0.5)
    standings = {
        (key, CALLS.name): {
            "leg": replace(scene._standing(key), failures=failures)
            if key in county
            else before
            if _county(scene, key) == "c1"
            else since
        }
        for key in scene.paths
    }
    said = _said(scene.book.review(standings, scene.pools, scene.now + 1.0))
    told = [("open", "CallsBlocked", "county", "c1")]
    assert said == (told if not others_fail or failures == 4 else [])


@pytest.mark.parametrize("is_on_its_way_up", [False, True])
def test_a_domain_on_its_way_up_is_no_news(is_on_its_way_up: bool) -> None:
    """Where clean is short, its firewall's incident has closed while its paths still count."""
    scene = Scene()
    scene.block()
    legs = {
        key: replace(scene._standing(key), last_failed=not is_on_its_way_up) for key in scene.paths
    }
    standings = {(key, OPTIONS.name): {"leg": leg} for key, leg in legs.items()}
    opened = scene.book.review(standings, scene.pools, scene.now + 1.0)
    assert bool(opened) is not is_on_its_way_up


@pytest.mark.parametrize("is_both", [False, True])
def test_what_is_dead_behind_one_firewall_of_two_is_lost_redundancy(is_both: bool) -> None:
    """The county's pool sees half of its calls fail; the county loses none of them by chance."""
    scene = Scene(psaps=16, firewalls=("fw-east", "fw-west"))
    pools, county = Pools(), (("county", "c1"),)
    east = [key for key in scene.paths if key.endswith("/fw-east") and "c1" in _county(scene, key)]
    west = [key.replace("east", "west") for key in east]
    scene.block(*east, *(west[:1] * is_both))
    for nth, key in enumerate(east * 2):
        pools.take(county, "options", key, scene.now + nth, failed=True)
        pools.take(county, "options", west[nth % 4], scene.now + nth, failed=False)
    scene.now += 10.0
    standings = {(key, OPTIONS.name): {"leg": scene._standing(key)} for key in scene.paths}
    said = _said(scene.book.review(standings, pools, scene.now))
    told = {(alertname, scope) for _status, alertname, scope, _member in said}
    assert ("RedundancyLost", "path") in told or is_both
    assert (("CallsDegraded", "county") in told) is is_both


def _county(scene: Scene, key: str) -> str:
    return dict(scene.paths[key].psap.attributes)["county"]


def test_a_clock_stepped_back_hides_no_failure_that_comes_after() -> None:
    """What a closed incident explained ends with it, though its moments now lie ahead."""
    scene = Scene()
    scene.block()
    scene.review()
    scene.lift()
    scene.review()
    assert _said(scene.review(CLEAN_S)) == [("closed", "CallsBlocked", "firewall", "fw-east")]
    scene.now -= 600.0
    scene.review()
    scene.block("p07/fw-east")
    assert _said(scene.review(6.0)) == [("open", "CallsBlocked", "psap", "p07")]


def test_what_failed_before_the_clock_was_stepped_back_is_over_with_its_incident() -> None:
    """Who was not asked again since seems to fail in time to come: that is not told anew."""
    scene = Scene()
    scene.block()
    scene.review()
    stale = {(key, OPTIONS.name): {"leg": scene._standing(key)} for key in scene.paths}
    scene.now -= 600.0
    scene.review()
    scene.lift()
    scene.review()
    assert _said(scene.review(CLEAN_S)) == [("closed", "CallsBlocked", "firewall", "fw-east")]
    assert all(legs["leg"].last_at > scene.now for legs in stale.values())
    assert _said(scene.book.review(stale, Pools(), scene.now)) == []
    assert _said(scene.book.review(stale, Pools(), scene.now + 60.0)) == []


def test_a_clock_stepped_back_in_the_clean_minutes_lets_them_begin_anew() -> None:
    """An incident is not kept open until the clock is where it was."""
    scene = Scene()
    scene.block()
    scene.review()
    scene.lift()
    scene.review()
    scene.now -= 600.0
    scene.review()
    assert _said(scene.review(CLEAN_S)) == [("closed", "CallsBlocked", "firewall", "fw-east")]


def test_a_proof_from_before_the_clock_was_stepped_back_clears_no_failure_of_now() -> None:
    """A domain that was proved well at a moment that lies ahead may be sick again now."""
    scene = Scene()
    (scopes,) = {scene.book.ground.scopes["p00/fw-east"]}
    for nth in range(14):
        scene.pools.take(scopes, "options", "p00/fw-east", scene.now + nth, failed=nth < 6)
    assert scene.pools.well_at(("firewall", "fw-east"), "options") > scene.now
    scene.now -= 600.0
    scene.block()
    scene.review()
    scene.review()
    (incident,) = scene.book.open
    assert (len(incident.affected), incident.changes) == (40, 0), "it goes on"


def test_a_stale_failure_opens_no_second_incident_after_the_first_has_closed() -> None:
    """However short "clean" is: what failed before the domain was proved well is explained."""
    scene = Scene()
    scene.block()
    scene.review()
    stale = {(key, OPTIONS.name): {"leg": scene._standing(key)} for key in scene.paths}
    scene.lift()
    scene.review()
    assert _said(scene.review(CLEAN_S)) == [("closed", "CallsBlocked", "firewall", "fw-east")]
    fresh = {
        of: {"leg": replace(legs["leg"], failing_since=scene.now - 10.0)}
        for of, legs in stale.items()
    }
    assert _said(scene.book.review(fresh, Pools(), scene.now)) == []


def test_last_good_is_of_what_fails() -> None:
    """OPTIONS that go on passing say nothing of when the last call got through."""
    scene = Scene(checks=(OPTIONS, CALLS))
    now = scene.now
    silent = Standing(
        State.DOWN, 2, 0, now - 9, now - 20, now - 3, last_failed=True, cause=scene.cause, why="x"
    )
    up = Standing(State.UP, passes=3, last_pass_at=now, last_at=now)
    standings = {
        (key, check.name): {"leg": silent if check is CALLS else up}
        for key in scene.paths
        for check in scene.checks
    }
    [opened, *_more] = scene.book.review(standings, Pools(), now)
    assert opened.incident.last_pass_at == now - 20
    assert opened.incident.last_pass_at < opened.incident.first_failure_at
