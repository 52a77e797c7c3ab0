"""The shipped unit under a real systemd: started, reloaded, killed by its watchdog, stopped."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import pytest

from components.machine import SOURCE, Machine
from components.waiting import until

pytestmark = pytest.mark.timeout(300)  # the first test of a run installs and boots

UNIT: Final = "psapwatch.service"
FILES: Final = tuple(
    f"/etc/systemd/system/{name}.service" for name in ("psapwatch", "psapwatch-responder")
)
CONFIG: Final = "/etc/psapwatch/psapwatch.yml"
CURRENT: Final = "/opt/psapwatch/current"
DROP_IN: Final = f"/run/systemd/system/{UNIT}.d/test.conf"
EXPOSURE_MAX: Final = 1.2
SOON_S: Final = 15.0
WATCHDOG_US: Final = 4_800_000
"""What the daemon asks for with the schedule below: four rounds of 1.2 s."""
SECRET: Final = "correct horse"
CONFIGURATION: Final = """\
vantage: lab
identity: {from: "sip:911-path-test@example.net"}
firewalls:
  fw-lab:
    sources: [{address: 127.0.0.1}]
    auth: {username: prober, password_file: secrets/fw-lab}
checks:
  keepalive: {probe: options, every: 1s, give_up_after: 200ms}
psaps:
  - {id: lab-one, name: Lab One, paths: [{firewall: fw-lab, uri: "sip:127.0.0.1:5080"}]}
"""
ANOTHER: Final = """\
  - {id: lab-two, name: Lab Two, paths: [{firewall: fw-lab, uri: "sip:127.0.0.1:5081"}]}
"""


class Service:
    """The unit on its machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._seen = 0

    def ctl(self, what: str) -> int:
        """Run systemctl on the unit; return its exit code."""
        return self.machine.run("systemctl", what, UNIT, check=False).returncode

    def show(self, name: str) -> str:
        """Return a property of the unit."""
        return self.machine.show(UNIT, name)

    def status(self, of: str) -> str:
        """Return a line of the main process's /proc/PID/status."""
        text = self.machine.run("cat", f"/proc/{self.show('MainPID')}/status").stdout
        found = re.search(rf"^{of}:\s*(.*)$", text, re.MULTILINE)
        assert found, of
        return found[1]

    def said(self) -> str:
        """Return the journal of the unit since the test began."""
        return self.machine.journal(UNIT)[self._seen :]

    def ask(self, path: str) -> Any:
        """GET a path of the running daemon."""
        url = f"http://127.0.0.1:9911{path}"
        script = f"import urllib.request as u; print(u.urlopen({url!r}).read().decode())"
        return self.machine.run("/usr/bin/python3", "-c", script).stdout

    def clear(self) -> None:
        """Stop it, take changes back, and forget what it has said."""
        self.ctl("stop")
        self.machine.run("rm", "-rf", DROP_IN, "/var/lib/private/psapwatch")
        self.machine.run("systemctl", "daemon-reload")
        self.machine.run("systemctl", "reset-failed", check=False)
        self.machine.write(CONFIG, CONFIGURATION)
        self.machine.write("/etc/psapwatch/secrets/fw-lab", SECRET, mode="0600")
        self._seen = len(self.machine.journal(UNIT))


@pytest.fixture
def service(machine: Machine) -> Iterator[Service]:
    """The unit, stopped, with a configuration of one PSAP where nobody answers."""
    service = Service(machine)
    service.clear()
    yield service
    service.clear()


@pytest.fixture
def running(service: Service) -> Service:
    """The unit, started."""
    assert service.ctl("start") == 0, service.said()
    return service


@pytest.mark.parametrize("file", FILES)
def test_systemd_understands_every_line(machine: Machine, file: str) -> None:
    """`systemd-analyze verify` prints nothing; it exits 0 on unknown keys."""
    done = machine.run("systemd-analyze", "verify", file)
    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize("file", FILES)
