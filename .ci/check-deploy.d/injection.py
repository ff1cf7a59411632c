"""Applies the injection policies to sample pods, and compares the pods with those of the sidecar's own manifests.

    injection.py DEPLOY-FOLDER OUTPUT-FOLDER

The admission policy's CEL is evaluated by celpy and its JSON patch applied. Kyverno merges by the library of
kustomize, so kubectl applies its patch. Both must give the pod that the kustomize component gives to a workload.
Pods with the sidecar are written to OUTPUT-FOLDER, for the checks of all manifests.
"""

import copy
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import celpy
import jsonpatch
import kubernetes_validate
import yaml
from celpy import celtypes
from cloudcoil.models.kyverno.v1 import ClusterPolicy

NAME = "pai-image-gateway"
LABEL = {"pai-image-gateway/inject": "true"}
# The versions that have each version of the policy's kind.
KINDS = {"v1": ["1.36", "1.37"], "v1beta1": ["1.34", "1.35"]}


class TypeName(celtypes.MessageType):
    """`Object`, `JSONPatch` and the types below `Object`, which Kubernetes makes from the names of fields."""

    def __init__(self, name: str):
        super().__init__()
        self.name = name

    def get(self, field, default=None):
        return TypeName(f"{self.name}.{field}")

    def __call__(self, fields):
        made = Made(fields or {})
        made.type_name = self.name
        return made


class Made(celtypes.MapType):
    """A value with the name of the type that it was made by."""

    type_name: str


def main() -> None:
    deploy, output = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    policy, binding = rendered(deploy / "kubernetes/inject/admission-policy")
    (kyverno,) = rendered(deploy / "kubernetes/inject/kyverno")
    fits_the_schemas(policy, binding, kyverno)
    selects_labelled_pods_only(policy, kyverno)
    for name, pod in samples(deploy).items():
        by_hand = with_component(deploy, pod)
        for kind, made in {"admission policy": admitted(policy, pod), "Kyverno": mutated(kyverno, pod)}.items():
            expect(text(made) == text(by_hand), f"{kind}, pod {name}: not as by the component: {difference(made, by_hand)}")
        expect(admitted(policy, by_hand) == by_hand, f"pod {name}: a second gateway beside the first")
        own = copy.deepcopy(pod)
        own["spec"]["hostNetwork"] = True
        expect(admitted(policy, own) == own, "a gateway on the node's own network")
        objects = [*rendered(deploy / "kubernetes/inject/settings"), by_hand]
        (output / f"inject-{name}.yaml").write_text(yaml.safe_dump_all(objects))
    wrong_names_are_found(policy, pod)
    print(f"{len(samples(deploy))} pods: admission policy and Kyverno add exactly the component's sidecar, once")


def expect(holds: bool, otherwise: str) -> None:
    if not holds:
        sys.exit(f"injection: {otherwise}")


def text(value: dict) -> str:
    return json.dumps(value, sort_keys=True)


def difference(one: dict, other: dict) -> str:
    return "; ".join(f"{op['op']} {op['path']} {op.get('value')}" for op in jsonpatch.make_patch(one, other))


def fits_the_schemas(policy: dict, binding: dict, kyverno: dict) -> None:
    for version, releases in KINDS.items():
        for subject in (policy, binding):
            older = subject | {"apiVersion": f"admissionregistration.k8s.io/{version}"}
            for release in releases:
                kubernetes_validate.validate(older, release, strict=True)
    read = ClusterPolicy.model_validate(kyverno).model_dump(by_alias=True, exclude_unset=True, mode="json")
    # The model drops fields that it does not have.
    expect(read == kyverno, f"ClusterPolicy has fields that Kyverno has not: {difference(kyverno, read)}")
    expect(binding["spec"] == {"policyName": policy["metadata"]["name"]}, "the binding is of another policy")


def selects_labelled_pods_only(policy: dict, kyverno: dict) -> None:
    constraints = policy["spec"]["matchConstraints"]
    expect(constraints["objectSelector"] == {"matchLabels": LABEL}, "the policy is not about labelled pods")
    (rule,) = constraints["resourceRules"]
    expect((rule["resources"], rule["operations"]) == (["pods"], ["CREATE"]), "the policy is not about new pods")
    (rule,) = kyverno["spec"]["rules"]
    (match,) = rule["match"]["any"]
    wanted = {"kinds": ["v1/Pod"], "operations": ["CREATE"], "selector": {"matchLabels": LABEL}}
    expect(match == {"resources": wanted}, "Kyverno's rule is not about new labelled pods")


