"""The shipped Dockerfile, built unchanged; run read-only, without capabilities, as nobody."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from components.image import BASE, LIMITS, TAG, Container, Image, build_image, run_program
from components.inbox import fetch
from components.ports import free_port
from components.process import Bench
from components.waiting import until
from source_tree import ROOT

pytestmark = pytest.mark.timeout(420)  # the first test of a run builds, the first of all downloads

HADOLINT: Final = Path(sys.executable).with_name("hadolint")
SOON_S: Final = 15.0
OCTETS_MAX: Final = 100 * 2**20
"""What the image may add to its base."""
CONFIGURATION: Final = """\
vantage: lab
identity: {{from: "sip:911-path-test@example.net"}}
web: {{listen: "127.0.0.1:{port}"}}
firewalls:
  fw-lab: {{sources: [{{address: 127.0.0.1}}]}}
checks:
  keepalive: {{probe: options, every: 1s, give_up_after: 900ms}}
psaps:
  - {{id: lab-one, name: Lab One, paths: [{{firewall: fw-lab, uri: "sip:127.0.0.1:9"}}]}}
"""


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Image]:
    """The image, built once a run."""
    assert pytestconfig.cache is not None
    with ExitStack() as stack:
        bench = Bench(tmp_path_factory.mktemp("image"), stack)
        image = build_image(bench, pytestconfig.cache.mkdir("base-image"))
        yield image
        image.podman("rmi", "--all", "--force", check=False)


@pytest.fixture
def url() -> str:
    """Where the container's page is."""
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture
def container(image: Image, url: str, tmp_path: Path) -> Iterator[Container]:
    """The daemon in a container, ready."""
    folder = tmp_path / "etc"
    folder.mkdir()
    port = url.rpartition(":")[2]
    text = CONFIGURATION.format(port=port)
    (folder / "psapwatch.yml").write_text(text, encoding="utf-8")
    for path in (folder, folder / "psapwatch.yml"):
        path.chmod(0o755)
    container = image.start(
        f"psapwatch-{port}",
        more=(
            *("--volume", f"{folder}:/etc/psapwatch:ro"),
            *("--env", f"PSAPWATCH_HEALTH_URL={url}/-/healthy"),
        ),
    )
    try:
        container.wait_until(lambda: fetch(f"{url}/-/ready").status == 200, "is ready")
        yield container
    finally:
        container.remove()


def test_the_dockerfile_has_nothing_to_complain_about() -> None:
    """The linter of Dockerfiles is silent."""
    done = run_program([str(HADOLINT), str(ROOT / "Dockerfile")], check=False)
    assert done.stdout + done.stderr == ""


def test_the_image_is_small_and_holds_no_tools(image: Image) -> None:
    """Little more than the dependencies; no pip that could install anything at run time."""
    built, base = (
        int(image.podman("image", "inspect", name, "--format", "{{.Size}}").stdout)
        for name in (TAG, BASE)
    )
    assert built - base < OCTETS_MAX
    done = image.podman(
        *("run", "--rm", "--pull=never", "--network", "none", *LIMITS),
        *("--entrypoint", "python"),
        *(TAG, "-m", "pip", "--version"),
        check=False,
    )
    assert "No module named pip" in done.stderr


def test_it_runs_locked_up(container: Container, url: str) -> None:
    """Not root, no capability, nothing to write but its state; and it probes."""
    status = container.run("cat", "/proc/1/status").stdout
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == ["911"] * 4
    assert {int(fields[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")} == {0}
    assert fields["NoNewPrivs"] == "1"
    assert container.run("touch", "/opt/psapwatch/x", check=False).returncode != 0
    assert container.run("test", "-s", "/var/lib/psapwatch/psapwatch.db").returncode == 0
    until(
        lambda: 'outcome="fail"' in fetch(f"{url}/metrics").text, SOON_S, "an attempt has finished"
    )


def test_stop_is_no_kill(container: Container) -> None:
    """SIGTERM reaches the daemon as pid 1, and it ends well before podman kills it."""
    container.image.podman("stop", "--time", "10", container.name)
    assert container.show("{{.State.ExitCode}}") == "0"


def test_the_health_check_sees_a_daemon_that_hangs(container: Container) -> None:
    """Healthy while it answers; a process that only exists is not healthy."""
    assert container.is_healthy()
    pid = int(container.show("{{.State.Pid}}"))
    os.kill(pid, signal.SIGSTOP)
    try:
        assert not container.is_healthy()
    finally:
        os.kill(pid, signal.SIGCONT)
    until(container.is_healthy, SOON_S, "is healthy again")


def test_commands_work_in_the_container(container: Container, url: str) -> None:
    """`psapwatch` is the entry point and on the path: an operator's commands run beside it."""
    done = container.run("psapwatch", "status", "--url", url, "--json", check=False)
    assert '"psap": "lab-one"' in done.stdout
    stopped = container.run("psapwatch", "calls", "stop", "--why", "test", "--by", "test")
    assert "stopped" in stopped.stdout


def test_the_image_is_a_responder_too(image: Image) -> None:
    """`respond` in the same image answers OPTIONS behind a firewall."""
    port = free_port()
    responder = image.start(
        f"responder-{port}", "respond", "--listen", f"127.0.0.1:{port}", "--transport", "tcp"
    )
    try:
        responder.wait_until(lambda: "answering on" in responder.said(), "answers")
        done = responder.run("psapwatch", "probe", f"sip:127.0.0.1:{port};transport=tcp")
        assert "pass" in done.stdout
    finally:
        responder.remove()
