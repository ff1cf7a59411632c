"""Checks rendered Kubernetes objects against the schemas of two versions, and against rules beyond schemas.

    manifests.py GATEWAY FIXTURES OBJECTS-OF-OPERATOR FILE...

GATEWAY reads the settings that each pod would mount, from a copy of its volumes; FIXTURES is a folder with
what the Secrets would hold, one folder a mount path's last part. Custom resources are written to
OBJECTS-OF-OPERATOR, one of JSON a line, for another checker.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib

import kubernetes_validate
import yaml

VERSIONS = ["1.29", "1.33"]
# Kinds of other software, for which monitors.mjs has models.
OPERATORS = ("monitoring.coreos.com/", "cert-manager.io/")
GATEWAY = "pai-image-gateway"
LABEL = re.compile(r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")
DNS_NAME = re.compile(r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")
SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


class OnceLoader(yaml.SafeLoader):
    """YAML in which a repeated key is an error."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"written twice: {twice}", node.start_mark)
        return super().construct_mapping(node, deep)


class File:
    """The objects of one rendered file, and their problems."""

    def __init__(self, path: pathlib.Path, text: str):
        self.path = path
        self.objects = [o for o in yaml.load_all(text, OnceLoader) if o]
        self.problems: list[str] = []
        self.settings_read = 0

    def expect(self, holds: object, subject: dict, otherwise: str) -> None:
        if not holds:
            self.problems.append(f"{self.path.name}: {subject['kind']}/{subject['metadata']['name']}: {otherwise}")

    def of(self, *kinds: str) -> list[dict]:
        return [o for o in self.objects if o["kind"] in kinds]

    def named(self, kind: str, name: str) -> dict | None:
        return next((o for o in self.of(kind) if o["metadata"]["name"] == name), None)

    def workloads(self) -> list[dict]:
        """Whatever has a pod; a pod by itself counts as its own template."""
        pods = [pod | {"spec": {"template": pod}} for pod in self.of("Pod")]
        return self.of("Deployment", "StatefulSet", "DaemonSet", "Job") + pods

    # ---- shape

    def fits_the_schemas(self) -> None:
        for subject in self.objects:
            if subject["apiVersion"].startswith(OPERATORS):
                continue
            for version in VERSIONS:
                try:
                    kubernetes_validate.validate(subject, version, strict=True)
                except Exception as error:  # each of the module's own, and what it lets through
                    self.expect(False, subject, f"{version}: {str(error).splitlines()[0]}")

    def is_well_named(self) -> None:
        for subject in self.objects:
            metadata = subject["metadata"]
            self.expect(DNS_NAME.match(metadata["name"]), subject, "its name is no DNS name")
            for holder in (metadata, subject.get("spec", {}).get("template", {}).get("metadata", {})):
                for key, value in holder.get("labels", {}).items():
                    self.expect(
                        isinstance(value, str) and LABEL.match(value), subject, f"label {key} cannot be {value!r}"
                    )
                for key, value in holder.get("annotations", {}).items():
                    self.expect(isinstance(value, str), subject, f"annotation {key} is not text")

    # ---- pods

    def pods_are_confined(self) -> None:
        for workload in self.workloads():
            pod = workload["spec"]["template"]["spec"]
            whole = pod.get("securityContext", {})
            self.expect(pod.get("automountServiceAccountToken") is False, workload, "mounts a Kubernetes token")
            self.expect(pod.get("enableServiceLinks") is False, workload, "gets a variable for each Service")
            for container in containers(pod):
                self.container_is_confined(workload, container, whole | container.get("securityContext", {}))

    def container_is_confined(self, workload: dict, container: dict, context: dict) -> None:
        def expect(holds: object, otherwise: str) -> None:
            self.expect(holds, workload, f"container {container['name']} {otherwise}")

        expect(context.get("readOnlyRootFilesystem") is True, "may write to its root file system")
        expect(context.get("allowPrivilegeEscalation") is False, "may gain privileges")
        expect(context.get("capabilities", {}).get("drop") == ["ALL"], "keeps capabilities")
        expect("add" not in context.get("capabilities", {}), "adds capabilities")
        expect(context.get("runAsNonRoot") is True, "may run as root")
        expect(context.get("runAsUser", 0) > 0, "names no user")
        expect(context.get("seccompProfile") == {"type": "RuntimeDefault"}, "has no seccomp profile")
        resources = container.get("resources", {})
        expect("memory" in resources.get("limits", {}), "has no limit of memory")
        expect({"cpu", "memory"} <= set(resources.get("requests", {})), "requests no processor or memory")
        image = container["image"]
        expect("@sha256:" in image or re.search(r":[^/:]+$", image), f"has an image without a version: {image}")
        expect(not image.endswith(":latest"), "has the latest image, whatever that is")
        expect(all("subPath" not in mount for mount in container.get("volumeMounts", [])), "mounts by subPath")

    def mounts_have_volumes(self) -> None:
        for workload in self.workloads():
            pod = workload["spec"]["template"]["spec"]
            volumes = [volume["name"] for volume in pod.get("volumes", [])]
            self.expect(len(volumes) == len(set(volumes)), workload, "two volumes of one name")
            mounted = [mount["name"] for c in containers(pod) for mount in c.get("volumeMounts", [])]
            self.expect(set(mounted) == set(volumes), workload, f"volumes {volumes}, mounts {mounted}")

    def gateway_is_probed(self) -> None:
        for workload in self.workloads():
            if is_shared_cache(workload) or is_test(workload):
                continue
            pod = workload["spec"]["template"]["spec"]
            container = gateway(pod)
            self.expect(container, workload, "has no gateway")
            if not container:
                continue
            ports = {port["name"]: port["containerPort"] for port in container["ports"]}
            paths = {"startupProbe": "/startupz", "livenessProbe": "/livez"}
            if is_sidecar(pod):
                self.expect(container.get("restartPolicy") == "Always", workload, "its gateway is no native sidecar")
                self.expect("readinessProbe" not in container, workload, "the sidecar decides on the pod's readiness")
                self.expect(pod["initContainers"][0] is container, workload, "the gateway does not start first")
            else:
                paths["readinessProbe"] = "/readyz"
            for probe, path in paths.items():
                got = container.get(probe, {}).get("httpGet", {})
                self.expect(got.get("path") == path, workload, f"{probe} does not ask {path}")
                self.expect(got.get("port") in ports, workload, f"{probe} asks a port that is not there")

    # ---- references

    def references_hold(self) -> None:
        for service in self.of("Service"):
            pods = self.selected(service["spec"]["selector"])
            self.expect(pods, service, "selects no pod")
            for port in service["spec"]["ports"]:
                self.expect(
                    all(port["targetPort"] in port_names(pod) for pod in pods), service, f"no port {port['targetPort']}"
                )
        for workload in self.of("Deployment", "StatefulSet", "DaemonSet"):
            wanted = workload["spec"]["selector"]["matchLabels"]
            self.expect(matches(wanted, workload["spec"]["template"]), workload, "does not select its own pods")
        for budget in self.of("PodDisruptionBudget"):
            self.expect(self.selected(budget["spec"]["selector"]["matchLabels"]), budget, "guards no pod")
        for scaler in self.of("HorizontalPodAutoscaler"):
            target = scaler["spec"]["scaleTargetRef"]
            workload = self.named(target["kind"], target["name"])
            self.expect(workload, scaler, "scales nothing")
            self.expect(workload and "replicas" not in workload["spec"], scaler, "and the Deployment both set replicas")
        for monitor in self.of("ServiceMonitor"):
            wanted = monitor["spec"]["selector"]["matchLabels"]
            services = [s for s in self.of("Service") if matches(wanted, s)]
            self.expect(len(services) == 1, monitor, f"matches {len(services)} Services")
            names = {port["name"] for service in services for port in service["spec"]["ports"]}
            self.expect(all(e["port"] in names for e in monitor["spec"]["endpoints"]), monitor, "asks no port of theirs")
        for monitor in self.of("PodMonitor"):
            pods = self.selected(monitor["spec"]["selector"]["matchLabels"])
            self.expect(pods, monitor, "matches no pod")
            for endpoint in monitor["spec"]["podMetricsEndpoints"]:
                self.expect(all(endpoint["port"] in port_names(pod) for pod in pods), monitor, "asks no port of theirs")

    def policies_fit_their_pods(self) -> None:
        own = {"app.kubernetes.io/name", "app.kubernetes.io/instance"}
        for policy in self.of("NetworkPolicy"):
            spec = policy["spec"]
            pods = self.selected(spec["podSelector"].get("matchLabels", {}))
            self.expect(pods and spec["podSelector"].get("matchLabels"), policy, "is not about the gateway's pods")
            for rule in spec.get("ingress", []):
                self.expect(rule.get("from"), policy, "lets everybody in")
                for port in rule["ports"]:
                    self.expect(all(port["port"] in port_names(p) for p in pods), policy, f"no port {port['port']}")
            peers = [peer for rule in spec.get("ingress", []) for peer in rule.get("from", [])]
            peers += [peer for rule in spec.get("egress", []) for peer in rule.get("to", [])]
            for peer in peers:
                labels = peer.get("podSelector", {}).get("matchLabels", {})
                self.expect(not own & set(labels), policy, f"takes a peer for a gateway: {labels}")

    def selected(self, labels: dict) -> list[dict]:
        templates = [workload["spec"]["template"] for workload in self.workloads()]
        return [template["spec"] for template in templates if matches(labels, template)]

    # ---- settings

    def settings_are_sound(self, program: str, fixtures: pathlib.Path) -> None:
        for workload in self.workloads():
            pod = workload["spec"]["template"]["spec"]
            container = gateway(pod)
            if not container:
                continue
            with tempfile.TemporaryDirectory() as place:
                self.mount(workload, pod, container, pathlib.Path(place), fixtures)
                settings = self.read(workload, container, pathlib.Path(place), program)
            if settings:
                self.settings_read += 1
            if settings and not is_test(workload):
                self.settings_fit(workload, pod, container, settings)

    def mount(self, workload: dict, pod: dict, container: dict, root: pathlib.Path, fixtures: pathlib.Path) -> None:
        """Lays out the container's volumes under `root` as the kubelet would."""
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        for mount in container.get("volumeMounts", []):
            folder = root / mount["mountPath"].lstrip("/")
            folder.mkdir(parents=True)
            volume = volumes[mount["name"]]
            mine = self.named("ConfigMap", volume.get("configMap", {}).get("name", ""))
            if mine:
                for name, text in mine["data"].items():
                    (folder / name).write_text(text)
            elif "secret" in volume or "configMap" in volume:
                given = fixtures / folder.name
                self.expect(given.is_dir(), workload, f"nobody knows what {mount['mountPath']} would hold")
                for file in sorted(given.glob("*")):
                    (folder / file.name).write_bytes(file.read_bytes())
            for source in volume.get("projected", {}).get("sources", []):
                for item in [source.get("serviceAccountToken", {}), *source.get("configMap", {}).get("items", [])]:
                    if item:
                        given = fixtures / ("tls/ca.crt" if "key" in item else "admin/token")
                        (folder / item["path"]).write_bytes(given.read_bytes())

    def read(self, workload: dict, container: dict, root: pathlib.Path, program: str) -> dict | None:
        """Returns the effective settings, from the program itself, with paths that point below `root`."""
        (path,) = [a.removeprefix("--config=") for a in container["args"] if a.startswith("--config=")]
        file = root / path.lstrip("/")
        self.expect(file.is_file(), workload, f"mounts no {path}")
        if not file.is_file():
            return None
        file.write_text(re.sub(r'"(/(?:etc|var/run)/[^"]*)"', lambda found: f'"{root}{found[1]}"', file.read_text()))
        flags = [a for a in container["args"] if a.startswith("--set")]
        variables = {v["name"]: v["value"] for v in container.get("env", []) if "value" in v}
        variables = {name: f"{root}{v}" if v.startswith(("/etc/", "/var/run/")) else v for name, v in variables.items()}
        for source in container.get("envFrom", []):
            mine = self.named("ConfigMap", source.get("configMapRef", {}).get("name", ""))
            variables |= mine["data"] if mine else {}
        done = subprocess.run(
            [program, "config", "--config", file, *flags], env=variables, capture_output=True, text=True, timeout=30
        )
        self.expect(done.returncode == 0, workload, f"its settings: {done.stderr.strip()}")
        return tomllib.loads(done.stdout) if done.returncode == 0 else None

    def settings_fit(self, workload: dict, pod: dict, container: dict, settings: dict) -> None:
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        host, _, port = settings["listen"]["address"].rpartition(":")
        observe = settings["observe"]["address"].rpartition(":")
        self.expect(observe[0] == "0.0.0.0", workload, "the kubelet cannot reach observe.address")
        probed = ports.get(container["livenessProbe"]["httpGet"]["port"])
        self.expect(int(observe[2]) == probed, workload, f"probes ask {probed}, and observe.address is {observe[2]}")
        if is_sidecar(pod):
            self.expect(host == "127.0.0.1", workload, "the sidecar listens beyond its pod")
        else:
            self.expect(settings["auth"]["mode"] == "required", workload, "anybody may ask")
            self.expect(int(port) in ports.values(), workload, f"listens on {port}, which is no port of it")
        stop = seconds(settings["shutdown"]["lame_duck"]) + seconds(settings["shutdown"]["drain"])
        grace = pod["terminationGracePeriodSeconds"]
        self.expect(grace > stop, workload, f"is killed after {grace} s, and needs up to {stop} s to stop")
        memory = size(container["resources"]["limits"]["memory"])
        self.expect(memory >= 2 * size(settings["cache"]["max_bytes"]), workload, "too little memory for its cache")


