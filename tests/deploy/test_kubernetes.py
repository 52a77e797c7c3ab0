"""deploy/kubernetes: manifests that Kubernetes knows, in agreement with daemon and rules."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest

from deploy.shipped import DEPLOY, PATIENCE_S, PROMETHEUS, loaded
from psapwatch.assignment import runs_of
from psapwatch.config.load import load
from psapwatch.config.shape import Config
from source_tree import ROOT

KUBERNETES: Final = DEPLOY / "kubernetes"
BASE: Final = KUBERNETES / "base"
VANTAGES: Final = sorted((KUBERNETES / "vantages").iterdir())
VERSIONS: Final = ("1.31.0", "1.37.0")
"""The first in which `ordinals` is stable, and the newest that the validator knows."""
OPERATOR: Final = {"ServiceMonitor", "PrometheusRule"}
TYPES: Final = KUBERNETES / "node_modules" / "@kubernetes-models" / "prometheus-operator"
COMPILER: Final = DEPLOY / "grafana" / "node_modules" / ".bin" / "tsc"
FLAGS: Final = (
    *("--noEmit", "--strict", "--skipLibCheck"),
    *("--moduleResolution", "bundler", "--module", "esnext", "--target", "es2020"),
)


def manifests() -> dict[Path, Mapping[str, Any]]:
    """Every manifest, by its file; what kustomize itself reads is left out."""
    files = [*KUBERNETES.glob("*.yaml"), *BASE.glob("*.yaml"), *KUBERNETES.glob("*/*.yaml")]
    found = {file: loaded(file) for file in sorted({*files, *KUBERNETES.glob("vantages/*/*.yaml")})}
    return {file: one for file, one in found.items() if one["kind"] != "Kustomization"}


def of_kind(kind: str) -> dict[str, Any]:
    """The base's manifest of a kind."""
    return next(dict(one) for file, one in manifests().items() if one["kind"] == kind)


def container() -> dict[str, Any]:
    """The daemon's container."""
    spec = of_kind("StatefulSet")["spec"]["template"]["spec"]
    found: dict[str, Any] = spec["containers"][0]
    return found


def is_patch(file: Path) -> bool:
    """Whether a file changes a manifest instead of being one: it need not be whole."""
    return file.name == "place.yaml"


