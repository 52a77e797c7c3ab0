"""The octets that an answering point sends: responses with their bodies, BYE, callbacks (layer L1).

RFC 6849 5.2: the answer to ``loopback-source`` is ``loopback-mirror`` with exactly one type.
RFC 6881 ED-78: a text part names the PSAP, the service and the location.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Final

from psapwatch.endpoint import Address, TransportName
from psapwatch.sip.answering_script import MANGLES, REASONS, SDP_EDITS, Body, Step
from psapwatch.sip.offer import build_answer
from psapwatch.sip.request import ANSWER_AFTER, ANSWER_AFTER_MAX_S
from psapwatch.sip.saw import SAW, Saw
from psapwatch.sip.server_transaction import Heard, ServerTransaction

ALLOW: Final = "INVITE, ACK, CANCEL, BYE, OPTIONS"
_BOUNDARY: Final = "answering-point"
_RPORT: Final = re.compile(r";\s*rport(?=[;,\s]|$)", re.IGNORECASE)
_NUMERIC: Final = re.compile(r"<?sips?:(?:[^@>;]*@)?(\[[0-9a-fA-F:.]+\]|[0-9.]+)(?::(\d+))?")


@dataclass(frozen=True, slots=True)
class Answerer:
    """Who answers: its name, its own address, where its mirror is, and what location it tells."""

    name: str
    address: Address
    media: Address
    location: str = ""
    key: bytes = field(default=b"", repr=False)
    """For what its mirror sends, where the offer is of secured media."""

    contact: str = field(init=False)
    """The Contact value; i3 has the PSAP's identity in it."""

    def __post_init__(self) -> None:
        user = re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-") or "psap"
        object.__setattr__(self, "contact", f"<sip:{user}@{self.address}>")


def response(answerer: Answerer, transaction: ServerTransaction, step: Step, tag: str) -> bytes:
    """One response of a script: headers copied as RFC 3261 8.2.6 says, then mangled."""
    request, source = transaction.request, transaction.source
    fields, code = request.fields, step.code
    via, *more_vias = fields["via"]
    # RFC 3581 4: the response goes where the request came from, and says so.
    via = _RPORT.sub(f";rport={source.port};received={source.host}", via, count=1)
    to = fields["to"][0]
    if code > 100 and not request.to_tag:  # a 100 carries no tag
        to = f"{to};tag={tag}"
    lines = [
        f"SIP/2.0 {code} {REASONS.get(code, 'Answer')}",
        f"Via: {via}",
        *(f"Via: {value}" for value in more_vias),
        f"From: {fields['from'][0]}",
        f"To: {to}",
        f"Call-ID: {request.call_id}",
        f"CSeq: {fields['cseq'][0]}",
    ]
    if not step.headers or all(name != "Server" for name, _value in step.headers):
        lines.append("Server: psapwatch answering point")
    if 100 < code < 300:  # what sets up a dialog, or says what we can do
        lines.extend(f"Record-Route: {value}" for value in fields.get("record-route", ()))
        lines.append(f"Contact: {answerer.contact}")
        lines.append(f"Allow: {ALLOW}")
    if transaction.note:
        lines.append(f"{SAW}: {transaction.note}")
    lines.extend(f"{name}: {value}" for name, value in step.headers)
    kind, body = body_of(answerer, step.body, request.body) if step.body != "none" else ("", b"")
    if kind:
        lines.append(f"Content-Type: {kind}")
    lines.append(f"Content-Length: {len(body)}\r\n\r\n")
    return MANGLES[step.mangle]("\r\n".join(lines).encode() + body)


