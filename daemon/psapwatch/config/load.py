"""Files in, a ``shape.Config`` out, or ``BadConfig`` with everything that is wrong.

Reading goes: octets -> document (lines kept) -> pieces (each against its model) -> rules (between
keys) -> nouns, secrets and certificates -> load against limits. Later steps see whatever the
earlier ones found good, so that one pass names as much as possible; only the load needs all of it.
"""

from __future__ import annotations

import glob
from collections.abc import Callable
from typing import Any, Final

from psapwatch.announced import Window
from psapwatch.config import build, files
from psapwatch.config.budget import excesses
from psapwatch.config.document import FILE_OCTETS_MAX, read_yaml
from psapwatch.config.errors import WHOLE_FILE, BadConfig, ConfigError, Loc
from psapwatch.config.models import FileModel, PsapFileModel
from psapwatch.config.pieces import Parts, Piece, Pieces, cut
from psapwatch.config.reload import NEED_RESTART
from psapwatch.config.rules import broken
from psapwatch.config.shape import Config, Dns
from psapwatch.config.table import read_table

PSAP_FILES_MAX: Final = 10_000


def load(file: str) -> Config:
    """Load a configuration file, ``-`` for standard input.

    Raises:
        BadConfig: with every error that could be found.
    """
    try:
        octets = files.octets_of(file, FILE_OCTETS_MAX + 1)
    except OSError as wrong:
        message = f"cannot be read: {wrong.strerror or 'error'}"
        raise BadConfig([ConfigError(file, 1, WHOLE_FILE, message)]) from None
    return load_octets(octets, file)


def load_octets(octets: bytes, file: str) -> Config:
    """Load a configuration from its text; ``file`` names it, and its folder holds other files.

    Raises:
        BadConfig: with every error that could be found.
    """
    document, errors = read_yaml(octets, file)
    if document is None:
        raise BadConfig(errors)
    loading = _Loading(errors)
    main = loading.keep(cut(document, FileModel))
    parts = loading.gather(main)
    loading.errors.extend(broken(parts))
    config = loading.finish(parts)
    if config is None or loading.errors:
        raise BadConfig(loading.errors)
    too_much = [
        main.document.error(("firewalls", firewall, "limits", limit), message)
        for firewall, limit, message in excesses(config)
    ]
    if too_much:
        raise BadConfig(too_much)
    return config


class _Loading:
    """One run of loading, with the errors found so far."""

    def __init__(self, errors: list[ConfigError]) -> None:
        self.errors = errors

    def keep(self, pieces: Pieces) -> Pieces:
        """Take over what is wrong with the pieces, but what the document said of a key first."""
        told = {(error.file, error.key) for error in self.errors}
        self.errors.extend(error for error in pieces.errors if (error.file, error.key) not in told)
        return pieces

    def gather(self, main: Pieces) -> Parts:
        """Read the PSAP files and join their PSAPs to those of the main file."""
        files_of_psaps = [
            pieces
            for pattern in main.all("psap_files")
            for name in self._match(pattern)
            if (pieces := self._psap_file(name, pattern)) is not None
        ]
        return Parts(main, tuple(files_of_psaps), complete=not self.errors)

    def _match(self, pattern: Piece[str]) -> list[str]:
        wanted = files.beside(pattern.document.file, pattern.model)
        names = sorted(glob.glob(wanted))  # noqa: PTH207 - patterns may be absolute
        if not names:
            self.errors.append(pattern.error(f"{wanted} matches no file"))
        if len(names) > PSAP_FILES_MAX:
            self.errors.append(
                pattern.error(f"{wanted} matches more than {PSAP_FILES_MAX:,} files")
            )
            return []
        return names

    def _psap_file(self, name: str, pattern: Piece[str]) -> Pieces | None:
        if not name.endswith((".yml", ".yaml", ".csv")):
            self.errors.append(pattern.error(f"{name} is neither .yml nor .csv"))
            return None
        try:
            octets = files.octets_of(name, FILE_OCTETS_MAX + 1)
        except OSError as wrong:
            self.errors.append(pattern.error(f"{name} cannot be read: {wrong.strerror or 'error'}"))
            return None
        reader = read_table if name.endswith(".csv") else read_yaml
        document, errors = reader(octets, name)
        self.errors.extend(errors)
        return self.keep(cut(document, PsapFileModel)) if document else None

    def finish(self, parts: Parts) -> Config | None:
        """Make the nouns of everything that is valid; None where something is missing for it."""
        main = parts.main
        firewalls = {
            name: build.firewall(piece, self._wrong(piece))
            for name, piece in parts.firewalls.items()
        }
        vantage, identity = main.one("vantage"), main.one("identity")
        web, store, dns = main.one("web"), main.one("store"), main.one("dns")
        detection = main.one("detection")
        paths = [
            path
            for piece in parts.psaps
            if all(path.firewall in firewalls for path in piece.model.paths)
            for path in build.paths(
                piece, firewalls, vantage.model if vantage else "", self._wrong(piece)
            )
        ]
        self._try_files(main)
        if not (vantage and identity and web and store and dns and detection) or self.errors:
            return None
        crossed = tuple(firewalls.values())
        return Config(
            file=main.document.file,
            vantage=vantage.model,
            identity=build.identity(identity.model),
            web=build.web(main.document.file, web.model),
            store=build.store(main.document.file, store.model),
            dns=Dns(tuple(dns.model.servers)),
            firewalls=crossed,
            checks=tuple(map(build.check, parts.checks)),
            psaps=tuple(build.psap(piece.model) for piece in parts.psaps),
            paths=tuple(paths),
            references=build.references(vantage.model, crossed),
            controls=build.controls(vantage.model, crossed),
            must_blocks=build.must_blocks(vantage.model, crossed),
            detection=build.detection(detection.model),
            maintenance=self._windows(main),
            sinks=tuple(map(build.sink, main.all("sinks"))),
            lines={
                key: main.document.error(tuple(key.split(".")), "").line for key in NEED_RESTART
            },
        )

    def _windows(self, main: Pieces) -> tuple[Window, ...]:
        return tuple(build.window(piece.model) for piece in main.all("maintenance"))

    def _try_files(self, main: Pieces) -> None:
        """Try the files that are opened later: the page's and the sinks'."""
        web = main.one("web")
        if web and web.model.tls:
            pair = build.web(main.document.file, web.model).tls
            try:
                files.load_pair(pair.cert_file or "", pair.key_file or "") if pair else None
            except files.BadFile as bad:
                self.errors.append(web.error(str(bad), "tls"))
        if web and web.model.users_file:
            self._try(web, "users_file", files.users, main.document.file)
        for piece in main.all("sinks"):
            if getattr(piece.model, "headers_file", None):
                self._try(piece, "headers_file", files.headers, main.document.file)

    def _try(self, piece: Piece[Any], key: str, read: Callable[[str], object], beside: str) -> None:
        try:
            read(files.beside(beside, getattr(piece.model, key)))
        except files.BadFile as bad:
            self.errors.append(piece.error(str(bad), key))

    def _wrong(self, piece: Piece[Any]) -> build.Wrong:
        def take(loc: Loc, message: str) -> None:
            self.errors.append(piece.error(message, *loc))

        return take
