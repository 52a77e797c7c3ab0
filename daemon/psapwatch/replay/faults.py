"""What else can go wrong in a scenario: answerers, names, links, clocks, sinks, and ourselves."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from psapwatch.config.models import Strict
from psapwatch.config.words import Text
from psapwatch.duration import Duration
from psapwatch.replay.rule_fault import LoadFault, RuleFault, StateFault
from psapwatch.replay.stage import Stage
from psapwatch.replay.timed import Timed, Undo, Who, concerned, nothing
from psapwatch.simulator.carriage import Crossing
from psapwatch.simulator.certificate import Certificate
from psapwatch.simulator.link import Link
from psapwatch.simulator.psap import State
from psapwatch.simulator.topology import ESINET
from psapwatch.sip.answering_script import SCRIPTS

Chance = Annotated[float, Field(ge=0, lt=1)]


def _known_script(name: str) -> str:
    if name not in SCRIPTS:
        message = f"there is no answering script {name!r}; `mirror`, `silence`, `invite_503`, ..."
        raise ValueError(message)
    return name


ScriptName = Annotated[str, AfterValidator(_known_script)]


class AnswerFault(Timed):
    """Answering points that answer otherwise."""

    kind: Literal["answers"] = "answers"
    who: Who = Field(["all"])
    script: ScriptName = Field(description="what they play: a name of answering_script.SCRIPTS")

    async def begin(self, stage: Stage, label: str) -> Undo:
        """Let them play it."""
        before = [(each, each.script) for each in concerned(stage, self.who)]
        stage.marks[label] = asyncio.get_running_loop().time()
        for psap, _script in before:
            psap.script = SCRIPTS[self.script]

        async def mend() -> None:
            for psap, script in before:
                psap.script = script

        return mend

    def touched(self, stage: Stage, label: str) -> int:
        """How many requests came since."""
        since = stage.marks.get(label, float("inf"))
        return sum(seen.at >= since for psap in concerned(stage, self.who) for seen in psap.log)


class HostFault(Timed):
    """Answering points that are not there."""

    kind: Literal["host"] = "host"
    who: Who = Field(["all"])
    state: State = Field(description="`stopped`: nobody listens (ICMP); `off`: silence")

    async def begin(self, stage: Stage, label: str) -> Undo:  # noqa: ARG002 - it has no name
        """Take them away."""
        gone = concerned(stage, self.who)
        for psap in gone:
            psap.state = self.state

        async def mend() -> None:
            for psap in gone:
                psap.state = "up"

        return mend


class CertificateFault(Timed):
    """Answering points that show another certificate."""

    kind: Literal["certificate"] = "certificate"
    who: Who = Field(["all"])
    expires_in: Duration | None = Field(None, description="ends so long after this moment")
    expired: bool = Field(default=False, description="ended yesterday")
    issuer: Literal["trusted", "self-signed", "unknown issuer"] = Field(
        "trusted", description="who signed it"
    )
    alert: Text | None = Field(None, description="TLS alert in place of a handshake")

    async def begin(self, stage: Stage, label: str) -> Undo:  # noqa: ARG002 - it has no name
        """Show it; connections that are up stay up."""
        wall = stage.topology.world.clock.wall()
        before = [(each, each.certificate) for each in concerned(stage, self.who)]
        for psap, shown in before:
            psap.certificate = self._other(shown, wall) if shown else None

        async def mend() -> None:
            for psap, shown in before:
                psap.certificate = shown

        return mend

    def _other(self, shown: Certificate, wall: float) -> Certificate:
        not_after = shown.not_after if self.expires_in is None else wall + self.expires_in
        return replace(
            shown,
            not_after=wall - 86_400.0 if self.expired else not_after,
            trust=self.issuer,
            alert=self.alert or "",
        )


class NameFault(Timed):
    """A resolver that fails, for every name."""

    kind: Literal["names"] = "names"
    error: Literal["nxdomain", "timeout", "servfail", "no_data"] | None = Field(
        None, description="what it answers"
    )
    delay: Duration = Field(0.0, description="how long it takes")

    async def begin(self, stage: Stage, label: str) -> Undo:  # noqa: ARG002 - it has no name
        """Break the resolver."""
        resolver = stage.topology.world.resolver
        resolver.error, resolver.delay_s = self.error or "", self.delay

        async def mend() -> None:
            resolver.error, resolver.delay_s = "", 0.0

        return mend


class DetourFault(Timed):
    """A name that leads to somebody else."""

    kind: Literal["detour"] = "detour"
    psap: Text = Field(description="whose name it is")
    to: Text = Field(description="who answers")

    async def begin(self, stage: Stage, label: str) -> Undo:  # noqa: ARG002 - it has no name
        """Lead it astray."""
        names = stage.topology.world.resolver.names
        domain, other = f"{self.psap}.example.gov", f"{self.to}.example.gov"
        before = names[domain]
        names[domain] = names[other]

        async def mend() -> None:
            names[domain] = before

        return mend


class LinkModel(Strict):
    """Both directions of the ways between our side and the PSAPs."""

    delay: Duration = Field(0.01, description="each way")
    jitter: Duration = Field(0.002, description="added to it by chance, evenly, up to this")
    loss: Chance = Field(0.0, description="part of all packets, each way")
    duplicate: Chance = Field(0.0, description="part of all packets that come twice")
    reorder: Chance = Field(0.0, description="part of all packets that are overtaken")
    mtu: int = Field(1_500, ge=576, description="octets of an IP packet")

    @property
    def link(self) -> Link:
        """As the simulator has it."""
        return Link(self.delay, self.jitter, self.loss, self.duplicate, self.reorder, mtu=self.mtu)


class LinkFault(LinkModel, Timed):
    """Ways that lose, delay, repeat or reorder packets, for nobody's ill will."""

    kind: Literal["link"] = "link"
    firewall: Text = Field("all", description="the ways through this one, or `all`")

    async def begin(self, stage: Stage, label: str) -> Undo:  # noqa: ARG002 - it has no name
        """Change the links."""
        built = stage.topology
        outer = [
            f"{vantage}/{firewall}"
            for vantage in built.plan.vantages
            for firewall in built.firewalls
            if self.firewall in ("all", firewall)
        ]
        for place in outer:
            built.world.network.relink(place, ESINET, self.link)

        async def mend() -> None:
            for place in outer:
                built.world.network.relink(place, ESINET, built.plan.link)

        return mend