def body_of(answerer: Answerer, kind: Body, offer: bytes) -> tuple[str, bytes]:
    """Content-Type and octets of one kind of body; two empty values for none."""
    urn = "urn:service:sos" if kind == "live_text" else "urn:service:test.sos"
    text = f"{answerer.name}\r\n{urn}\r\n{answerer.location}\r\n".encode()
    if kind == "text":
        return "text/plain", text
    try:
        media = answerer.media
        sdp = build_answer(offer, media.host, media.port, 1, key=answerer.key)
    except ValueError:  # no loopback was offered: a 200 without SDP says so
        return "", b""
    for pattern, replacement in SDP_EDITS.get(kind, ()):
        sdp = re.sub(pattern, replacement, sdp)
    if kind not in ("multipart", "live_text"):
        return "application/sdp", sdp
    parts = ((b"application/sdp", sdp), (b"text/plain", text))
    whole = b"".join(
        b"--%s\r\nContent-Type: %s\r\n\r\n%s\r\n" % (_BOUNDARY.encode(), part, octets)
        for part, octets in parts
    )
    return f"multipart/mixed;boundary={_BOUNDARY}", whole + b"--%s--\r\n" % _BOUNDARY.encode()


def seen_as(
    request: Heard, size: int, source: Address, transport: TransportName, dscp: int | None
) -> str:
    """What arrived of a request, for the header that tells its sender."""
    return str(
        Saw.of_message(
            via=request.fields["via"][-1],
            contact=request.first("contact"),
            body=request.body,
            arrival=(transport, str(source), size, dscp),
        )
    )


def bye(
    answerer: Answerer,
    invite: Heard,
    tag: str,
    transport: TransportName,
    branch: str,
    media: tuple[int, int] | None = None,
) -> bytes:
    """BYE inside the dialog that an INVITE made, from the answering side (RFC 3261 12.2.1.1).

    ``media``: RTP packets sent and received, told in the header that many user agents have.
    """
    routes = [f"Route: {route}" for route in invite.fields.get("record-route", ())]
    if media is not None:
        routes.append(f"P-RTP-Stat: PS={media[0]},PR={media[1]}")
    dialog = (f"{invite.first('to')};tag={tag}", invite.first("from"), invite.call_id)
    return _request("BYE", answerer, invite, dialog, (transport, branch), routes)


def callback(
    answerer: Answerer, invite: Heard, call_id: str, tag: str, transport: TransportName, branch: str
) -> bytes:
    """INVITE back to the caller: what a test call must never lead to."""
    callee = re.sub(r";\s*tag=[^;]*", "", invite.first("from"))
    dialog = (f"{answerer.contact};tag={tag}", callee, f"{call_id}@{answerer.address.host}")
    return _request("INVITE", answerer, invite, dialog, (transport, branch), [])


def next_hop(invite: Heard, source: Address, transport: TransportName) -> Address:
    """Where our request goes: the route set, else Contact; on a stream, back along it."""
    found = _NUMERIC.search(invite.first("record-route") or invite.first("contact"))
    if transport != "udp" or found is None:
        return source
    return Address(found[1].strip("[]"), int(found[2] or 5060))


def _request(
    method: str,
    answerer: Answerer,
    invite: Heard,
    dialog: tuple[str, str, str],
    hop: tuple[TransportName, str],
    routes: list[str],
) -> bytes:
    contact = invite.first("contact")
    target = contact.partition("<")[2].partition(">")[0] or contact
    caller, callee, call_id = dialog
    transport, branch = hop
    lines = [
        f"{method} {target} SIP/2.0",
        f"Via: SIP/2.0/{transport.upper()} {answerer.address};branch={branch};rport",
        "Max-Forwards: 70",
        *routes,
        f"From: {caller}",
        f"To: {callee}",
        f"Call-ID: {call_id}",
        f"CSeq: 1 {method}",
        f"Contact: {answerer.contact}",
        "Content-Length: 0\r\n\r\n",
    ]
    return "\r\n".join(lines).encode()


def delayed(steps: tuple[Step, ...], request: Heard) -> tuple[Step, ...]:
    """The steps as late as the caller asks for (``ANSWER_AFTER``), with a 100 at once."""
    asked = request.first(ANSWER_AFTER.lower())
    if not (steps and asked.isdecimal() and len(asked) <= len(str(ANSWER_AFTER_MAX_S))):
        return steps
    late_s = min(int(asked), ANSWER_AFTER_MAX_S)
    return (Step(100), *(replace(step, at_s=step.at_s + late_s) for step in steps))