def test_little_of_the_machine_is_exposed(machine: Machine, file: str) -> None:
    """The exposure that systemd computes is at most 1.2, without any capability."""
    threshold = str(int(EXPOSURE_MAX * 10))
    done = machine.run(
        "systemd-analyze", "security", "--offline=true", f"--threshold={threshold}", file
    )
    score = re.search(r"exposure level for [\w.-]+: ([\d.]+)", done.stdout)
    assert score is not None
    assert float(score[1]) <= EXPOSURE_MAX


def test_start_returns_when_the_first_round_is_scheduled(running: Service) -> None:
    """`systemctl start` waits for readiness: the page answers at once, and says so to systemd."""
    assert running.ask("/-/ready")
    assert running.show("StatusText") == "watching 1 paths"
    assert running.show("ActiveState") == "active"


def test_it_runs_as_nobody_in_particular(running: Service) -> None:
    """A dynamic user, no capability, no new privilege, a filter on its system calls."""
    assert int(running.status("Uid").split()[0]) >= 61184  # systemd's range of dynamic users
    assert int(running.status("CapBnd"), 16) == 0
    assert int(running.status("CapEff"), 16) == 0
    assert running.status("NoNewPrivs") == "1"
    assert running.status("Seccomp") == "2"
    state = running.machine.run("stat", "-L", "-c", "%a", "/var/lib/psapwatch").stdout.strip()
    assert state == "700"


def test_it_knows_the_run_of_the_machine(running: Service) -> None:
    """The file is hidden from it: how long ago a call was stays known when a clock is stepped."""
    known = running.machine.run("cat", "/proc/sys/kernel/random/boot_id").stdout
    environ = running.machine.run("cat", f"/proc/{running.show('MainPID')}/environ").stdout
    assert f"PSAPWATCH_BOOT_ID={known.strip().replace('-', '')}" in environ


def test_secrets_come_as_credentials(running: Service) -> None:
    """It loads a password from a folder that only root may read; no other file shows it."""
    paths = json.loads(running.ask("/api/v1/status"))["paths"]
    assert [row["psap"] for row in paths] == ["lab-one"]
    mode = running.machine.run("stat", "-c", "%U %a", "/etc/psapwatch/secrets").stdout.strip()
    assert mode == "root 700"
    pid = running.show("MainPID")
    for place in (f"/proc/{pid}/environ", f"/proc/{pid}/cmdline"):
        assert SECRET not in running.machine.run("cat", place).stdout
    assert SECRET not in running.said()


def test_reload_takes_the_file_over(running: Service) -> None:
    """`systemctl reload` brings a new PSAP in; the process and its store stay."""
    pid = running.show("MainPID")
    running.machine.write(CONFIG, CONFIGURATION + ANOTHER)
    assert running.ctl("reload") == 0, running.said()
    until(lambda: "configuration reloaded" in running.said(), SOON_S, "is reloaded")
    paths = json.loads(running.ask("/api/v1/status"))["paths"]
    assert {row["psap"] for row in paths} == {"lab-one", "lab-two"}
    assert running.show("MainPID") == pid
    assert running.show("ActiveState") == "active"


def test_reload_of_a_bad_file_fails_and_changes_nothing(running: Service) -> None:
    """The command fails, the journal names file, line and key, the metric falls, all goes on."""
    pid = running.show("MainPID")
    running.machine.write(CONFIG, CONFIGURATION.replace("every: 1s", "every: 1 second"))
    assert running.ctl("reload") != 0
    assert f"{CONFIG}:8: checks.keepalive.every: " in running.said()
    until(
        lambda: "config_last_reload_successful 0" in running.ask("/metrics"), SOON_S, "is counted"
    )
    assert running.show("MainPID") == pid
    assert running.show("ActiveState") == "active"


