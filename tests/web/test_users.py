"""Who may use the web door."""

from __future__ import annotations

import asyncio
import base64

import pytest

from psapwatch.web.users import BadUsersFile, Users, hash_password
from samples import Desk
from web.web_door import door

SALT = bytes(range(16))
FILE = f"""# people

noc:{hash_password("right", SALT)}
prometheus:{hash_password("scrape", SALT)}
"""


def basic(name: str, password: str) -> str:
    """Return an Authorization header."""
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("header", "user"),
    [
        (basic("noc", "right"), "noc"),
        (basic("prometheus", "scrape"), "prometheus"),
        (basic("noc", "right").replace("Basic", "bAsIc"), "noc"),
        (basic("noc", "wrong"), None),
        (basic("noc", ""), None),
        (basic("nobody", "right"), None),
        (basic("", "right"), None),
        ("Bearer right", None),
        ("Basic ???", None),
        ("Basic /w==", None),
        ("Basic " + "A" * 9999, None),
        ("", None),
    ],
)
def test_only_the_right_password_of_a_named_user_opens(header: str, user: str | None) -> None:
    """Twice, because the second answer comes from memory."""

    async def twice() -> list[str | None]:
        users = Users.of(FILE)
        return [await users.user_of(header), await users.user_of(header)]

    assert asyncio.run(twice()) == [user, user]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "nobody is named"),
        ("# only a comment\n", "nobody is named"),
        ("noc:secret\n", "line 1: after the name"),
        ("noc:scrypt:00:00\n", "line 1: after the name"),
        ("noc:scrypt:zz:zz\n", "line 1: after the name"),
        ("\n:scrypt:00:00\n", "line 2: a name"),
        (FILE + FILE, "line 7: a name"),
    ],
)
def test_a_users_file_that_cannot_be_read_says_which_line(text: str, complaint: str) -> None:
    """Plain passwords, short salts, and names that come twice are refused."""
    with pytest.raises(BadUsersFile, match=complaint):
        Users.of(text)


def test_with_users_everything_but_health_asks_for_a_name() -> None:
    """Pages, metrics and events are closed; load balancers still see health and readiness."""

    async def exchange() -> dict[str, int]:
        async with door(users=Users.of(FILE)) as at:
            seen = {}
            for url in ("/", "/metrics", "/api/v1/events", "/-/healthy", "/-/ready"):
                async with at.http.get(url) as answer:
                    seen[url] = answer.status
                    if answer.status == 401:
                        assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")
            headers = {"Authorization": basic("prometheus", "scrape")}
            async with at.http.get("/metrics", headers=headers) as answer:
                seen["signed in"] = answer.status
            return seen

    assert asyncio.run(exchange()) == {
        "/": 401,
        "/metrics": 401,
        "/api/v1/events": 401,
        "/-/healthy": 200,
        "/-/ready": 200,
        "signed in": 200,
    }


def test_who_signed_in_is_kept_with_what_was_done() -> None:
    """A change names its author and, where they differ, the user; a reload names the user."""
    desk = Desk()

    async def exchange() -> None:
        async with door(desk, users=Users.of(FILE), lifecycle=True) as at:
            headers = {"Authorization": basic("noc", "right")}
            for by in ("noc", "Ann"):
                body = {"what": "CHG", "by": by, "at": 1}
                async with at.http.post("/api/v1/changes", json=body, headers=headers) as answer:
                    assert answer.status == 201
            async with at.http.post("/-/reload", headers=headers) as answer:
                assert answer.status == 200

    asyncio.run(exchange())
    assert desk.done == [
        ("change", "CHG", "noc", "1.0"),
        ("change", "CHG", "Ann (signed in as noc)", "1.0"),
        ("reload", "noc"),
    ]