class BypassFault(Timed):
    """A route that leads our packets, and what comes back, round a firewall."""

    kind: Literal["bypass"] = "bypass"
    firewall: Text = Field(description="the one that is passed by")

    async def begin(self, stage: Stage, label: str) -> Undo:
        """Lay the way without it, and count what takes it inward."""
        built, network = stage.topology, stage.topology.world.network
        place = f"{built.outlooks[0].vantage}/{self.firewall}"
        network.join(place, ESINET, built.plan.link)
        near = built.witnesses[place].hosts
        ours = {
            source.address
            for firewall in built.outlooks[0].firewalls
            if firewall.id == self.firewall
            for source in firewall.sources
        }

        def count(crossing: Crossing) -> None:
            if crossing.source.host in ours and crossing.destination.host not in near:
                stage.sent[label] += 1

        network.taps.append(count)

        async def mend() -> None:
            network.taps.remove(count)
            network.join(place, ESINET, built.plan.link, built.firewalls[self.firewall])

        return mend

    def touched(self, stage: Stage, label: str) -> int:
        """How many packets of ours have gone round it."""
        return stage.sent[label]


class ClockFault(Timed):
    """Wall time that is stepped, as a broken NTP would; it is not stepped back."""

    kind: Literal["clock"] = "clock"
    forward: Duration = Field(0.0, description="by how much")
    back: Duration = Field(0.0, description="by how much")

    async def begin(self, stage: Stage, label: str) -> Undo:  # noqa: ARG002 - it has no name
        """Step it."""
        stage.step_clock(self.forward - self.back)
        return nothing


class SinkFault(Timed):
    """Nobody takes notices: no answer at all, or an error."""

    kind: Literal["sinks"] = "sinks"
    status: int | None = Field(None, ge=400, le=599, description="answered; silence when left out")

    async def begin(self, stage: Stage, label: str) -> Undo:  # noqa: ARG002 - it has no name
        """Turn the sinks away."""
        post = stage.topology.world.post
        post.down, post.status = self.status is None, self.status or 200

        async def mend() -> None:
            post.down, post.status = False, 200

        return mend


class DaemonFault(Timed):
    """The daemon ends, and is started again after ``for`` (at once when left out)."""

    kind: Literal["daemon"] = "daemon"
    how: Literal["stopped", "killed"] = Field("killed", description="SIGTERM or SIGKILL")

    async def begin(self, stage: Stage, label: str) -> Undo:  # noqa: ARG002 - it has no name
        """End it; one that has ended already is left to who ended it."""
        if not stage.is_running:
            return nothing
        await (stage.kill() if self.how == "killed" else stage.stop())
        if self.for_ is None:
            await stage.start()
            return nothing
        return stage.start


class ProberFault(Timed):
    """Our own host cannot open sockets."""

    kind: Literal["prober"] = "prober"
    error: Literal["EMFILE", "ENOBUFS", "EADDRNOTAVAIL", "EADDRINUSE"] = Field(
        "EMFILE", description="what opening one fails with"
    )

    async def begin(self, stage: Stage, label: str) -> Undo:  # noqa: ARG002 - it has no name
        """Break our own side."""
        network = stage.topology.world.network
        network.local_fault = self.error

        async def mend() -> None:
            network.local_fault = ""

        return mend


class ChangeFault(Timed):
    """No fault at all: somebody announces a change, which alerts are to quote."""

    kind: Literal["change"] = "change"
    what: Text = Field(description="change number")
    by: Text = Field("operations", description="who")

    async def begin(self, stage: Stage, label: str) -> Undo:  # noqa: ARG002 - it has no name
        """Announce it."""
        wall = stage.topology.world.clock.wall()
        if not stage.is_running:
            return nothing
        await stage.daemon.change(self.what, self.by, wall)
        return nothing


AnyFault = Annotated[
    RuleFault
    | StateFault
    | LoadFault
    | AnswerFault
    | HostFault
    | CertificateFault
    | NameFault
    | DetourFault
    | LinkFault
    | BypassFault
    | ClockFault
    | SinkFault
    | DaemonFault
    | ProberFault
    | ChangeFault,
    Field(discriminator="kind"),
]
