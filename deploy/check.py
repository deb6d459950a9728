#!/usr/bin/env python3
"""Checks the deployment files: they can be read, and what has to agree in them agrees."""

import pathlib
import sys

import yaml

HERE = pathlib.Path(__file__).parent
DEPLOYED = ("Deployment", "StatefulSet")
problems = []


def check(holds, what):
    if not holds:
        problems.append(what)


def check_pods(workload):
    name = workload["metadata"]["name"]
    spec = workload["spec"]
    template = spec["template"]
    check(spec["selector"]["matchLabels"] == template["metadata"]["labels"], f"{name}: its selector is not its labels")
    volumes = {volume["name"] for volume in template["spec"]["volumes"]}
    volumes |= {claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", [])}
    for container in template["spec"]["containers"]:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            check(probe in container, f"{name}: no {probe}")
        resources = container.get("resources", {})
        check("memory" in resources.get("limits", {}), f"{name}: no memory limit")
        check({"cpu", "memory"} <= set(resources.get("requests", {})), f"{name}: no requests")
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        check(mounted == volumes, f"{name}: mounts {mounted}, has {volumes}")


def check_kubernetes():
    documents = []
    for file in sorted((HERE / "kubernetes").glob("*.yaml")):
        documents += [document for document in yaml.safe_load_all(file.read_text()) if document]
    named = {(document["kind"], document["metadata"]["name"]) for document in documents}
    check(len(named) == len(documents), "two objects of one name")
    workloads = [document for document in documents if document["kind"] in DEPLOYED]
    check(len(workloads) == 2, "an API and a worker are expected")
    labels = [workload["spec"]["template"]["metadata"]["labels"] for workload in workloads]
    for workload in workloads:
        check_pods(workload)
        for source in workload["spec"]["template"]["spec"]["containers"][0]["envFrom"]:
            for kind, key in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
                check(key not in source or (kind, source[key]["name"]) in named, f"there is no {kind} {source}")
    for document in documents:
        kind, name = document["kind"], document["metadata"]["name"]
        if kind == "Service":
            check(document["spec"]["selector"] in labels, f"{name}: selects nothing")
        if kind == "PodDisruptionBudget":
            check(document["spec"]["selector"]["matchLabels"] in labels, f"{name}: selects nothing")
        if kind == "HorizontalPodAutoscaler":
            target = document["spec"]["scaleTargetRef"]
            check((target["kind"], target["name"]) in named, f"{name}: scales nothing")


def check_compose():
    compose = yaml.safe_load((HERE / "compose.yaml").read_text())
    for name, service in compose["services"].items():
        for needed in service.get("depends_on", {}):
            check(needed in compose["services"], f"{name}: there is no {needed}")
        for volume in service.get("volumes", []):
            check(volume.split(":")[0] in compose["volumes"], f"{name}: there is no volume {volume}")
        check(name == "folders" or "mem_limit" in service, f"{name}: no memory limit")


check_kubernetes()
check_compose()
for problem in problems:
    print(problem, file=sys.stderr)
sys.exit(1 if problems else 0)
