"""What a SIP final response says about the path: one row a code, one column a method (layer L1).

From the RFCs' words and NENA's test verdicts (RFC 3261 21, RFC 6881 15 ED-77 and ED-82): an answer
that only the far end's policy explains proves the path; one that an element on the way may give in
its place does not. ``usual_pass`` is rule B: this path used to answer 2xx, so a first refusal is
suspected to come from a policy on the way. ``in_place``: another than the usual answerer refuses,
and otherwise than usual, which says the same of a path that never answered 2xx.
"""

from __future__ import annotations

from typing import Final

from psapwatch.verdict import Cause, Outcome

Meaning = tuple[Outcome, Cause, str]

_PASS: Final[Meaning] = (Outcome.PASS, Cause.NONE, "")
_OURS: Final[Meaning] = (Outcome.INCONCLUSIVE, Cause.PROBER_FAULT, "our own request is at fault")
_BEYOND: Final[Meaning] = (Outcome.FAIL, Cause.CALLS_BLOCKED, "blocked beyond the one who answered")
_LOOP: Final[Meaning] = (Outcome.FAIL, Cause.MISROUTED, "a routing loop")
_ASTRAY: Final[Meaning] = (Outcome.FAIL, Cause.MISROUTED, "the request went astray")
_FAR: Final[Meaning] = (Outcome.DEGRADED, Cause.PSAP_ENDPOINT, "reached, but not in service")
_REFUSED: Final[Meaning] = (
    Outcome.DEGRADED,
    Cause.TEST_CALL_REFUSED,
    "the far end refuses test calls",
)
_DOWN: Final[Meaning] = (Outcome.FAIL, Cause.SERVICE_UNAVAILABLE, "out of service")
_POLICY: Final[Meaning] = (Outcome.DEGRADED, Cause.EXPLICIT_REJECT, "refused by policy")
_CONTENT: Final[Meaning] = (Outcome.DEGRADED, Cause.CONTENT_BLOCKED, "refused for its content")

_TABLE: Final[dict[int, tuple[Meaning, Meaning]]] = {
    # code: (to OPTIONS, to a test INVITE)
    200: (_PASS, _PASS),
    300: (
        (Outcome.DEGRADED, Cause.MISROUTED, "redirected; never followed"),
        (Outcome.FAIL, Cause.MISROUTED, "redirected; never followed"),
    ),
    400: (_OURS, _OURS),
    401: (_PASS, _REFUSED),  # i3 3.1.4: must not be asked of a 9-1-1 call
    403: (_POLICY, _REFUSED),
    404: (_FAR, _REFUSED),  # RFC 6881 ED-77: test calls not supported
    405: (_PASS, _ASTRAY),  # a PSAP must take INVITE
    406: (_FAR, _REFUSED),
    407: (_PASS, _REFUSED),
    408: (_BEYOND, _BEYOND),
    410: (_ASTRAY, _ASTRAY),
    413: (_OURS, _CONTENT),
    414: (_OURS, _OURS),
    415: (_PASS, _CONTENT),
    416: (_PASS, _REFUSED),  # never retried with sip: that would be a live call
    417: (_OURS, _OURS),
    420: (_OURS, _OURS),
    421: (_OURS, _OURS),
    424: (_OURS, _OURS),
    480: (_FAR, _FAR),
    481: (_FAR, _FAR),
    482: (_LOOP, _LOOP),
    483: (_LOOP, _LOOP),
    484: (_ASTRAY, _ASTRAY),
    485: (_ASTRAY, _ASTRAY),
    486: (_FAR, _REFUSED),  # RFC 6881 ED-82: busy, or asked again too soon
    487: (_FAR, _FAR),
    488: (_FAR, _REFUSED),  # ED-82, or the media were not liked
    489: (_OURS, _OURS),
    491: (_FAR, _FAR),
    493: (_FAR, _FAR),
    494: (_FAR, _FAR),
    500: (_DOWN, _DOWN),  # 16.7: proxies turn a 503 into a 500
    501: (_PASS, _ASTRAY),
    502: (_DOWN, _DOWN),
    503: (_DOWN, _DOWN),
    504: (_BEYOND, _BEYOND),
    505: (_OURS, _OURS),
    513: (_OURS, _CONTENT),
    580: (_OURS, _OURS),
    600: (_FAR, _REFUSED),
    603: (_FAR, _REFUSED),
    604: (_ASTRAY, _ASTRAY),
    606: (_FAR, _REFUSED),
}

_HUNDREDS: Final = {2: 200, 3: 300, 4: 400, 5: 500, 6: 600}

_SUSPECT_WHEN_NEW: Final[dict[int, Meaning]] = {
    code: (Outcome.FAIL, cause, "not the usual answer: given in place of the far end")
    for cause, codes in (
        (Cause.EXPLICIT_REJECT, (401, 403, 407, 603)),
        (Cause.MISROUTED, (404, 405, 416, 484, 501, 604)),
    )
    for code in codes
}


def meaning_of(
    code: int, method: str, *, usual_pass: bool, retry_after: bool, in_place: bool = False
) -> Meaning:
    """Outcome, cause and words for a final response; unknown codes count as x00 (8.1.3.2).

    A 503 that names Retry-After is the far end shedding load, and proves the path (21.5.4). A 500
    that another than the far end gives stands for a 503 from beyond it (16.7).
    """
    if (usual_pass or in_place) and code in _SUSPECT_WHEN_NEW:
        return _SUSPECT_WHEN_NEW[code]
    if code == 500 and in_place:
        return _BEYOND
    if code == 503 and retry_after and not in_place:
        return (Outcome.DEGRADED, Cause.SERVICE_UNAVAILABLE, "asks to be left alone for a while")
    row = _TABLE.get(code) or _TABLE[_HUNDREDS.get(code // 100, 400)]
    return row[0] if method == "OPTIONS" else row[1]
