"""Lints the chart, tests that its schema rejects wrong values, and renders it for each of its ci/ values.

    chart.py CHART OUTPUT-FOLDER VERSION
"""

import json
import pathlib
import shutil
import sys
import tempfile

import yaml
from helm_python import HelmError
from helm_python.chart import Chart, lint, package

WARNING = 2

# Values that must be rejected, and the text that the error must contain.
REFUSED = [
    ({"replicaCount": "two"}, "replicaCount"),
    ({"replicas": 3}, "replicas"),
    ({"image": {"digest": "latest"}}, "digest"),
    ({"config": {"freshness": {"facter": 0.1}}}, "facter"),
    ({"config": {"listen": {"max_connections": "many"}}}, "max_connections"),
    ({"ports": {"data": 443}}, "data"),
    ({"tls": {"existingSecret": ""}}, "existingSecret"),
    ({"clients": {"secret": "s3cret"}}, "secret"),
    ({"rrsa": {"enabled": True}, "credentials": {"existingSecret": "key"}}, "choose one"),
    ({"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}, "choose one"),
    ({"serviceAccount": {"create": False}}, "serviceAccount.name"),
    ({"sharedCache": {"url": "redis://:s3cret@cache:6379"}}, "url"),
    ({"sharedCache": {"privateAuthority": True}}, "existingSecret"),
    ({"serviceAccounts": {"issuer": "http://issuer.example"}}, "issuer"),
    ({"tls": {"certManager": {"enabled": True}}}, "issuerRef.name"),
    ({"tls": {"enabled": False, "certManager": {"enabled": True, "issuerRef": {"name": "a"}}}}, "needs tls.enabled"),
    ({"prometheusRule": {"runbookBaseUrl": "docs/operations.md"}}, "runbookBaseUrl"),
]

# An alert with braces for Prometheus, not for Helm.
RUNBOOK = "https://example.com/pai-image-gateway/docs/operations.md"
ALERTS = f"""groups:
  - name: fixture
    rules:
      - alert: Fixture
        expr: up == 0
        for: 5m
        annotations:
          summary: "{{{{ $labels.instance }}}} is down"
          runbook_url: {RUNBOOK}#fixture
"""
DASHBOARD = '{"title": "{{ fixture }}"}\n'


def main() -> None:
    folder, output, version = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
    with Chart.load(folder) as chart:
        scenarios = {"defaults": {}} | {
            path.name.removesuffix("-values.yaml"): yaml.safe_load(path.read_text())
            for path in sorted((folder / "ci").glob("*-values.yaml"))
        }
        app_version = chart.metadata["appVersion"]
        expect(app_version == version, f"appVersion is {app_version}, the gateway's version {version}")
        every_value_has_a_rule(chart)
        for name, values in scenarios.items():
            clean(name, folder, values)
            write(output / f"helm-{name}.yaml", render(chart, values))
        refused = sum(refuses(chart, values, word) for values, word in REFUSED)
        settings_make_a_new_pod(chart)
    carries_rules_and_dashboards(folder, output)
    unpacked = packed_renders_alike(folder, scenarios["everything"])
    print(f"{len(scenarios)} sets of values linted and rendered, {refused} wrong ones refused, packed as {unpacked}")


def expect(holds: bool, otherwise: str) -> None:
    if not holds:
        sys.exit(f"chart: {otherwise}")


def render(chart: Chart, values: dict) -> str:
    rendered = chart.render(values, name="demo", namespace="images")
    parts = [text for path, text in rendered.items() if not path.endswith(".txt") and text.strip()]
    return "\n---\n".join(parts)


def write(path: pathlib.Path, text: str) -> None:
    path.write_text(text)


def clean(name: str, folder: pathlib.Path, values: dict) -> None:
    report = lint(folder, values, strict=True)
    bad = [message for message in report["messages"] if message["severity"] >= WARNING]
    expect(not bad and not report["errors"], f"{name}: {bad or report['errors']}")


def refuses(chart: Chart, values: dict, word: str) -> bool:
    try:
        chart.validate_schema(chart.merge_values(values))
        render(chart, values)
    except HelmError as error:
        expect(word in str(error), f"{values} is refused without naming {word}: {error}")
        return True
    sys.exit(f"chart: {values} is not refused")


def every_value_has_a_rule(chart: Chart) -> None:
    """A value without a rule could not be set at all; a rule without a value is outdated."""
    rules = set(chart.schema["properties"]) - {"global"}
    values = set(chart.values)
    expect(rules == values, f"values and their schema differ in {sorted(rules ^ values)}")


def settings_make_a_new_pod(chart: Chart) -> None:
    def checksum(values: dict) -> str:
        documents = yaml.safe_load_all(render(chart, values))
        (pod,) = [d["spec"]["template"] for d in documents if d and d["kind"] == "Deployment"]
        return pod["metadata"]["annotations"]["checksum/config"]

    other = {"config": {"freshness": {"max": "30m"}}}
    expect(checksum({}) != checksum(other), "a changed setting does not roll the Deployment")


def carries_rules_and_dashboards(folder: pathlib.Path, output: pathlib.Path) -> None:
    """Renders with fixture files, so that the test does not depend on the real ones."""
    with tempfile.TemporaryDirectory() as place:
        copy = pathlib.Path(place) / folder.name
        shutil.copytree(folder, copy)
        (copy / "files/dashboards").mkdir(exist_ok=True)
        write(copy / "files/alerts-fixture.yaml", ALERTS)
        write(copy / "files/dashboards/fixture.json", DASHBOARD)
        with Chart.load(copy) as chart:
            text = render(chart, {"prometheusRule": {"enabled": True}, "dashboard": {"enabled": True}})
            own = render(chart, {"prometheusRule": {"enabled": True, "runbookBaseUrl": "https://own.example/book"}})
    objects = {d["metadata"]["name"]: d for d in yaml.safe_load_all(text) if d}
    rule = objects["demo-pai-image-gateway-alerts-fixture"]
    expect(rule["spec"] == yaml.safe_load(ALERTS), "the rules are changed on their way into the chart")
    expect(
        RUNBOOK not in own and own.count("https://own.example/book#") == own.count("runbook_url:") > 30,
        "prometheusRule.runbookBaseUrl is not the base of every runbook_url",
    )
    dashboard = objects["demo-pai-image-gateway-dashboard-fixture"]
    expect(dashboard["data"]["fixture.json"] == DASHBOARD, "a dashboard is changed on its way into the chart")
    write(output / "helm-fixture-rules.yaml", text)


def packed_renders_alike(folder: pathlib.Path, values: dict) -> str:
    with tempfile.TemporaryDirectory() as place:
        archive = package(folder, destination=place)
        with Chart.load(archive) as packed, Chart.load(folder) as chart:
            expect(render(packed, values) == render(chart, values), "the package renders otherwise than its folder")
        return pathlib.Path(archive).name


main()