def samples(deploy: pathlib.Path) -> dict[str, dict]:
    """The examples' pods with the label, one of them with an init container and a volume of its own."""
    found = {}
    for path in ("example-deployment/scheduler.yaml", "example-job/job.yaml"):
        for document in yaml.safe_load_all((deploy / "kubernetes/sidecar" / path).read_text()):
            template = document.get("spec", {}).get("template")
            if template:
                name = document["metadata"]["name"]
                metadata = {"name": name, "labels": template["metadata"]["labels"] | LABEL}
                found[name] = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    rich = copy.deepcopy(found["scheduler"])
    first = rich["spec"]["containers"][0] | {"name": "fetch", "volumeMounts": [{"name": "own", "mountPath": "/own"}]}
    rich["spec"] |= {"initContainers": [first], "volumes": [{"name": "own", "emptyDir": {}}]}
    rich["metadata"]["name"] = "rich"
    return found | {"rich": rich}


# ---- the component

def with_component(deploy: pathlib.Path, pod: dict) -> dict:
    """The pod that the component of the sidecar makes of a Deployment's."""
    workload = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "sample", "labels": {"pai-image-gateway/sidecar": "enabled"}},
        "spec": {"template": {"metadata": pod["metadata"], "spec": pod["spec"]}},
    }
    component = deploy / "kubernetes/sidecar/component"
    (made,) = kustomize(workload, lambda folder: {"components": [os.path.relpath(component, folder)]})
    return pod | made["spec"]["template"]


def kustomize(subject: dict, more) -> list[dict]:
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place).resolve()
        (folder / "subject.yaml").write_text(yaml.safe_dump(subject))
        whole = {"kind": "Kustomization", "resources": ["subject.yaml"]} | more(folder)
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(whole))
        return rendered(folder)


def rendered(folder: pathlib.Path) -> list[dict]:
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, timeout=60)
    expect(done.returncode == 0, done.stderr.strip())
    return list(yaml.safe_load_all(done.stdout))


# ---- Kyverno

def mutated(policy: dict, pod: dict) -> dict:
    (rule,) = policy["spec"]["rules"]
    patch = {"apiVersion": "v1", "kind": "Pod"} | rule["mutate"]["patchStrategicMerge"]
    patch["metadata"] = patch["metadata"] | {"name": pod["metadata"]["name"]}
    (made,) = kustomize(pod, lambda _: {"patches": [{"patch": yaml.safe_dump(patch)}]})
    return made


# ---- the admission policy

def admitted(policy: dict, pod: dict) -> dict:
    """The pod as the API server would store it, but for its defaults."""
    spec = policy["spec"]
    bindings = {"object": celpy.json_to_cel(pod), "Object": TypeName("Object"), "JSONPatch": TypeName("JSONPatch")}
    if not all(evaluated(condition["expression"], bindings) for condition in spec["matchConditions"]):
        return pod
    bindings["variables"] = celtypes.MapType(
        {celtypes.StringType(v["name"]): evaluated(v["expression"], bindings) for v in spec["variables"]}
    )
    for mutation in spec["mutations"]:
        steps = evaluated(mutation["jsonPatch"]["expression"], bindings)
        for step in steps:
            named_by_path(step["value"], type_of(step["value"]))
        pod = jsonpatch.apply_patch(pod, plain(steps))
    return pod


def evaluated(expression: str, bindings: dict):
    environment = celpy.Environment()
    return environment.program(environment.compile(expression)).evaluate(bindings)


def plain(value):
    """The value in Python's own types, because 1 would equal true."""
    match value:
        case celtypes.BoolType():
            return bool(value)
        case celtypes.IntType():
            return int(value)
        case celtypes.StringType():
            return str(value)
        case dict():
            return {plain(key): plain(inner) for key, inner in value.items()}
        case list():
            return [plain(inner) for inner in value]
    sys.exit(f"injection: a value of {type(value)}")


def type_of(value) -> str:
    return value.type_name if isinstance(value, Made) else ""


def named_by_path(value, path: str) -> None:
    """The API server's own check: a field's value is made by the type that is named after the field."""
    if isinstance(value, Made):
        expect(value.type_name == path, f"{value.type_name} is the value of {path}")
        for field, inner in value.items():
            named_by_path(inner, f"{path}.{field}")
    elif isinstance(value, list):
        for inner in value:
            named_by_path(inner, path)
    elif path.count(".") > 1 and isinstance(value, dict):
        # The maps of a container, which have no types: both are of quantities by name.
        expect(path.endswith((".requests", ".limits")), f"{path} is a map and not an Object")


def wrong_names_are_found(policy: dict, pod: dict) -> None:
    """Tests the check: without this, no message means nothing."""
    right = "httpGet: Object.spec.initContainers.startupProbe.httpGet"
    wrong = text(policy).replace(right, "httpGet: Object.spec.httpGet")
    expect(wrong != text(policy), f"no {right}")
    try:
        admitted(json.loads(wrong), pod)
    except SystemExit:
        return
    expect(False, "a value of a wrong type passes")


main()
