"""SIPp scenarios of an answering point, put together from their few parts.

Every scenario answers OPTIONS with 200, because an answering point is probed with both.
"""

from __future__ import annotations

from typing import Final

_ECHOED: Final = """\
[last_Via:]
[last_From:]
[last_To:]{tag}
[last_Call-ID:]
[last_CSeq:]
"""
_TAG: Final = ";tag=[pid]-[call_number]"
_MIRROR: Final = "a=loopback:rtp-media-loopback\na=loopback-mirror\n"


def _answer(status: str, more: str = "Content-Length: 0\n", *, tag: str = _TAG) -> str:
    return f"SIP/2.0 {status}\n{_ECHOED.format(tag=tag)}{more}"


def _ok_with_sdp(loopback: str) -> str:
    return _answer(
        "200 OK",
        f"""\
[last_Record-Route:]
Contact: <sip:psap@[local_ip]:[local_port];transport=[transport]>
Content-Type: application/sdp
Content-Length: [len]

v=0
o=psap 1 1 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000
{loopback}""",
    )


def _send(message: str, attributes: str = "") -> str:
    return f"<send {attributes}><![CDATA[\n{message}\n]]></send>"


_RECEIVE_INVITE: Final = """
<recv request="INVITE" crlf="true" rrs="true">
  <action>
    <ereg regexp=".*" search_in="hdr" header="From:" assign_to="caller"/>
    <ereg regexp=".*" search_in="hdr" header="To:" assign_to="called"/>
    <ereg regexp=".*" search_in="hdr" header="CSeq:" assign_to="invite_cseq"/>
    <ereg regexp=".*" search_in="hdr" header="Via:" assign_to="invite_via"/>
  </action>
</recv>"""
_USED: Final = '<Reference variables="caller,called,invite_cseq,invite_via"/>'
_ACK: Final = '<recv request="ACK"/>'
_BYE: Final = _send(
    f"""\
BYE [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
[routes]
From:[$called]{_TAG}
To:[$caller]
Call-ID: [call_id]
CSeq: 1 BYE
Content-Length: 0
""",
    'retrans="500"',
)
_CALL_UNTIL_BYE: Final = f"""
{_ACK}
<recv request="BYE"/>
{_send(_answer("200 OK", tag=""), 'next="end"')}"""
_CALL_OF_500_MS: Final = f"""
{_ACK}
<recv request="BYE" timeout="500" ontimeout="hangup"/>
{_send(_answer("200 OK", tag=""), 'next="end"')}
<label id="hangup"/>
{_BYE}
<recv response="200" next="end"/>"""
_ANSWER_TO_CANCEL: Final = f"""
<recv request="CANCEL"/>
{_send(_answer("200 OK", tag=""))}
{
    _send(
        f'''SIP/2.0 487 Request Terminated
Via:[$invite_via]
From:[$caller]
To:[$called]{_TAG}
Call-ID: [call_id]
CSeq:[$invite_cseq]
Content-Length: 0
''',
        'retrans="500"',
    )
}
<recv request="ACK" next="end"/>"""

_SLOW: Final = f"""
{_send(_answer("100 Trying", tag=""))}
<recv request="CANCEL" timeout="9000" ontimeout="answer"/>
{_ANSWER_TO_CANCEL.replace('<recv request="CANCEL"/>', "")}
<label id="answer"/>
{_send(_ok_with_sdp(_MIRROR), 'retrans="500"')}
{_CALL_UNTIL_BYE}"""

_CALLS: Final = {
    "mirror": _send(_ok_with_sdp(_MIRROR), 'retrans="500"') + _CALL_OF_500_MS,
    "patient": _send(_ok_with_sdp(_MIRROR), 'retrans="500"') + _CALL_UNTIL_BYE,
    "no_loopback": _send(_ok_with_sdp(""), 'retrans="500"') + _CALL_UNTIL_BYE,
    "ringing": _send(_answer("180 Ringing")) + _ANSWER_TO_CANCEL,
    "slow": _SLOW,
    "busy": _send(_answer("486 Busy Here"), 'retrans="500"') + '<recv request="ACK" next="end"/>',
}


def scenario_xml(name: str) -> str:
    """Return the scenario file's text.

    Raises:
        KeyError: there is no such scenario.
    """
    return f"""<?xml version="1.0" encoding="UTF-8" ?>
<scenario name="{name}">
<recv request="OPTIONS" optional="true" next="options"/>
{_RECEIVE_INVITE}
{_CALLS[name]}
<label id="options"/>
{_send(_answer("200 OK", "Accept: application/sdp" + chr(10) + "Content-Length: 0" + chr(10)))}
<label id="end"/>
{_USED}
</scenario>
"""
