"""A pump that also moves RTP between a machine and its media port."""

from __future__ import annotations

import asyncio
from typing import Final

from psapwatch.endpoint import Address
from psapwatch.evidence import Observation
from psapwatch.net.pump import Pump
from psapwatch.sip.machine import Machine
from psapwatch.sip.media_call import MediaCall
from psapwatch.world import Arrival, MediaFlow, Network

LINGER_S: Final = 1.0
"""Media ports close so long after the media: what is late must not meet an ICMP error."""


class MediaPump(Pump):
    """Feeds a ``MediaCall``; a ``world.MediaListener`` beside what every pump is."""

    _media: MediaFlow | None = None
    _shutting: asyncio.TimerHandle | None = None

    def open_media(self, network: Network, local_host: str) -> Address | None:
        """Open a port pair where the flow leaves from; its failure becomes an observation."""
        self._media = network.open_media(self.road.source, local_host, self)
        return self._media.local if self._media is not None else None

    def media_arrived(self, arrival: Arrival) -> None:
        """Take one RTP or RTCP datagram."""
        machine, at = self._machine, arrival.arrived_at
        if isinstance(machine, MediaCall):
            octets, source = arrival.octets, arrival.source
            self._step(lambda now: machine.media_arrived(octets, now, min(at, now), source))

    def media_failed(self, seen: Observation) -> None:
        """Take an ICMP error about media, or an error of our own."""
        machine = self._machine
        if isinstance(machine, MediaCall):
            self._step(lambda now: machine.media_failed(seen, now))
        else:
            self._note(seen)

    def _settle(self, machine: Machine) -> None:
        """Messages first: an ACK leaves before the media that it stands for."""
        super()._settle(machine)
        if not isinstance(machine, MediaCall) or self._media is None:
            return
        for send in machine.media_to_send():
            at = self._media.send(send.octets, send.to, is_control=send.number is None)
            if send.number is not None:
                machine.media_sent(send.number, at)
        if machine.is_mute and self._shutting is None:  # its dialog may listen for half a minute
            self._shutting = self._loop.call_later(LINGER_S, self._shut)

    def _close(self) -> None:
        super()._close()
        self._shut()

    def _shut(self) -> None:
        if self._shutting is not None:
            self._shutting.cancel()
        if self._media is not None:
            self._media.release()
            self._media = None