def test_the_watchdog_kills_what_hangs_and_it_comes_back(service: Service) -> None:
    """No attempt finishes while it stands still: killed, restarted, ready again by itself."""
    service.machine.write(DROP_IN, "[Service]\nWatchdogSec=2s\nRestartSec=100ms\n")
    service.machine.run("systemctl", "daemon-reload")
    assert service.ctl("start") == 0, service.said()
    pid = service.show("MainPID")
    service.machine.run("kill", "-STOP", pid)
    until(lambda: service.show("NRestarts") == "1", SOON_S, "is restarted")
    until(lambda: service.show("ActiveState") == "active", SOON_S, "is ready again")
    assert "Failed with result 'watchdog'" in service.said()
    assert service.show("MainPID") != pid
    assert service.ask("/-/ready")


def test_finished_attempts_keep_the_watchdog_fed(service: Service) -> None:
    """Attempts that fail are attempts that finish: an outage is no reason for a restart."""
    service.machine.write(DROP_IN, "[Service]\nWatchdogSec=1s\n")
    service.machine.run("systemctl", "daemon-reload")
    assert service.ctl("start") == 0, service.said()
    first_fed_us = int(service.show("WatchdogTimestampMonotonic"))
    until(
        lambda: int(service.show("WatchdogTimestampMonotonic")) > first_fed_us + WATCHDOG_US,
        SOON_S,
        "is fed for longer than the watchdog waits",
    )
    assert service.show("NRestarts") == "0"


def test_it_comes_back_after_being_killed(running: Service) -> None:
    """Whatever ends it but an operator: systemd starts it again."""
    pid = running.show("MainPID")
    running.machine.run("kill", "-KILL", pid)
    until(lambda: running.show("NRestarts") == "1", SOON_S, "is restarted")
    until(lambda: running.show("ActiveState") == "active", SOON_S, "is ready again")


def test_a_bad_file_at_start_is_named_and_mended_by_itself(service: Service) -> None:
    """The start fails with the line; once the file is good, it comes up without another word."""
    service.machine.write(CONFIG, CONFIGURATION.replace("fw-lab, uri", "fw-typo, uri"))
    assert service.ctl("start") != 0
    assert f"{CONFIG}:10: " in service.said()
    service.machine.write(CONFIG, CONFIGURATION)
    until(lambda: service.show("ActiveState") == "active", SOON_S, "comes up")


def test_without_the_folder_of_secrets_it_says_credentials(service: Service) -> None:
    """What the troubleshooting page says of a folder that somebody took away."""
    service.machine.run("rm", "-r", "/etc/psapwatch/secrets")
    try:
        assert service.ctl("start") != 0
        assert "status=243/CREDENTIALS" in service.said()
    finally:
        service.machine.run("install", "-d", "-m", "0700", "/etc/psapwatch/secrets")


def test_stop_is_quick_and_clean(running: Service) -> None:
    """A stop takes less than 5 s and is a success; what was seen is there for commands of root."""
    until(lambda: "incident open" in running.said(), SOON_S, "has opened an incident")
    assert running.ctl("stop") == 0
    assert running.show("Result") == "success"
    assert running.show("ExecMainStatus") == "0"
    began, ended = (
        int(running.show(name))
        for name in ("InactiveEnterTimestampMonotonic", "ActiveExitTimestampMonotonic")
    )
    assert (began - ended) / 1e6 < 5.0
    listed = json.loads(running.machine.run("psapwatch", "incidents", "list", "--json").stdout)
    assert [each["alertname"] for each in listed] == ["CallsBlocked"]


def test_an_upgrade_waits_beside_the_running_one(running: Service) -> None:
    """Installing again changes one link; what runs goes on, and the restart is on the new one."""
    machine, pid = running.machine, running.show("MainPID")
    was = machine.run("readlink", CURRENT).stdout.strip()
    machine.before_boot("make", "--silent", "-C", SOURCE, "install")
    now = machine.run("readlink", CURRENT).stdout.strip()
    assert now != was
    assert machine.run("test", "-x", f"{was}/bin/psapwatch").returncode == 0  # to go back to
    assert running.show("MainPID") == pid
    assert running.ctl("restart") == 0
    command = machine.run("cat", f"/proc/{running.show('MainPID')}/cmdline").stdout
    assert command.startswith(f"{now}/bin/python")