def containers(pod: dict) -> list[dict]:
    return pod.get("initContainers", []) + pod["containers"]


def gateway(pod: dict) -> dict | None:
    return next((container for container in containers(pod) if container["name"] == GATEWAY), None)


def is_sidecar(pod: dict) -> bool:
    return any(container["name"] == GATEWAY for container in pod.get("initContainers", []))


def is_shared_cache(workload: dict) -> bool:
    return workload["metadata"].get("labels", {}).get("app.kubernetes.io/component") == "shared-cache"


def is_test(workload: dict) -> bool:
    """Whether it is a pod of `helm test`, which runs one command and ends."""
    return workload["metadata"].get("annotations", {}).get("helm.sh/hook") == "test"


def matches(wanted: dict, subject: dict) -> bool:
    return wanted.items() <= subject["metadata"].get("labels", {}).items()


def port_names(pod: dict) -> set:
    return {port["name"] for container in containers(pod) for port in container.get("ports", [])}


def seconds(text: str) -> float:
    return sum(float(n) * SECONDS[unit] for n, unit in re.findall(r"([0-9.]+)\s*(ms|s|m|h|d)", text))


def size(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)\s*([KMG]i)B?", text).groups()
    return int(number) * 1024 ** ("KMG".index(unit[0]) + 1)


