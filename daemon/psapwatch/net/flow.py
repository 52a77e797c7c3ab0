"""What all flows have in common: who listens on a carrier, and one Call-ID's lease of it."""

from __future__ import annotations

from typing import Protocol

from psapwatch.endpoint import Address, TransportName
from psapwatch.evidence import Observation
from psapwatch.sip.guard import permit
from psapwatch.sip.wire import call_id_of
from psapwatch.world import Arrival, Listener


class Carrier(Protocol):
    """A datagram socket or a connection, leased out by Call-ID."""

    local: Address
    peer: Address
    transport: TransportName

    def send(self, octets: bytes, to: Address, call_id: str) -> None:
        """Send one message of a Call-ID; what fails is told to its listener, later."""
        ...

    def leave(self, call_id: str, listener: Listener) -> None:
        """Forget a listener."""
        ...


class Listeners:
    """Listeners of one carrier by Call-ID; the listener of ``""`` hears what no one asked for."""

    __slots__ = ("_by_call_id", "heard", "strays")

    def __init__(self) -> None:
        self._by_call_id: dict[str, Listener] = {}
        self.heard: set[str] = set()
        """The Call-IDs now listened to that something has come for."""
        self.strays = 0
        """Messages that nobody wanted: late beyond every timer, or not ours."""

    def __len__(self) -> int:
        return len(self._by_call_id)

    def add(self, call_id: str, listener: Listener) -> None:
        """Let ``listener`` hear this Call-ID from now on."""
        self._by_call_id[call_id] = listener

    def remove(self, call_id: str, listener: Listener) -> None:
        """Let it hear no more; harmless when it does not listen (any more)."""
        if self._by_call_id.get(call_id) is listener:
            del self._by_call_id[call_id]
            self.heard.discard(call_id)

    def arrived(self, arrival: Arrival) -> None:
        """Hand a message to the listener of its Call-ID."""
        listeners = self._by_call_id
        call_id = "" if len(listeners) == 1 and "" in listeners else call_id_of(arrival.octets)
        listener = listeners.get(call_id)
        if listener is None:
            call_id, listener = "", listeners.get("")
        if listener is None:
            self.strays += 1
            return
        self.heard.add(call_id)
        listener.arrived(arrival)

    def failed(self, seen: Observation, quoted: bytes = b"") -> None:
        """Tell of a failure: to the Call-ID that the quoted octets name, otherwise to all."""
        listener = self._by_call_id.get(call_id_of(quoted)) if quoted else None
        for one in [listener] if listener else list(self._by_call_id.values()):
            one.failed(seen)

    def tell(self, call_id: str, seen: Observation) -> None:
        """Tell one Call-ID's listener of a failure, if it still listens."""
        listener = self._by_call_id.get(call_id)
        if listener:
            listener.failed(seen)


class Lease:
    """One Call-ID's use of a carrier: the ``world.Flow`` of the real network."""

    __slots__ = ("_call_id", "_carrier", "_listener", "_released", "local", "peer", "transport")

    def __init__(self, carrier: Carrier, call_id: str, listener: Listener) -> None:
        self._carrier = carrier
        self._call_id = call_id
        self._listener = listener
        self._released = False
        self.local = carrier.local
        self.peer = carrier.peer
        self.transport: TransportName = carrier.transport

    def send(self, octets: bytes, to: Address | None = None) -> None:
        """Send one message; nothing happens on a flow that was released or has failed.

        Raises:
            NotATestCall: an INVITE that is not to a test URN; nothing was sent.
        """
        permit(octets)
        if not self._released:
            self._carrier.send(octets, to or self.peer, self._call_id)

    def release(self) -> None:
        """Say that this Call-ID is done."""
        if not self._released:
            self._released = True
            self._carrier.leave(self._call_id, self._listener)
