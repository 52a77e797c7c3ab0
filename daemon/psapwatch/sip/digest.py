"""Digest credentials for 401 and 407 (RFC 3261 22, RFC 7616, RFC 8760; layer L1).

aiosipua computes and writes them. Reading the challenges is ours: a response may carry several,
the strongest that can be answered is taken, and parameter names are not case-sensitive.
"""

from __future__ import annotations

import re
from typing import Final

from aiosipua import AuthChallenge, SipDigestAuth, build_credentials, stringify_auth

from psapwatch.endpoint import Credentials
from psapwatch.sip.wire import Response

NONCES_MAX: Final = 16
"""Nonces whose use is counted; the oldest is forgotten."""
CHALLENGES_MAX: Final = 16
"""Challenges of one response that are looked at."""

_HEADERS: Final = {
    401: ("WWW-Authenticate", "Authorization"),
    407: ("Proxy-Authenticate", "Proxy-Authorization"),
}
_STRENGTH: Final = {"SHA-256": 0, "MD5": 1}
"""RFC 8760 2.4 leaves the choice to local policy: the stronger first, then the topmost."""
_PARAM: Final = re.compile(
    r"\s*(?:([^\s,=\"]++)\s++)?([^\s,=\"]++)\s*=\s*(?:\"((?:[^\"\\]++|\\.)*+)\"|([^\s,\"]++))\s*(?:,\s*|\Z)",
    re.DOTALL,
)
_UNQUOTABLE: Final = re.compile(r'["\\\x00-\x1f\x7f]')


class Digest:
    """Answers challenges for one set of credentials, counting the uses of each nonce."""

    def __init__(self, credentials: Credentials) -> None:
        """Take the credentials.

        Raises:
            ValueError: the user name has a quote, a backslash or a control character.
        """
        if _UNQUOTABLE.search(credentials.username):
            raise ValueError("a user name cannot have quotes, backslashes or control characters")
        self._auth = SipDigestAuth(credentials.username, credentials.password)
        self._uses: dict[str, int] = {}

    def answer(
        self, response: Response, method: str, uri: str, cnonce: str
    ) -> tuple[str, str] | None:
        """Return the header (name and value) that answers a 401 or 407.

        A stale nonce (RFC 7616 3.3) needs nothing special: its successor counts from 1 again.

        Returns:
            None where no challenge can be answered: another scheme, algorithm or qop.
        """
        names = _HEADERS.get(response.code)
        if names is None:
            return None
        for challenge in _challenges(response.all(names[0])):
            nonce = challenge.params.get("nonce", "")
            uses = self._uses.get(nonce, 0) + 1
            credentials = build_credentials(
                self._auth, challenge, method, uri, nonce_count=uses, cnonce=cnonce
            )
            if credentials is not None:
                self._count(nonce, uses)
                return names[1], stringify_auth(credentials)
        return None

    def _count(self, nonce: str, uses: int) -> None:
        self._uses.pop(nonce, None)
        self._uses[nonce] = uses
        while len(self._uses) > NONCES_MAX:
            del self._uses[next(iter(self._uses))]


def _challenges(values: tuple[str, ...]) -> list[AuthChallenge]:
    """Digest challenges whose algorithm we know, strongest first."""
    found = [challenge for value in values for challenge in _read(value)][:CHALLENGES_MAX]
    known = [
        challenge
        for challenge in found
        if challenge.scheme.lower() == "digest" and _algorithm(challenge) in _STRENGTH
    ]
    return sorted(known, key=lambda challenge: _STRENGTH[_algorithm(challenge)])


def _algorithm(challenge: AuthChallenge) -> str:
    return challenge.params.get("algorithm", "MD5").upper()


def _read(value: str) -> list[AuthChallenge]:
    """Read one header value; one that does not parse to its end holds no challenge."""
    challenges: list[AuthChallenge] = []
    start = 0
    while start < len(value):
        match = _PARAM.match(value, start)
        if match is None:
            return []
        scheme, name, quoted, token = match.groups()
        if scheme:
            challenges.append(AuthChallenge(scheme, {}))
        if not challenges:
            return []
        # RFC 7616 3.4.2 hashes the text between the quotes as it stands, escapes included
        challenges[-1].params.setdefault(name.lower(), token if quoted is None else quoted)
        start = match.end()
    return challenges
