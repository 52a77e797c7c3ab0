"""An answering phone made of pjsip, run as a program of its own: ``pjsua_phone.py '{JSON}'``.

It prints ``READY`` once it listens and one line for each change of a call. SIGTERM ends it.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from typing import Any

import pjsua2

POLL_MS = 10
MIRROR_LINES = "a=loopback:rtp-media-loopback\r\na=loopback-mirror\r\n"


class AnsweredCall(pjsua2.Call):  # type: ignore[misc] # pjsua2 ships no types
    """One incoming call, answered with the code of the settings."""

    def __init__(self, account: Phone, call_id: int) -> None:
        super().__init__(account, call_id)
        self._settings = account.settings
        self.hang_up_at: float | None = None

    def onCallSdpCreated(self, prm: Any) -> None:
        """Add the mirror attributes of RFC 6849 to our answer, if we play an answering point."""
        if self._settings["loopback"]:
            prm.sdp.wholeSdp = prm.sdp.wholeSdp + MIRROR_LINES

    def onCallState(self, prm: Any) -> None:
        """Say each state on standard output; from the ACK on, time runs until our BYE."""
        info = self.getInfo()
        print(f"CALL {info.callIdString} {info.stateText} {info.lastStatusCode}", flush=True)
        if info.state == pjsua2.PJSIP_INV_STATE_CONFIRMED and self._settings["bye_after_s"]:
            self.hang_up_at = time.monotonic() + self._settings["bye_after_s"]
        if info.state == pjsua2.PJSIP_INV_STATE_DISCONNECTED:
            self.hang_up_at = None

    def onCallMediaState(self, prm: Any) -> None:
        """Play what is heard back to the caller: loopback through the codec (RFC 6849 6)."""
        if (
            self._settings["loopback"]
            and self.getInfo().state != pjsua2.PJSIP_INV_STATE_DISCONNECTED
        ):
            heard = self.getAudioMedia(-1)
            heard.startTransmit(heard)


class Phone(pjsua2.Account):  # type: ignore[misc] # pjsua2 ships no types
    """The account that takes every call."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        self.settings = settings
        self.calls: list[AnsweredCall] = []  # pjsip holds no reference of its own

    def onIncomingCall(self, prm: Any) -> None:
        """Answer at once."""
        call = AnsweredCall(self, prm.callId)
        self.calls.append(call)
        answer = pjsua2.CallOpParam()
        answer.statusCode = self.settings["code"]
        call.answer(answer)

    def hang_up_due_calls(self) -> None:
        """Send BYE where its time has come."""
        for call in self.calls:
            if call.hang_up_at is not None and time.monotonic() >= call.hang_up_at:
                call.hang_up_at = None
                call.hangup(pjsua2.CallOpParam(True))


def main(settings: dict[str, Any]) -> None:
    """Listen and answer until SIGTERM."""
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: ended.append(number))
    endpoint = pjsua2.Endpoint()
    endpoint.libCreate()
    config = pjsua2.EpConfig()
    config.uaConfig.threadCnt = 0
    config.uaConfig.mainThreadOnly = True
    config.logConfig.level = config.logConfig.consoleLevel = 3
    endpoint.libInit(config)
    endpoint.audDevManager().setNullDev()
    transport = pjsua2.TransportConfig()
    transport.boundAddress = settings["host"]
    transport.port = settings["port"]
    for name, value in settings["tls"].items():
        setattr(transport.tlsConfig, name, value)
    kinds = {
        "udp": pjsua2.PJSIP_TRANSPORT_UDP,
        "tcp": pjsua2.PJSIP_TRANSPORT_TCP,
        "tls": pjsua2.PJSIP_TRANSPORT_TLS,
    }
    endpoint.transportCreate(kinds[settings["transport"]], transport)
    endpoint.libStart()
    account_config = pjsua2.AccountConfig()
    media = account_config.mediaConfig.transportConfig
    media.boundAddress = settings["host"]
    media.port = settings["media_port"]
    media.portRange = 8
    account_config.idUri = f"sip:psap@{settings['host']}:{settings['port']}"
    phone = Phone(settings)
    phone.create(account_config)
    print("READY", flush=True)
    while not ended:
        endpoint.libHandleEvents(POLL_MS)
        phone.hang_up_due_calls()
    endpoint.hangupAllCalls()
    phone.calls.clear()
    phone.shutdown()
    endpoint.libDestroy()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