# Mistakes that must be found: a change to a rendered file, and a word of the expected message.
WRONG = [
    ("readOnlyRootFilesystem: true", "readOnlyRootFileSystem: true", "readOnlyRootFileSystem"),
    ("restartPolicy: Always", "restartPolicy: Foo", "native sidecar"),
    ("runAsNonRoot: true", "runAsNonRoot: false", "may run as root"),
    ("port: gateway-observe", "port: gateway-observed", "asks a port that is not there"),
    ("path: /startupz", "path: /readyz", "does not ask /startupz"),
    ("max_bytes = ", "max_byte = ", "max_bytes"),
    ('address = "127.0.0.1:8080"', 'address = "0.0.0.0:8080"', "everybody who reaches this address"),
    ('address = "0.0.0.0:9902"', 'address = "0.0.0.0:9903"', "probes ask"),
    ('drain = "5s"', 'drain = "45s"', "is killed after"),
    ("memory: 128Mi", "memory: 48Mi", "too little memory"),
    ("mountPath: /etc/pai-image-gateway/config", "mountPath: /etc/pai-image-gateway/settings", "mounts no"),
    ("matchLabels:\n      pai-image-gateway/sidecar: enabled", "matchLabels:\n      a: b", "matches no pod"),
]


def examine(path: pathlib.Path, text: str, program: str, fixtures: pathlib.Path) -> File:
    file = File(path, text)
    file.fits_the_schemas()
    file.is_well_named()
    file.pods_are_confined()
    file.mounts_have_volumes()
    file.gateway_is_probed()
    file.references_hold()
    file.policies_fit_their_pods()
    file.settings_are_sound(program, fixtures)
    return file


