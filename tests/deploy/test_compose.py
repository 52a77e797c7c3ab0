"""deploy/compose: valid, complete, and its two commands of ours run as they are written there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from components.image import run_program
from components.process import Bench, Place, program
from deploy.shipped import DEPLOY, loaded

COMPOSE: Final = DEPLOY / "compose"
FILE: Final = COMPOSE / "compose.yml"
BIN: Final = Path(sys.executable).parent
DAEMON: Final = "172.31.91.10"
RESPONDER: Final = "172.31.91.20"
SOON_S: Final = 30.0
_ADDRESSES: Final = """
ip link set lo up
for address in "$@"; do ip address add "$address/24" dev lo; done
exec sleep infinity
"""


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services of the file."""
    found: dict[str, Any] = loaded(FILE)["services"]
    return found


@pytest.fixture
def hosts(bench: Bench) -> Place:
    """A network with the addresses that the file gives to daemon and responder."""
    private = [program("unshare"), "--net", "sh", "-euc", _ADDRESSES, "sh", DAEMON, RESPONDER]
    holder = bench.start("hosts", private)
    place = Place("hosts", DAEMON, (program("nsenter"), f"--target={holder.pid}", "--net", "--"))

    def has_both() -> bool:
        shown = subprocess.run(
            [*place.prefix, program("ip"), "-brief", "address"],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        return DAEMON in shown.stdout and RESPONDER in shown.stdout

    holder.wait_until(has_both, "has its addresses")
    return place


def mounts(service: dict[str, Any]) -> dict[str, Path]:
    """Return what a service sees of the source tree: target and file."""
    pairs = [volume.split(":") for volume in service.get("volumes", ())]
    return {pair[1]: (COMPOSE / pair[0]).resolve() for pair in pairs if pair[0].startswith(".")}


def test_the_file_is_valid() -> None:
    """The schema of the Compose specification has nothing to say."""
    argv = [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(FILE)]
    assert run_program(argv).stdout.strip() == "ok -- validation done"


def test_everything_mounted_is_there(services: dict[str, Any]) -> None:
    """No mount of a file that does not exist, which Docker would make a folder of."""
    missing = [
        str(path)
        for service in services.values()
        for path in mounts(service).values()
        if not path.exists()
    ]
    assert missing == []
    assert {"psapwatch", "responder", "prometheus", "alertmanager", "grafana"} == set(services)


def test_nothing_runs_with_more_than_it_needs(services: dict[str, Any]) -> None:
    """Read-only, no capability, no new privilege; published on loopback only."""
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name


def test_prometheus_and_alertmanager_read_what_is_mounted(
    services: dict[str, Any], tmp_path: Path
) -> None:
    """Their own tools accept the files as they lie in the containers."""
    for service in ("prometheus", "alertmanager"):
        for target, path in mounts(services[service]).items():
            there = tmp_path / target.lstrip("/")
            there.parent.mkdir(parents=True, exist_ok=True)
            there.write_bytes(path.read_bytes())
    etc = tmp_path / "etc"
    checked = run_program(
        [program("promtool"), "check", "config", str(etc / "prometheus/prometheus.yml")]
    )
    assert "2 rule files found" in checked.stdout
    run_program([program("amtool"), "check-config", str(etc / "alertmanager/alertmanager.yml")])


def test_names_that_services_use_are_services(services: dict[str, Any]) -> None:
    """What Prometheus scrapes, whom the daemon tells, where Grafana asks: services of the file."""
    scraped = loaded(COMPOSE / "prometheus.yml")["scrape_configs"][0]["static_configs"][0]
    told = loaded(COMPOSE / "psapwatch.yml")["sinks"][0]["urls"]
    asked = services["grafana"]["environment"]["PROMETHEUS_URL"]
    names = [*scraped["targets"], *told, asked]
    assert {name.rpartition("/")[2].partition(":")[0] for name in names} <= set(services)
    for service in ("psapwatch", "responder"):
        address = services[service]["networks"]["esinet"]["ipv4_address"]
        assert address in (COMPOSE / "psapwatch.yml").read_text(encoding="utf-8")


def test_daemon_and_responder_run_as_written(
    services: dict[str, Any], bench: Bench, hosts: Place
) -> None:
    """The commands and the configuration of the file: every path is up and calls are answered."""
    psapwatch = str(BIN / "psapwatch")
    bench.start("responder", [psapwatch, *services["responder"]["command"]], place=hosts)
    folder = bench.new_folder("daemon")
    text = (COMPOSE / "psapwatch.yml").read_text(encoding="utf-8").replace("15s", "1s")
    text = text.replace("give_up_after: 4s", "give_up_after: 900ms")
    text = text.replace("give_up_after: 8s, on", "give_up_after: 900ms, on")
    config = folder / "psapwatch.yml"
    config.write_text(f"{text}store: {{path: {folder / 'psapwatch.db'}}}\n", encoding="utf-8")
    running = bench.start("psapwatch", [psapwatch, "run", "--config", str(config)], place=hosts)

    def states() -> list[str]:
        url = f"http://{DAEMON}:9911"
        asked = [*hosts.prefix, psapwatch, "status", "--json", "--url", url]
        answer = subprocess.run(asked, check=False, capture_output=True, text=True).stdout
        return [row["state"] for row in json.loads(answer or "{}").get("paths", ())]

    running.wait_until(lambda: states() == ["up", "up"], "has every path up", SOON_S)
    health = services["responder"]["healthcheck"]["test"]
    healthy = subprocess.run(
        [*hosts.prefix, str(BIN / health[1]), *health[2:]],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert healthy.returncode == 0, healthy.stdout + healthy.stderr
