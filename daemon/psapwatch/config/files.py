"""Files that a configuration names: secrets, certificates, lists of users. Read once, at loading.

What a secret file holds never reaches a message: errors name the file and what is wrong with it.
"""

from __future__ import annotations

import errno
import os
import ssl
import sys
from pathlib import Path
from typing import Final

from psapwatch.config.models import AuthModel, TlsModel
from psapwatch.endpoint import Credentials, Tls
from psapwatch.sinks.base import BadHeadersFile, read_headers
from psapwatch.web.users import BadUsersFile, Users

SECRET_OCTETS_MAX: Final = 4096


class BadFile(ValueError):
    """A named file that cannot be used; the message says why."""


STANDARD_INPUT: Final = "-"
CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"
"""Where systemd says that it has put what ``LoadCredential`` names (systemd.exec(5))."""


def octets_of(file: str, most: int) -> bytes:
    """Return the first ``most`` octets of a file, ``-`` for standard input.

    Raises:
        OSError: it cannot be read, or standard input is closed.
    """
    if file != STANDARD_INPUT:
        with Path(file).open("rb") as opened:
            return opened.read(most)
    if sys.stdin is None:  # as Python says that it was closed
        raise OSError(errno.EBADF, "standard input is closed")
    return sys.stdin.buffer.read(most)


def beside(file: str, name: str) -> str:
    """Return ``name`` as seen from the folder of ``file``; from here for standard input.

    As a service we may not read ``secrets/NAME`` beside the configuration, but are given it under
    the name that ``LoadCredential=secrets:FOLDER`` makes of it, ``secrets_NAME``: that one wins.
    """
    given = Path(os.environ.get(CREDENTIALS, "")) / name.replace("/", "_")
    if CREDENTIALS in os.environ and given.is_file():
        return str(given)
    folder = Path() if file == STANDARD_INPUT else Path(file).parent
    return str(folder / name)


def absolute(file: str, name: str) -> str:
    """Return ``name`` as seen from anywhere."""
    return str(Path(beside(file, name)).absolute())


def readable(path: str) -> str:
    """Return ``path`` if it is a file that we can read.

    Raises:
        BadFile: it is missing, a folder or not readable.
    """
    try:
        with Path(path).open("rb"):
            return path
    except OSError as wrong:
        raise _cannot_read(path, wrong) from None


def headers(path: str) -> None:
    """Try that a sink's secret headers can be read.

    Raises:
        BadFile: they cannot.
    """
    try:
        read_headers(Path(path))
    except BadHeadersFile as bad:
        raise BadFile(str(bad)) from None


def users(path: str) -> None:
    """Try that the web's users can be read.

    Raises:
        BadFile: they cannot.
    """
    try:
        Users.of(Path(readable(path)).read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        message = f"{path} is not UTF-8 text"
        raise BadFile(message) from None
    except BadUsersFile as bad:
        message = f"{path}: {bad}"
        raise BadFile(message) from None


def credentials(file: str, auth: AuthModel) -> Credentials:
    """Return user name and password; the password is the first line of its file.

    Raises:
        BadFile: the file cannot be read, or holds no password.
    """
    path = beside(file, auth.password_file)
    try:
        with Path(path).open("rb") as opened:
            octets = opened.read(SECRET_OCTETS_MAX + 1)
    except OSError as wrong:
        raise _cannot_read(path, wrong) from None
    if len(octets) > SECRET_OCTETS_MAX:
        message = f"{path} is larger than {SECRET_OCTETS_MAX} octets: no password"
        raise BadFile(message)
    lines = octets.splitlines()
    try:
        password = lines[0].decode("utf-8") if lines else ""
    except UnicodeDecodeError:
        message = f"{path} is not UTF-8 text"
        raise BadFile(message) from None
    if not password:
        message = f"{path} holds no password on its first line"
        raise BadFile(message)
    return Credentials(auth.username, password)


def tls(file: str, written: TlsModel) -> Tls:
    """Return TLS material with its files as seen from here, after trying that they load.

    Raises:
        BadFile: a file is missing, not PEM, or certificate and key do not belong together.
    """
    ca_file, cert_file, key_file = (
        beside(file, name) if name else None
        for name in (written.ca_file, written.cert_file, written.key_file)
    )
    if (cert_file is None) != (key_file is None):
        message = "cert_file and key_file belong together; write both or neither"
        raise BadFile(message)
    if ca_file:
        _load_authorities(ca_file)
    if cert_file and key_file:
        load_pair(cert_file, key_file)
    return Tls(ca_file, cert_file, key_file, written.verify)


def load_pair(cert_file: str, key_file: str) -> None:
    """Try that a certificate and its key load.

    Raises:
        BadFile: they do not.
    """
    for path in (cert_file, key_file):
        readable(path)
    try:
        _context().load_cert_chain(cert_file, key_file, password=_no_passphrase)
    except ssl.SSLError as wrong:
        if wrong.reason == "KEY_VALUES_MISMATCH":
            message = f"{key_file} is not the key of the certificate in {cert_file}"
        else:
            message = f"{cert_file} and {key_file} are no PEM certificate and unencrypted key"
        raise BadFile(message) from None


def _load_authorities(ca_file: str) -> None:
    readable(ca_file)
    try:
        _context().load_verify_locations(ca_file)
    except ssl.SSLError:
        message = f"{ca_file} holds no PEM certificate"
        raise BadFile(message) from None


def _context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _no_passphrase() -> str:
    return ""  # an encrypted key must fail, not ask the terminal


def _cannot_read(path: str, wrong: OSError) -> BadFile:
    return BadFile(f"{path} cannot be read: {wrong.strerror or 'error'}")
