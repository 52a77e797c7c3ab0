"""Commands beside a simulated daemon: another process's hand on the same store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor  # noqa: TID251 - a loop runs in this thread
from pathlib import Path

import yaml
from click.testing import CliRunner, Result

from psapwatch.cli.main import cli
from psapwatch.replay.stage import Stage


def command(scene: Stage, folder: Path, *words: str) -> Result:
    """Run a command on ``folder``'s store, with a configuration that names the scene's paths.

    Simulated time stands still meanwhile; a command's own clock is the system's.
    """
    file = folder / "psapwatch.yml"
    file.write_text(yaml.safe_dump(_plain(scene)), encoding="utf-8")
    arguments = [*words, "--config", str(file)]
    with ThreadPoolExecutor(1) as beside:
        return beside.submit(CliRunner().invoke, cli, arguments).result()


def _plain(scene: Stage) -> dict[str, object]:
    config = scene.config
    return {
        "vantage": config.vantage,
        "identity": {"from": "sip:test@example.net", "provider": "Example ESInet"},
        "store": {"path": "psapwatch.db"},
        "firewalls": {
            each.id: {"sources": [{"address": each.sources[0].address}]}
            for each in config.firewalls
        },
        "checks": {"keepalive": {"probe": "options", "every": "15s"}},
        "psaps": [
            {
                "id": psap.id,
                "name": psap.name,
                "attributes": dict(psap.attributes),
                "paths": [
                    {"id": path.id, "firewall": path.firewall.id, "uri": path.uri}
                    for path in config.paths
                    if path.psap.id == psap.id
                ],
            }
            for psap in config.psaps
        ],
    }