def wrong_ones_are_found(path: pathlib.Path, program: str, fixtures: pathlib.Path) -> list[str]:
    """Tests the checker: without this, no message means nothing."""
    missed = []
    text = path.read_text()
    for right, wrong, word in WRONG:
        changed = text.replace(right, wrong)
        found = examine(path, changed, program, fixtures).problems
        if changed == text or not any(word in problem for problem in found):
            missed.append(f"{right!r} as {wrong!r} passes: {found}")
    return missed


def main() -> None:
    program, fixtures, custom = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    paths = [pathlib.Path(name) for name in sys.argv[4:]]
    files = [examine(path, path.read_text(), program, fixtures) for path in paths]
    with custom.open("w") as out:
        for file in files:
            for subject in file.objects:
                if subject["apiVersion"].startswith(OPERATORS):
                    print(json.dumps(subject), file=out)
    problems = [problem for file in files for problem in file.problems]
    for path in paths:
        if path.stem == "kustomize-sidecar-example-deployment":
            problems += wrong_ones_are_found(path, program, fixtures)
            print(f"{len(WRONG)} mistakes made on purpose are found")
    print(*problems, sep="\n", end="\n" if problems else "", file=sys.stderr)
    print(
        f"{sum(len(file.objects) for file in files)} objects in {len(files)} files fit Kubernetes {' and '.join(VERSIONS)},"
        f" {sum(file.settings_read for file in files)} settings files read by the gateway, {len(problems)} problems"
    )
    sys.exit(bool(problems))


main()
