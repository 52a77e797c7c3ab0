"""What an attempt means: closed sets of outcomes, planes and causes (layer L0).

``Cause`` values are metric label values and part of the contract: append, never rename.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from psapwatch.frozen import frozen


class Outcome(StrEnum):
    """How an attempt ended, as the ``outcome`` label says it."""

    PASS = "pass"  # noqa: S105 - an outcome, not a password
    DEGRADED = "degraded"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class Plane(StrEnum):
    """Which layer of the call the verdict speaks of."""

    SELF = "self"
    NAME = "name"
    PATH = "path"
    TLS = "tls"
    SIGNALLING = "signalling"
    MEDIA = "media"


class Cause(StrEnum):
    """Why: the closed set of the contract, in its order; ``none`` for a pass."""

    CALLS_BLOCKED = "calls_blocked"
    INVITE_BLOCKED = "invite_blocked"
    MEDIA_BLOCKED = "media_blocked"
    ONE_WAY_MEDIA = "one_way_media"
    INTERMITTENT_LOSS = "intermittent_loss"
    NEW_FLOWS_BLOCKED = "new_flows_blocked"
    STALE_FLOW = "stale_flow"
    SOURCE_BLOCKED = "source_blocked"
    LARGE_MESSAGE_UDP_LOST = "large_message_udp_lost"
    LARGE_MESSAGE_TCP_STALLED = "large_message_tcp_stalled"
    CONTENT_BLOCKED = "content_blocked"
    RATE_LIMITED = "rate_limited"
    UDP_STATE_TIMEOUT = "udp_state_timeout"
    EXPLICIT_REJECT = "explicit_reject"
    CONNECTION_REFUSED = "connection_refused"
    FINAL_RESPONSE_LOST = "final_response_lost"
    ACK_LOST = "ack_lost"
    TEARDOWN_BLOCKED = "teardown_blocked"
    NAME_RESOLUTION = "name_resolution"
    TLS_FAILURE = "tls_failure"
    TLS_CERTIFICATE = "tls_certificate"
    ADDRESS_FAMILY = "address_family"
    UNREACHABLE = "unreachable"
    PSAP_ENDPOINT = "psap_endpoint"
    SERVICE_UNAVAILABLE = "service_unavailable"
    MISROUTED = "misrouted"
    ALG_REWRITE = "alg_rewrite"
    MALFORMED_RESPONSE = "malformed_response"
    TEST_CALL_REFUSED = "test_call_refused"
    UNSAFE_ANSWER = "unsafe_answer"
    PROBER_FAULT = "prober_fault"
    PROBER_QUARANTINED = "prober_quarantined"
    PATH_BYPASSED = "path_bypassed"
    UNKNOWN = "unknown"
    NONE = "none"


_FAIL: Final = Outcome.FAIL
_PASSES: Final = (Outcome.PASS, Outcome.DEGRADED)


@frozen
class Verdict:
    """Outcome, named reason, the plane it speaks of, and one measured sentence of why."""

    outcome: Outcome
    cause: Cause
    plane: Plane
    why: str

    @property
    def failed(self) -> bool:
        """Whether the attempt counts towards ``fall``."""
        return self.outcome is _FAIL

    @property
    def passed(self) -> bool:
        """Whether the attempt counts towards ``rise``: degraded proves the path as a pass does."""
        return self.outcome in _PASSES


PASSED: Final = Verdict(Outcome.PASS, Cause.NONE, Plane.SIGNALLING, "answered as expected")


def prober_fault(error: BaseException) -> Verdict:
    """The verdict on an attempt that our own bug ended: never about a PSAP."""
    why = f"{type(error).__name__}: {error}"[:200]
    return Verdict(Outcome.INCONCLUSIVE, Cause.PROBER_FAULT, Plane.SELF, why)