@pytest.fixture(params=VANTAGES, ids=lambda folder: folder.name)
def configured(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    """A vantage's configuration as a pod reads it: after the init container's command."""
    init = of_kind("StatefulSet")["spec"]["template"]["spec"]["initContainers"][0]
    command = init["command"][2]
    for there in ("/template", "/etc/psapwatch"):
        (tmp_path / there.lstrip("/")).mkdir(parents=True)
        command = command.replace(f"{there}/", f"{tmp_path}{there}/")
    template = (request.param / "psapwatch.yml").read_text(encoding="utf-8")
    (tmp_path / "template" / "psapwatch.yml").write_text(template, encoding="utf-8")
    shell = ["sh", "-c", command]
    subprocess.run(
        shell, check=True, env={"POD_IP": "10.1.2.3", "SHARD": "2", "PATH": "/usr/bin:/bin"}
    )
    return load(str(tmp_path / "etc" / "psapwatch" / "psapwatch.yml"))


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_every_field(version: str) -> None:
    """Each manifest of Kubernetes' own kinds is valid, strictly: no unknown field."""
    checked = 0
    for file, one in manifests().items():
        if one["kind"] not in OPERATOR and not is_patch(file):
            kubernetes_validate.validate(one, version, strict=True)
            checked += 1
    assert checked >= 6


def test_an_unknown_field_is_found() -> None:
    """The validator is not mute."""
    broken = copy.deepcopy(of_kind("StatefulSet"))
    broken["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


def complaints(folder: Path, resources: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what the compiler says of operator resources that are written as literals."""
    assert TYPES.is_dir(), "the operator's types are missing: `make test` fetches them"
    files = []
    for name, one in resources.items():
        kind, types = one["kind"], (TYPES / "monitoring.coreos.com" / "v1").as_posix()
        files.append(folder / f"{name}.ts")
        files[-1].write_text(
            f'import type {{ I{kind} }} from "{types}/{kind}";\n'
            f"export const one: I{kind} = {json.dumps(one)};",
            encoding="utf-8",
        )
    done = subprocess.run(
        [COMPILER, *FLAGS, *files],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return done.stdout + done.stderr


def test_the_operators_resources_have_the_right_shape(tmp_path: Path) -> None:
    """ServiceMonitor and PrometheusRule are what the Prometheus operator's types say."""
    ours = {one["kind"]: one for one in manifests().values() if one["kind"] in OPERATOR}
    assert set(ours) == OPERATOR
    assert complaints(tmp_path, ours) == ""


def test_mistakes_in_the_operators_resources_are_found(tmp_path: Path) -> None:
    """A misspelt key and a wrong type are errors; a mute checker proves nothing."""
    key, rule = of_kind("ServiceMonitor"), copy.deepcopy(of_kind("PrometheusRule"))
    key["spec"] = {**key["spec"], "endpoint": []}
    rule["spec"]["groups"][0]["rules"][0]["expr"] = ["up"]
    found = re.findall(
        r"(\w+)\.ts\(\d+,\d+\): error TS", complaints(tmp_path, {"key": key, "rule": rule})
    )
    assert set(found) == {"key", "rule"}


def test_the_rules_are_those_of_prometheus(tmp_path: Path) -> None:
    """prometheusrule.yaml is what its script writes from ../prometheus, group by group."""
    groups = [
        group
        for name in ("recording", "alerts")
        for group in loaded(PROMETHEUS / f"{name}.yml")["groups"]
    ]
    assert of_kind("PrometheusRule")["spec"]["groups"] == groups


def test_kustomizations_name_what_exists() -> None:
    """Each resource, patch and file of a kustomization is there; nothing lies about unused."""
    named: set[Path] = set()
    for file in KUBERNETES.rglob("kustomization.yaml"):
        if "node_modules" in file.parts:
            continue
        one = loaded(file)
        generated = [name for each in one.get("configMapGenerator", ()) for name in each["files"]]
        patches = [patch["path"] for patch in one.get("patches", ())]
        for name in (*one["resources"], *patches, *generated):
            target = (file.parent / name).resolve()
            assert target.exists(), f"{file}: {name}"
            named.add(target)
    assert set(manifests()) <= named


def test_every_psap_belongs_to_exactly_one_shard(configured: Config) -> None:
    """The pods' `--shard` arguments, from the ordinals on, cover each path once."""
    stateful = of_kind("StatefulSet")["spec"]
    environment = {each["name"]: each for each in container()["env"]}
    shards = int(environment["SHARDS"]["value"])
    assert shards == stateful["replicas"]
    assert "pod-index" in environment["SHARD"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert container()["args"][-2:] == ["--shard", "$(SHARD)/$(SHARDS)"]
    first = stateful["ordinals"]["start"]
    runs = Counter(
        (path.key, check.name)
        for nth in range(first, first + shards)
        for path, check in runs_of(configured, (nth, shards))
        if path.psap.id != "reference"
    )
    wanted = {
        (path.key, check.name)
        for check in configured.checks
        for path in configured.watched(check)
        if path.psap.id != "reference"
    }
    assert runs == Counter(wanted)


def test_each_shard_says_which_one_it_is(configured: Config) -> None:
    """Pushed alerts carry the shard, so that one shard's end does not end another's alert."""
    assert configured.sinks[0].labels == {"shard": "2"}
    assert configured.firewalls[0].sources[0].address == "10.1.2.3"


def test_vantages_take_turns_at_a_psap() -> None:
    """No two vantages have the same slot of a PSAP's agreement; each names itself rightly."""
    turns: Counter[tuple[str, str]] = Counter()
    for folder in VANTAGES:
        written = loaded(folder / "psapwatch.yml")
        assert written["vantage"] == folder.name
        kustomization = loaded(folder / "kustomization.yaml")
        assert kustomization["nameSuffix"] == f"-{folder.name}"
        turns.update((psap["id"], psap["test_calls"]["turn"]) for psap in written["psaps"])
    assert max(turns.values()) == 1
    assert {turn.partition("/")[2] for _psap, turn in turns} == {str(len(VANTAGES))}


def test_the_policy_lets_through_what_the_daemon_uses(configured: Config) -> None:
    """The configured source ports are open inwards; SIP, its Alertmanager and names outwards."""
    spec = of_kind("NetworkPolicy")["spec"]
    inward = set(_ports(spec["ingress"]))
    for source in configured.firewalls[0].sources:
        sip, rtp = source.sip_ports, source.rtp_ports
        assert {("UDP", sip.low, sip.high), ("TCP", sip.low, sip.high)} <= inward
        assert ("UDP", rtp.low, rtp.high) in inward
    outward = set(_ports(spec["egress"]))
    assert {("UDP", 53, 53), ("TCP", 5060, 5060), ("TCP", 5061, 5061)} <= outward
    assert ("TCP", 9093, 9093) in outward


def test_pods_hold_no_privilege() -> None:
    """What the namespace's `restricted` demands, and a root file system that nobody writes to."""
    spec = of_kind("StatefulSet")["spec"]["template"]["spec"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not spec["automountServiceAccountToken"]
    for each in (*spec["initContainers"], *spec["containers"]):
        context = each["securityContext"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["readOnlyRootFilesystem"]
        assert not context["allowPrivilegeEscalation"]
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert f"USER {spec['securityContext']['runAsUser']}\n" in dockerfile


def _ports(rules: list[dict[str, Any]]) -> Iterator[tuple[str, int | str, int | str]]:
    for rule in rules:
        for port in rule["ports"]:
            yield port["protocol"], port["port"], port.get("endPort", port["port"])
