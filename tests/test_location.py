"""The location that a test call carries: valid by its schemas, new each time, and known again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import pytest
import xmlschema

from psapwatch.location import (
    CIVIC,
    Civic,
    Message,
    Point,
    call_identifiers,
    pidf_lo,
    sameness,
    with_location,
    with_padding,
)
from psapwatch.sip.offer import build_offer, read_answer

SCHEMAS: Final = Path(__file__).parent / "golden" / "pidf"
BOSTON: Final = Point(42.3601, -71.0589)
STREET: Final = Civic(
    (("country", "US"), ("HNO", "1"), ("A1", "MA"), ("A3", "Boston"), ("RD", "Test & Trial"),
     ("STS", "Street"), ("PC", "02108"))
)  # fmt: skip
NOON: Final = 1_718_712_900.75
TOKEN: Final = "00112233445566778899aabbccddeeff"
NS: Final = {
    "p": "urn:ietf:params:xml:ns:pidf",
    "dm": "urn:ietf:params:xml:ns:pidf:data-model",
    "gp": "urn:ietf:params:xml:ns:pidf:geopriv10",
    "gbp": "urn:ietf:params:xml:ns:pidf:geopriv10:basicPolicy",
    "gml": "http://www.opengis.net/gml",
    "ca": "urn:ietf:params:xml:ns:pidf:geopriv10:civicAddr",
}


@pytest.fixture(scope="module")
def schema() -> xmlschema.XMLSchema:
    """All six schemas, so that no wildcard lets anything of theirs through unread."""
    more = ("data-model", "geopriv10", "civicAddr", "gml-point")
    built = xmlschema.XMLSchema(str(SCHEMAS / "pidf.xsd"), build=False)
    for name in more:
        built.add_schema(str(SCHEMAS / f"{name}.xsd"))
    built.build()
    return built


def document(place: Point | Civic, **more: Any) -> bytes:
    """One document."""
    settings: dict[str, Any] = {"entity": "pres:probe@example.net", "device": TOKEN, "at": NOON}
    return pidf_lo(place, **{**settings, **more})


@pytest.mark.parametrize("place", [BOSTON, STREET, Point(-90, 180), Civic(())])
def test_documents_are_valid(schema: xmlschema.XMLSchema, place: Point | Civic) -> None:
    """Point and civic, at the ends of the earth and empty."""
    schema.validate(document(place).decode())


def test_every_civic_element_is_valid_in_any_order(schema: xmlschema.XMLSchema) -> None:
    """They are written in the schema's order whatever order they are given in."""
    parts = [(name, "US" if name == "country" else f"<{name}>") for name in reversed(CIVIC)]
    schema.validate(document(Civic(tuple(parts))).decode())


@pytest.mark.parametrize(("old", "new"), [
    (">false<", ">no<"),
    ("gbp:retention-expiry", "gbp:retention-expires"),
    ("gml:pos>42", "gml:pos>x"),
    ("::4326", "::4979"),
    ("<dm:deviceID>", "<dm:timestamp>2024-06-18T12:00:00Z</dm:timestamp><dm:deviceID>"),
    (' id="prober"', ""),
    ("gp:usage-rules", "gp:rules"),
])  # fmt: skip
def test_the_schemas_are_not_asleep(schema: xmlschema.XMLSchema, old: str, new: str) -> None:
    """What the RFCs' prose and examples get wrong is refused: this test could fail."""
    spoilt = document(BOSTON).decode().replace(old, new)
    assert spoilt != document(BOSTON).decode()
    assert not schema.is_valid(spoilt)


def test_a_civic_element_that_does_not_exist_is_refused() -> None:
    """RFC 5139 has no ZIP."""
    with pytest.raises(ValueError, match="ZIP"):
        document(Civic((("ZIP", "02108"),)))


def test_latitude_comes_first() -> None:
    """And to a tenth of a metre."""
    root = ET.fromstring(document(BOSTON))  # noqa: S314 - our own
    assert root.findtext(".//gml:pos", namespaces=NS) == "42.360100 -71.058900"


def test_one_device_one_location() -> None:
    """RFC 5491 rule 8: there is nothing to choose between."""
    root = ET.fromstring(document(STREET))  # noqa: S314 - our own
    assert len(root.findall("dm:device", NS)) == len(root.findall(".//gp:location-info", NS)) == 1
    assert root.findtext(".//ca:RD", namespaces=NS) == "Test & Trial"


def test_it_is_written_anew_for_every_call() -> None:
    """Its moment is the call's, and its retention ends a day later: never in the past."""
    for at in (NOON, NOON + 300):
        root = ET.fromstring(document(BOSTON, at=at))  # noqa: S314 - our own
        written = root.findtext(".//dm:timestamp", namespaces=NS)
        expires = root.findtext(".//gbp:retention-expiry", namespaces=NS)
        assert written
        assert expires
        assert datetime.fromisoformat(written) == datetime.fromtimestamp(int(at), UTC)
        assert (datetime.fromisoformat(expires) - datetime.fromisoformat(written)).days == 1


