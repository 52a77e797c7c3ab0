"""Credentials and callers' locations never reach the disk."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psapwatch.store.redact import redact

PIDF = (
    b'<?xml version="1.0"?>\r\n<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="x">'
    b"<gml:pos>42.3601 -71.0589</gml:pos><!-- \r\n-- --></presence>\r\n"
)

_SECRETS = (b"auth", b"presence", b"pidf", b"geolocation", b"inline:", b"\nk=")


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        pytest.param(
            b'Authorization: Digest username="u", response="5e"\r\n',
            b"Authorization: Digest [withheld]\r\n",
            id="scheme-stays",
        ),
        pytest.param(
            b'PROXY-AUTHORIZATION :Digest username="u",\r\n\tresponse="5e",\r\n  nc=1\r\nTo: a\r\n',
            b"PROXY-AUTHORIZATION : Digest [withheld]\r\nTo: a\r\n",
            id="folded",
        ),
        pytest.param(
            b"Authorization:\r\n Basic dTpw\r\n",
            b"Authorization: [withheld]\r\n",
            id="folded-early",
        ),
        pytest.param(
            b'Authentication-Info: rspauth="5e", nc=1\r\n',
            b"Authentication-Info: [withheld]\r\n",
            id="proof-of-the-server",
        ),
        pytest.param(
            b'WWW-Authenticate: Digest realm="r", nonce="n"\r\n',
            b'WWW-Authenticate: Digest realm="r", nonce="n"\r\n',
            id="a-challenge-is-no-secret",
        ),
        pytest.param(
            b"Geolocation: <sips:loc@example.net>\r\n",
            b"Geolocation: [withheld]\r\n",
            id="reference",
        ),
        pytest.param(
            b"Geolocation: <cid:a@b>\r\n", b"Geolocation: <cid:a@b>\r\n", id="names-a-body-part"
        ),
    ],
)
def test_headers(written: bytes, kept: bytes) -> None:
    """A secret header keeps its name, everything else stays as it is."""
    around = b"INVITE urn:service:test.sos SIP/2.0\r\n%sContent-Length: 0\r\n\r\n"
    assert redact(around % written) == around % kept


def test_a_location_in_a_body_of_its_own() -> None:
    """A PIDF-LO body goes, the headers that describe it stay."""
    head = (
        b"INVITE urn:service:test.sos SIP/2.0\r\nContent-Type: application/pidf+xml\r\nA: b\r\n\r\n"
    )
    assert redact(head + PIDF) == head + b"[withheld]"


def test_a_location_among_several_parts() -> None:
    """Of a multipart body only the location goes; the offer beside it stays."""
    message = (
        b"INVITE urn:service:test.sos SIP/2.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n"
        b"--b\r\nContent-Type: application/pidf+xml\r\nContent-ID: <a@b>\r\n\r\n%s--b--\r\n"
    )
    kept = redact(message % PIDF)
    assert b"42.3601" not in kept
    assert kept == message.replace(b"%s", b"[withheld]\r\n")


def test_keys_of_secured_media_go() -> None:
    """Of each ``a=crypto`` line tag and suite stay, whatever follows the key; ``k=`` goes too."""
    line = b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"
    message = b"SIP/2.0 200 OK\r\n\r\nv=0\r\nk=base64:c2VjcmV0\r\n%s\r\n%s\r\na=ptime:20\r\n"
    secrets = (line + b"c2VjcmV0|2^20|1:4", line + b"c2VjcmV0 UNENCRYPTED_SRTP")
    kept = redact(message % secrets)
    gone = message.replace(b"k=base64:c2VjcmV0", b"k=[withheld]")
    assert kept == gone % ((line + b"[withheld]",) * 2)


@pytest.mark.parametrize("length", [60, 100, 140])
def test_half_a_location_goes_too(length: int) -> None:
    """A body that was cut off in the middle is withheld to its end."""
    kept = redact(b"INVITE urn:service:test.sos SIP/2.0\r\n\r\n" + PIDF[:length])
    assert b"42.36" not in kept
    assert b"presence" not in kept


@given(st.binary(max_size=400))
def test_other_octets_stay_as_they_are(octets: bytes) -> None:
    """A message without secrets is kept octet for octet."""
    lowered = octets.lower()
    if any(word in lowered for word in _SECRETS):
        return
    assert redact(octets) == octets


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_the_secret_goes_whatever_surrounds_it(before: bytes, after: bytes) -> None:
    """An Authorization header that begins a line is withheld in any surroundings."""
    message = before + b"\r\nAuthorization: Digest response=5ecre75ecre7\r\n" + after
    assert b"5ecre75ecre7" not in redact(message)
