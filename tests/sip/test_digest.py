"""Digest: the RFCs' worked examples, which challenge is answered, and the nonce count."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psapwatch.endpoint import Credentials
from psapwatch.sip.digest import NONCES_MAX, Digest
from psapwatch.sip.wire import Response

RFC_2617 = (
    'Digest realm="testrealm@host.com", qop="auth,auth-int",'
    ' nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41"'
)
RFC_7616 = (
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={},'
    ' nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",'
    ' opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)
RFC_7616_CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


def _challenged(*values: str, code: int = 401) -> Response:
    name = "WWW-Authenticate" if code == 401 else "Proxy-Authenticate"
    return Response(code, "", tuple((name, value) for value in values))


def _params(answer: tuple[str, str] | None) -> dict[str, str]:
    assert answer is not None
    scheme, _, rest = answer[1].partition(" ")
    assert scheme == "Digest"
    found = re.findall(r'([a-z]+)=(?:"([^"]*)"|([^,\s]+))', rest)
    return {name: quoted or token for name, quoted, token in found}


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _ask(digest: Digest, *values: str, code: int = 401) -> tuple[str, str] | None:
    return digest.answer(_challenged(*values, code=code), "OPTIONS", "sip:h", "c0ffee")


def test_the_example_of_rfc_2617_section_3_5() -> None:
    """MD5 with qop=auth gives the RFC's response, and opaque comes back."""
    digest = Digest(Credentials("Mufasa", "Circle Of Life"))
    answer = digest.answer(_challenged(RFC_2617), "GET", "/dir/index.html", "0a4f113b")
    params = _params(answer)
    assert params["response"] == "6629fae49393a05397450978507c4ef1"
    assert params["opaque"] == "5ccc069c403ebaf9f0171e9517f40e41"
    assert (params["qop"], params["nc"], params["cnonce"]) == ("auth", "00000001", "0a4f113b")


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ("sha-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_examples_of_rfc_7616_section_3_9_1(algorithm: str, response: str) -> None:
    """MD5 and SHA-256 give the RFC's responses."""
    digest = Digest(Credentials("Mufasa", "Circle of Life"))
    challenge = _challenged(RFC_7616.format(algorithm))
    params = _params(digest.answer(challenge, "GET", "/dir/index.html", RFC_7616_CNONCE))
    assert params["response"] == response
    assert params["algorithm"] == algorithm


def test_without_qop_the_answer_is_that_of_rfc_2069() -> None:
    """An old challenge gets neither cnonce nor nc (RFC 2617 3.2.2.1)."""
    params = _params(_ask(Digest(Credentials("u", "p")), 'Digest realm="r", nonce="n"'))
    assert "cnonce" not in params
    assert "nc" not in params
    assert params["response"] == _md5(f"{_md5('u:r:p')}:n:{_md5('OPTIONS:sip:h')}")


@pytest.mark.parametrize(("code", "name"), [(401, "Authorization"), (407, "Proxy-Authorization")])
def test_a_challenge_is_answered_in_its_own_header(code: int, name: str) -> None:
    """401 asks in WWW-Authenticate, 407 in Proxy-Authenticate; each has its answer."""
    answer = _ask(Digest(Credentials("u", "p")), 'Digest realm="r", nonce="n"', code=code)
    assert answer is not None
    assert answer[0] == name


def test_the_header_of_the_other_code_is_not_looked_at() -> None:
    """A 401 with only Proxy-Authenticate asks nothing."""
    response = Response(401, "", (("Proxy-Authenticate", 'Digest realm="r", nonce="n"'),))
    assert Digest(Credentials("u", "p")).answer(response, "OPTIONS", "sip:h", "c") is None


def test_no_other_code_is_a_challenge() -> None:
    """A 403 with a challenge in it is a refusal."""
    response = Response(403, "", (("WWW-Authenticate", 'Digest realm="r", nonce="n"'),))
    assert Digest(Credentials("u", "p")).answer(response, "OPTIONS", "sip:h", "c") is None


MD5 = 'Digest realm="r", nonce="md5", algorithm=MD5, qop="auth"'
SHA_256 = 'Digest realm="r", nonce="sha", algorithm=SHA-256, qop="auth"'
SHA_512 = 'Digest realm="r", nonce="sha512", algorithm=SHA-512-256, qop="auth"'
SESSION = 'Digest realm="r", nonce="sess", algorithm=MD5-sess, qop="auth"'
INTEGRITY = 'Digest realm="r", nonce="int", algorithm=SHA-256, qop="auth-int"'


@pytest.mark.parametrize(
    ("challenges", "nonce"),
    [
        ((MD5, SHA_256), "sha"),
        ((SHA_256, MD5), "sha"),
        ((SHA_512, MD5), "md5"),
        ((SESSION, INTEGRITY, MD5), "md5"),
        (("Basic realm=x", MD5), "md5"),
        ((MD5.replace("md5", "first"), MD5), "first"),
        ((f"{MD5}, {SHA_256}",), "sha"),
        ((f'Bearer realm="x", {MD5}',), "md5"),
        (("garbage", "Digest", MD5), "md5"),
        ((MD5.replace("Digest", "dIGEST").replace("nonce", "NONCE"),), "md5"),
    ],
)
def test_the_strongest_challenge_that_can_be_answered_is(
    challenges: tuple[str, ...], nonce: str
) -> None:
    """SHA-256 before MD5, the topmost of equals, and what we cannot do is passed over."""
    assert _params(_ask(Digest(Credentials("u", "p")), *challenges))["nonce"] == nonce


@pytest.mark.parametrize(
    "challenge",
    [
        SHA_512,
        SESSION,
        INTEGRITY,
        "Basic realm=x",
        'Digest realm="r"',
        'Digest realm="r", nonce=""',
        'Digest realm="r", nonce="n',
        'realm="r", nonce="n"',
        "",
    ],
)
def test_what_cannot_be_answered_is_not(challenge: str) -> None:
    """Another scheme, algorithm or qop, no nonce, or no readable challenge: None."""
    assert _ask(Digest(Credentials("u", "p")), challenge) is None


def test_the_uses_of_a_nonce_are_counted() -> None:
    """The same nonce again counts on; a new one, as after stale=true, starts at 1."""
    digest = Digest(Credentials("u", "p"))
    stale = MD5.replace('"md5"', '"fresh"') + ", stale=true"
    counts = [_params(_ask(digest, value))["nc"] for value in (MD5, MD5, stale, MD5, stale)]
    assert counts == ["00000001", "00000002", "00000001", "00000003", "00000002"]


def test_each_count_changes_the_response() -> None:
    """The count is hashed, so that no answer can be replayed."""
    digest = Digest(Credentials("u", "p"))
    responses = [_params(_ask(digest, MD5))["response"] for _ in range(3)]
    assert len(set(responses)) == 3


def test_only_so_many_nonces_are_remembered() -> None:
    """A server with a new nonce each time does not fill the memory."""
    digest = Digest(Credentials("u", "p"))
    for number in range(3 * NONCES_MAX):
        _ask(digest, MD5.replace('"md5"', f'"{number}"'))
    assert len(digest._uses) == NONCES_MAX
    assert _params(_ask(digest, MD5.replace('"md5"', '"0"')))["nc"] == "00000001"


def test_escapes_in_a_realm_go_back_as_they_came() -> None:
    """The realm is hashed and returned as it stood between its quotes (RFC 7616 3.4.2)."""
    answer = _ask(Digest(Credentials("u", "p")), 'Digest realm="a\\"b, c", nonce="n"')
    assert answer is not None
    assert 'realm="a\\"b, c"' in answer[1]


@pytest.mark.parametrize("username", ['a"b', "a\\b", "a\r\nX: y"])
def test_a_user_name_that_cannot_be_quoted_is_refused_at_once(username: str) -> None:
    """Quotes and line ends in the configuration never reach a header."""
    with pytest.raises(ValueError):
        Digest(Credentials(username, "p"))


def test_the_password_shows_nowhere() -> None:
    """Neither the answer nor the credentials' representation holds the password."""
    credentials = Credentials("u", "hunter2")
    answer = _ask(Digest(credentials), MD5)
    assert "hunter2" not in f"{answer} {credentials}"


@given(st.text(alphabet='Digest realm="n,\\ =qop', max_size=60))
def test_no_challenge_makes_it_fail(challenge: str) -> None:
    """Any text where a challenge should be is answered or not, and nothing else."""
    answer = _ask(Digest(Credentials("u", "p")), challenge, "Digest " + challenge)
    assert answer is None or answer[1].startswith("Digest ")