def test_a_body_holds_offer_and_location() -> None:
    """Another MIME reader finds both, and the header names the part by its Content-ID."""
    sdp = build_offer("192.0.2.1", 40_000, 7)
    message = with_location(sdp, document(BOSTON), identity="example.net", token=TOKEN)
    read = message_from_bytes(
        f"Content-Type: {message.content_type}\r\n\r\n".encode() + message.body
    )
    parts: Any = read.get_payload()
    offer, location = parts
    assert offer.get_content_type() == "application/sdp"
    assert offer.get_payload(decode=True).replace(b"\n", b"\r\n").split() == sdp.split()
    assert location.get_content_type() == "application/pidf+xml"
    named = dict(message.headers)["Geolocation"]
    assert named == f"<cid:{location['Content-ID'].strip('<>')}>"
    assert dict(message.headers)["Geolocation-Routing"] == "yes"


def test_our_own_reader_finds_the_offer() -> None:
    """The same multipart reader that reads answers."""
    sdp = build_offer("192.0.2.1", 40_000, 7)
    message = with_location(sdp, document(BOSTON), identity="example.net", token=TOKEN)
    assert read_answer(message.body, message.content_type).what == "source"


def test_padding_makes_it_as_long_without_a_word_of_location() -> None:
    """Size alone is left: the same octets with its headers, and the offer is still found."""
    sdp = build_offer("192.0.2.1", 40_000, 7)
    full = with_location(sdp, document(BOSTON), identity="example.net", token=TOKEN)
    full = replace(full, headers=full.headers + call_identifiers("example.net", TOKEN))
    padded = with_padding(sdp, full, token=TOKEN)

    def octets(message: Message) -> int:
        headers = (("Content-Type", message.content_type), *message.headers)
        return len(message.body) + sum(len(f"{name}: {value}\r\n") for name, value in headers)

    assert octets(padded) == octets(full) > 1_300
    assert padded.headers == ()
    for word in (b"pidf", b"geopriv", b"presence", b"42.36"):
        assert word not in padded.body
    assert read_answer(padded.body, padded.content_type).what == "source"


def test_identifiers_are_as_i3_writes_them() -> None:
    """A call and an incident, 16 letters and digits each, no two alike; nothing of an ESInet's."""
    call, incident = call_identifiers("example.net", TOKEN)
    assert call == (
        "Call-Info",
        "<urn:emergency:uid:callid:0011223344556677:example.net>;purpose=emergency-CallId",
    )
    assert incident[1].startswith("<urn:emergency:uid:incidentid:8899aabbccddeeff:example.net>")
    assert "emergency-source" not in call[1] + incident[1]


CIVIC_ECHO: Final = (
    b"<gp:location-info><ca:civicAddress xml:lang='en'><ca:country>US</ca:country>"
    b"<ca:A3> BOSTON </ca:A3><ca:RD>Test &amp; Trial</ca:RD></ca:civicAddress></gp:location-info>"
)


@pytest.mark.parametrize(("echo", "expected"), [
    (document(STREET), "same"),
    (CIVIC_ECHO, "same"),
    (CIVIC_ECHO.replace(b"BOSTON", b"Lynn"), "other"),
    (CIVIC_ECHO.replace(b"ca:", b""), "same"),
    (document(BOSTON), ""),
    (b"", ""),
])  # fmt: skip
def test_an_echoed_civic_address_is_compared_in_what_comes_back(echo: bytes, expected: str) -> None:
    """An answering point may leave elements out, and write them in capitals; not change them."""
    assert sameness(STREET, echo, "") == expected


PIDF_ECHO: Final = (
    b'<gml:Point srsName="x"><gml:pos srsDimension="2">\n 42.36010 -71.05890 </gml:pos></gml:Point>'
)


@pytest.mark.parametrize(("echo", "text", "expected"), [
    (b"", "", ""),
    (b"", "Boston PD\r\nurn:service:test.sos\r\n1 Schroeder Plaza\r\n", ""),
    (PIDF_ECHO, "", "same"),
    (PIDF_ECHO.replace(b"42.36010", b"41.0"), "", "other"),
    (PIDF_ECHO.replace(b"gml:", b""), "", "same"),
    (b"", "Boston PD\nurn:service:test.sos\n42.36010, -71.05890", "same"),
    (b"", "42.3599 -71.0593", "same"),
    (b"", "42.3701 -71.0589", "other"),
    (b"<gml:pos>-71.0589 42.3601</gml:pos>", "", "other"),
    (b"<gml:pos>42.3601</gml:pos>", "1.2.3.4 5.6", ""),
    (b"<!DOCTYPE x [<!ENTITY a 'b'>]>&a;", "", ""),
])  # fmt: skip
def test_an_echoed_location_is_compared(echo: bytes, text: str, expected: str) -> None:
    """By value or read out; swapped coordinates are another place; no position says nothing."""
    assert sameness(BOSTON, echo, text) == expected
