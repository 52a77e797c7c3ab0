"""``Config``: what a configuration comes to, frozen, ready for the daemon.

::

    Config
      file          str                      as it was named; "-" for standard input
      vantage       str
      identity      endpoint.Identity
      web           Web(listen: Address, tls: Tls | None, users_file: str | None, lifecycle: bool)
      store         StoreSettings(path: str, keep_days: int)
      dns           Dns(servers: tuple[Address, ...])         () is the system's
      firewalls     tuple[endpoint.Firewall, ...]
      checks        tuple[endpoint.Check, ...]
      psaps         tuple[endpoint.Psap, ...]
      paths         tuple[endpoint.Path, ...]                 to PSAPs: one per path and next hop
      references    tuple[endpoint.Path, ...]                 psap.id "reference", id = firewall's
      controls      tuple[endpoint.Path, ...]                 psap.id "control", id = firewall's
      detection     Detection(fall: int, rise: int, clean_s: float, confirm: bool)
      maintenance   tuple[announced.Window, ...]
      sinks         tuple[sinks.AnySink, ...]                 the sinks' own settings models

      watched(check) -> tuple[Path, ...]     the paths that a check runs on
      listening_on("HOST:PORT") -> Config    the same with another web.listen (--listen)
      all_paths                              paths + references + controls
      Config.empty() -> Config               nothing configured, for commands without a file

Secrets are read already (``Credentials.password``, which no repr shows); file names are as seen
from the working directory, the sinks' ``headers_file`` and ``store.path`` too. Moments are Unix
seconds, durations seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from psapwatch.announced import Window
from psapwatch.config.words import parse_listen
from psapwatch.endpoint import (
    Address,
    Agreement,
    Check,
    Firewall,
    Identity,
    Path,
    Psap,
    Tls,
)

OWN_RESPONDER: Final = Agreement(
    consent="our own responder", every_s=0.0, short_interval_agreed=True, commissioned=True
)
"""Stands for an agreement where the answering side is ours: it may be called densely."""


@dataclass(frozen=True, slots=True)
class Web:
    """The daemon's own HTTP server."""

    listen: Address
    tls: Tls | None = None
    users_file: str | None = None
    lifecycle: bool = False


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Where results are kept, and how long incidents and failures stay."""

    path: str = "/var/lib/psapwatch/psapwatch.db"
    keep_days: int = 730


@dataclass(frozen=True, slots=True)
class Dns:
    """The resolvers to ask; none means the system's, /etc/hosts included."""

    servers: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class Detection:
    """When failures become a state, and a state an incident."""

    fall: int = 2
    rise: int = 3
    clean_s: float = 300.0
    confirm: bool = True


@dataclass(frozen=True, slots=True)
class Config:
    """One whole configuration; its parts are listed at the top of this module."""

    file: str
    vantage: str
    identity: Identity
    web: Web
    store: StoreSettings
    dns: Dns
    firewalls: tuple[Firewall, ...]
    checks: tuple[Check, ...]
    psaps: tuple[Psap, ...]
    paths: tuple[Path, ...]
    references: tuple[Path, ...]
    controls: tuple[Path, ...]
    must_blocks: tuple[Path, ...]
    """What each firewall has to block: no path to anybody, and in no state or metric of paths."""
    detection: Detection
    maintenance: tuple[Window, ...]
    sinks: tuple[Any, ...]
    lines: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)
    """Lines of the keys that a reload cannot change, for the refusal."""
    listen_given: bool = field(default=False, compare=False)
    """Whether ``web.listen`` came from the command line, so that the file's does not count."""

    @classmethod
    def empty(cls) -> Config:
        """Return nothing at all: what a command without a file starts from."""
        return cls(
            file="-",
            vantage="here",
            identity=Identity("sip:psapwatch@invalid"),
            web=Web(Address("127.0.0.1", 0)),
            store=StoreSettings(":memory:"),
            dns=Dns(),
            firewalls=(),
            checks=(),
            psaps=(),
            paths=(),
            references=(),
            controls=(),
            must_blocks=(),
            detection=Detection(),
            maintenance=(),
            sinks=(),
        )

    @property
    def all_paths(self) -> tuple[Path, ...]:
        """Every path, to PSAPs, references and controls."""
        return self.paths + self.references + self.controls

    def listening_on(self, listen: str) -> Config:
        """Return the same with its page at ``HOST:PORT``, whatever the file says.

        Raises:
            ValueError: not a numeric address and a port.
        """
        web = replace(self.web, listen=parse_listen(listen))
        return replace(self, web=web, listen_given=True)

    def watched(self, check: Check) -> tuple[Path, ...]:
        """Return the paths that ``check`` runs on; a call only where a call is allowed.

        A PSAP without an agreement and a legacy gateway (a call would ring a CAMA trunk) get
        OPTIONS alone.
        """
        paths = {"psaps": self.paths, "reference": self.references, "control": self.controls}[
            check.on
        ]
        if not check.is_call:
            return paths
        return tuple(path for path in paths if path.psap.agreement and path.kind == "sip")
