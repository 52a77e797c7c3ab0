"""The short form of ``tests/random_dialogs.py``: random calls that all end, on both sides."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import pytest

from psapwatch.sip.call import Call
from psapwatch.sip.invitation import Invitation
from psapwatch.sip.legs import Legs
from psapwatch.sip.transaction import INVITE, Input, State
from random_dialogs import run

DIALOGS_PER_SEED = 100
MET = (
    "ended bye_received",
    "ended bye_sent",
    "ended cancelled",
    "ended no_answer",
    "ended rejected",
    "connection_lost",
    "discarded",
    "forked",
    "icmp",
    "local_error",
    "malformed",
    "not_tried",
    "repeated",
    "silent",
    "teardown_failed",
    "unsafe",
)
"""What random dialogs must meet, so that they are no walk in the park."""


@pytest.mark.seeds
def test_every_random_dialog_ends_and_breaks_no_rule(seeds: range) -> None:
    """Five hundred of them (with PSAPWATCH_SEEDS=100 ten thousand), and they meet everything."""
    met: Counter[str] = Counter()
    for seed in range(1, 1 + DIALOGS_PER_SEED * len(seeds)):
        met.update(run(seed).facts)
    assert [name for name in MET if not met[name]] == []


def test_the_same_seed_gives_the_same_transcript() -> None:
    """Nothing but the seed decides what happens; another seed is another story."""
    digests = [run(seed).digest for seed in (3, 4, 5)]
    assert [run(seed).digest for seed in (3, 4, 5)] == digests
    assert len(set(digests)) == 3


def _no_bye(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Legs, "hang_up", lambda _self, _now: None)


def _early_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Invitation, "cancel", Invitation._send_cancel)


def _no_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(call: Call, now: float) -> None:
        call.ledger_due = call._invitation.octets
        call.ledgered(now)

    monkeypatch.setattr(Call, "start", start)


def _deaf_to_late_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(INVITE, (State.LISTENING, Input.SUCCESS))


@pytest.mark.parametrize(
    "sabotage",
    [_no_bye, _early_cancel, _no_ledger, _deaf_to_late_answers],
    ids=lambda it: it.__name__,
)
def test_the_rules_bite(
    sabotage: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call with one thing broken is found out, with its transcript and how to replay it."""
    sabotage(monkeypatch)
    with pytest.raises(AssertionError) as broken:
        _run_many()
    transcript, plot, command = broken.value.__notes__
    assert "-> INVITE" in transcript
    assert plot.startswith("Plot(")
    assert re.fullmatch(r"python tests/random_dialogs.py --seed \d+ --count 1 --show", command)


def _run_many() -> None:
    for seed in range(1, 301):
        run(seed)
