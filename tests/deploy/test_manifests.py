"""The image recipe and the manifests: what they ask for is what Kubernetes knows, and what we promise of them.

Kubernetes' own strict schemas lie beside this file (1.37, only the kinds that are used). KubeRay's are not on any index, so a
RayService is checked by its structure. Nothing here builds an image or asks a cluster.
"""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "deploy"


def documents(name: str) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all((HERE / name).read_text(encoding="utf-8")) if one]


SCHEMAS = json.loads(gzip.decompress((Path(__file__).parent / "kubernetes-1.37.json.gz").read_bytes()))
OBJECTS = {one["kind"]: one for one in documents("kubernetes/mofang.yaml")}


def errors(kind: str, found: Any) -> list[str]:
    from jsonschema import Draft202012Validator

    checker = Draft202012Validator({"$ref": f"#/$defs/{kind}", "$defs": SCHEMAS["$defs"]})
    return [f"{'/'.join(map(str, one.path))}: {one.message[:200]}" for one in checker.iter_errors(found)]


@pytest.mark.parametrize("kind", sorted(OBJECTS))
def test_each_object_is_what_kubernetes_knows(kind: str) -> None:
    assert errors(kind, OBJECTS[kind]) == []


JOBS = {one["kind"]: one for one in documents("kubernetes/jobs.yaml")}


@pytest.mark.parametrize("kind", sorted(JOBS))
def test_what_runs_by_itself_has_a_pod_and_a_way_out(kind: str) -> None:
    assert errors(kind, JOBS[kind]) == []
    pod, servers = (one["Deployment"]["spec"]["template"] for one in (JOBS, OBJECTS))
    assert JOBS["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == pod["metadata"]["labels"]
    assert not OBJECTS["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert "ingress" not in JOBS["NetworkPolicy"]["spec"] and "Ingress" in JOBS["NetworkPolicy"]["spec"]["policyTypes"]
    (container,), (server,) = pod["spec"]["containers"], servers["spec"]["containers"]
    assert container["args"] == ["jobs", "run", "--forever"] and container["securityContext"] == server["securityContext"]
    assert {"name": "MOFANG_NO_JOBS", "value": "1"} in server["env"], "else a server that reaches nobody may have the turn"
    assert {one["name"]: one for one in container["env"]}["PGPASSWORD"]["valueFrom"]["secretKeyRef"]["name"] == "mofang-database"
    assert pod["spec"]["volumes"] == servers["spec"]["volumes"] and pod["spec"]["securityContext"]["runAsNonRoot"]


def test_the_check_would_see_a_mistake() -> None:
    wrong = json.loads(json.dumps(OBJECTS["Deployment"]))
    wrong["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    assert errors("Deployment", wrong)
    del wrong["spec"]["template"]["spec"]["containers"][0]["readinesProbe"]
    wrong["spec"]["replicas"] = "two"
    assert errors("Deployment", wrong)


def test_the_objects_fit_each_other() -> None:
    labels = OBJECTS["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for selector in (OBJECTS["Deployment"]["spec"]["selector"]["matchLabels"], OBJECTS["Service"]["spec"]["selector"],
                     OBJECTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
                     OBJECTS["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]):
        assert selector.items() <= labels.items()
    assert OBJECTS["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == OBJECTS["Deployment"]["metadata"]["name"]
    assert OBJECTS["HorizontalPodAutoscaler"]["spec"]["minReplicas"] > OBJECTS["PodDisruptionBudget"]["spec"]["minAvailable"]
    pod = OBJECTS["Deployment"]["spec"]["template"]["spec"]
    assert {one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"] if "persistentVolumeClaim" in one} == {
        OBJECTS["PersistentVolumeClaim"]["metadata"]["name"]}
    assert all(one["metadata"].get("namespace", "mofang") == "mofang" for one in OBJECTS.values())


def test_a_pod_is_not_root_writes_nothing_and_shows_no_secret() -> None:
    pod = OBJECTS["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]
    for container in pod["containers"]:
        inside = container["securityContext"]
        assert inside["readOnlyRootFilesystem"] and not inside["allowPrivilegeEscalation"] and inside["capabilities"] == {"drop": ["ALL"]}
        secret = {one["name"]: one for one in container["env"]}["PGPASSWORD"]
        assert "value" not in secret and secret["valueFrom"]["secretKeyRef"]["name"] == "mofang-database"
        assert container["readinessProbe"]["httpGet"]["path"] == "/health"
    assert "Secret" not in OBJECTS, "a password in a repository is none"
    assert pod["terminationGracePeriodSeconds"] > 40


def test_commands_in_the_manifests_are_commands_of_ours() -> None:
    import click

    from mofang.cli.group import cli

    compose = documents("compose.yaml")[0]["services"]
    told = [OBJECTS["Deployment"]["spec"]["template"]["spec"]["containers"][0]["args"], compose["serve"]["command"],
            compose["import"]["command"]]
    docker = (HERE / "Dockerfile").read_text(encoding="utf-8")
    told.append(json.loads(re.findall(r"^CMD (\[.*\])$", docker, re.MULTILINE)[-1]))
    for words in told:
        command = cli.get_command(click.Context(cli), words[0])
        assert command is not None
        command.make_parser(click.Context(command)).parse_args([str(one) for one in words[1:]])


def test_the_image_is_slim_pinned_and_not_root() -> None:
    docker = (HERE / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^ARG BASE=python:3\.11-slim", docker, re.MULTILINE) and "HEALTHCHECK" in docker
    users = re.findall(r"^USER (.*)$", docker, re.MULTILINE)
    assert users == ["10001:10001"] and docker.index("USER 10001") > docker.rindex("COPY --from")
    assert "--profile image" in docker and "find_spec('torch')" in docker, "the lock's digests, and no torch"
    kept = (HERE / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    assert kept[0] == "*", "nothing travels that is not named"
    for source in re.findall(r"^COPY (?!--from)(.*) \S+$", docker, re.MULTILINE):
        for name in source.split():
            assert (ROOT / name).exists() and f"!{name.removeprefix('./')}" in kept


def test_compose_keeps_the_database_and_the_servers_inside() -> None:
    services = documents("compose.yaml")[0]["services"]
    assert [name for name, one in services.items() if "ports" in one] == ["proxy"]
    for name in ("import", "serve"):
        assert services[name]["read_only"] and services[name]["cap_drop"] == ["ALL"]
        assert "PGPASSWORD" in services[name]["environment"] and "@" in services[name]["environment"]["MOFANG_DATABASE"]
        assert ":" not in services[name]["environment"]["MOFANG_DATABASE"].partition("//")[2], "no password in an address"


def test_a_ray_service_names_our_application_and_asks_for_a_token() -> None:
    (found,) = documents("kubernetes/rayservice.yaml")
    assert (found["apiVersion"], found["kind"]) == ("ray.io/v1", "RayService")
    serve = yaml.safe_load(found["spec"]["serveConfigV2"])
    (app,) = serve["applications"]
    module, _, name = app["import_path"].partition(":")
    source = (ROOT / "src" / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8")
    assert f"def {name}(args: " in source
    cluster = found["spec"]["rayClusterConfig"]
    assert cluster["authOptions"] == {"mode": "token"}
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert errors("io.k8s.api.core.v1.PodTemplateSpec", group["template"]) == []
        (container,) = group["template"]["spec"]["containers"]
        assert {"name": "RAY_AUTH_MODE", "value": "token"} in container["env"]
