"""A real Alertmanager and a real Prometheus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import yaml

from components.inbox import fetch
from components.ports import free_port
from components.process import Bench, Running, program

SCRAPE_INTERVAL: Final = "500ms"
ANSWER_WITHIN_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Alertmanager:
    """A running Alertmanager."""

    url: str
    running: Running

    def post(self, *alerts: Mapping[str, Any]) -> int:
        """Post alerts as a client does; return the status."""
        return fetch(f"{self.url}/api/v2/alerts", body=list(alerts)).status

    def alerts(self, alertname: str | None = None) -> list[dict[str, Any]]:
        """Alerts that are active now, inhibited and silenced ones included."""
        found: list[dict[str, Any]] = fetch(f"{self.url}/api/v2/alerts").json()
        return [alert for alert in found if alertname in (None, alert["labels"].get("alertname"))]


def start_alertmanager(
    bench: Bench, *, webhook_url: str | None = None, config_text: str | None = None
) -> Alertmanager:
    """Start Alertmanager; without ``config_text`` it tells ``webhook_url`` each alert by itself."""
    folder = bench.new_folder("alertmanager")
    config = folder / "alertmanager.yml"
    config.write_text(config_text or _forwarding(webhook_url), encoding="utf-8")
    url = f"http://127.0.0.1:{free_port()}"
    argv = [
        program("prometheus-alertmanager"),
        f"--config.file={config}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address={urlsplit(url).netloc}",
        "--cluster.listen-address=",
    ]
    running = bench.start("alertmanager", argv, folder=folder)
    running.wait_until(lambda: fetch(f"{url}/-/ready").status == 200, "is ready")
    return Alertmanager(url, running)


def _forwarding(webhook_url: str | None) -> str:
    receiver: dict[str, Any] = {"name": "inbox"}
    if webhook_url:
        receiver["webhook_configs"] = [{"url": webhook_url, "send_resolved": True}]
    route = {"receiver": "inbox", "group_by": ["..."], "group_wait": "200ms"}
    intervals = {"group_interval": "1s", "repeat_interval": "1h"}
    return yaml.safe_dump({"route": route | intervals, "receivers": [receiver]})


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running Prometheus."""

    url: str
    running: Running

    def get(self, path: str, **arguments: Any) -> Any:
        """Return the data of an answer of its API.

        Raises:
            AssertionError: Prometheus refused what was asked.
        """
        asked = urlencode(arguments, doseq=True)
        answer = fetch(f"{self.url}/api/v1/{path}?{asked}", timeout_s=ANSWER_WITHIN_S).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, promql: str) -> list[dict[str, Any]]:
        """Return the series of an instant query; a refusal fails the test."""
        found: list[dict[str, Any]] = self.get("query", query=promql)["result"]
        return found

    def targets(self) -> list[dict[str, Any]]:
        """What it scrapes, with the last error of each."""
        found: list[dict[str, Any]] = self.get("targets")["activeTargets"]
        return found


def start_prometheus(
    bench: Bench,
    scrape: Sequence[str],
    *,
    rules_text: str | None = None,
    alertmanager: Alertmanager | None = None,
    external_labels: Mapping[str, str] | None = None,
) -> Prometheus:
    """Start Prometheus; it scrapes the base URLs every half second and keeps exemplars."""
    folder = bench.new_folder("prometheus")
    settings: dict[str, Any] = {
        "global": {
            "scrape_interval": SCRAPE_INTERVAL,
            "evaluation_interval": SCRAPE_INTERVAL,
            "external_labels": dict(external_labels or {}),
        },
        "scrape_configs": [
            {
                "job_name": "psapwatch",
                "static_configs": [{"targets": [urlsplit(url).netloc for url in scrape]}],
            }
        ],
    }
    if rules_text is not None:
        (folder / "rules.yml").write_text(rules_text, encoding="utf-8")
        settings["rule_files"] = [str(folder / "rules.yml")]
    if alertmanager is not None:
        target = {"targets": [urlsplit(alertmanager.url).netloc]}
        settings["alerting"] = {"alertmanagers": [{"static_configs": [target]}]}
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return run_prometheus(bench, config, folder / "data")


def run_prometheus(bench: Bench, config: Path, data: Path, *options: str) -> Prometheus:
    """Start Prometheus with a configuration on a folder of data; it keeps exemplars."""
    url = f"http://127.0.0.1:{free_port()}"
    argv = [
        program("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={data}",
        f"--web.listen-address={urlsplit(url).netloc}",
        "--enable-feature=exemplar-storage",
        *options,
    ]
    running = bench.start("prometheus", argv)
    running.wait_until(lambda: fetch(f"{url}/-/ready").status == 200, "is ready")
    return Prometheus(url, running)
