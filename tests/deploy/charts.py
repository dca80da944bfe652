"""The checks of tests/deploy/charts: charts.py DIRECTORY CHECK. Run from the repository's root.

`rendered` writes every variant of the chart and every overlay to DIRECTORY/rendered; the other checks read them there.
"""

import contextlib
import copy
import difflib
import functools
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request

import yaml

CHART = pathlib.Path("deploy/helm/btcpool-exporter")
MANIFESTS = pathlib.Path("deploy/kubernetes")
RULES = pathlib.Path("deploy/prometheus/rules")
DASHBOARDS = pathlib.Path("grafana/dashboards")
GOLDEN = pathlib.Path("tests/fixtures/charts")
# kustomize takes nothing from outside of its own directories, hence a copy.
RULES_COPY = MANIFESTS / "components/prometheus-operator/prometheusrule.yaml"
DIRECTORY = "/etc/btcpool-exporter"
OVERLAYS = ["demo", "production", "prometheus-operator", "shards"]
# The oldest one that the chart takes, the oldest one that takes shards, and the newest one that the schemas know.
KUBERNETES = ["1.25", "1.28", "1.37"]

work = pathlib.Path(sys.argv[1])
rendered_directory = work / "rendered"
update = os.environ.get("UPDATE") == "1"
failures = []


def fail(message):
    failures.append(message)
    print(f"FAILED: {message}", file=sys.stderr)


def run(*command, **options):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)


def must(*command, **options):
    result = run(*command, **options)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit code {result.returncode}\n{result.stdout}{result.stderr}")
    return result.stdout


def helm(*arguments):
    # Helm would look for a cluster, and for plugins, in the home directory.
    environment = {"PATH": os.environ["PATH"], "HOME": str(work / "home"), "KUBECONFIG": "/dev/null"}
    return run("helm", *arguments, env=environment)


def objects(text):
    # libyaml's: the dashboards are long.
    return [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]


@functools.cache
def rendered():
    """What every variant and overlay consists of, by name: helm-NAME, kustomize-NAME."""
    return {file.stem: objects(file.read_text()) for file in sorted(rendered_directory.glob("*.yaml"))}


def of_kind(documents, *kinds):
    return [document for document in documents if document["kind"] in kinds]


def workloads():
    for name, documents in rendered().items():
        for workload in of_kind(documents, "Deployment", "StatefulSet"):
            yield name, documents, workload


def label(document):
    return f"{document['kind']} {document['metadata']['name']}"


def rule_groups():
    return [group for file in sorted(RULES.glob("*.yml")) for group in yaml.safe_load(file.read_text())["groups"]]


def with_thresholds(groups, thresholds):
    groups = copy.deepcopy(groups)
    for group in groups:
        for rule in group["rules"]:
            name = rule.get("record", "").removeprefix("btcpool:threshold:")
            if name in thresholds:
                rule["expr"] = f"vector({thresholds[name]})"
    return groups


def difference(expected, seen, name):
    lines = difflib.unified_diff(expected.splitlines(), seen.splitlines(), f"{name}, expected", f"{name}, seen", "", "", 3, "")
    return "\n".join(list(lines)[:60])


class Dumper(yaml.CSafeDumper):
    """Writes texts of several lines as such."""


Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def dump(documents):
    return yaml.dump_all(documents, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)


# --- rendered ---------------------------------------------------------------------------------------------------------


def check_rendered():
    shutil.rmtree(rendered_directory, ignore_errors=True)
    rendered_directory.mkdir(parents=True)
    package_directory = work / "package"
    shutil.rmtree(package_directory, ignore_errors=True)
    packed = helm("package", CHART, "--destination", package_directory)
    if packed.returncode != 0:
        sys.exit(f"helm package: {packed.stderr}")
    [package] = package_directory.glob("*.tgz")

    cases = sorted((CHART / "ci").glob("*-values.yaml"))
    if len(cases) < 6:
        fail(f"only {len(cases)} cases in {CHART}/ci")
    for values in cases:
        name = values.name.removesuffix("-values.yaml")
        lint = helm("lint", "--strict", CHART, "--values", values)
        if lint.returncode != 0:
            fail(f"helm lint --strict, {name}: {lint.stdout}{lint.stderr}")
        common = ["--namespace", "btcpool", "--values", values]
        result = helm("template", "btcpool", CHART, *common)
        if result.returncode != 0:
            fail(f"helm template, {name}: {result.stderr}")
            continue
        (rendered_directory / f"helm-{name}.yaml").write_text(result.stdout)
        # Nobody who installs the packed chart has this repository, into which links point.
        unpacked = helm("template", "btcpool", package, *common).stdout
        if unpacked != result.stdout:
            fail(f"the packed chart renders something else, {name}:\n{difference(result.stdout, unpacked, name)}")

    with tarfile.open(package) as archive:
        links = [member.name for member in archive if not member.isfile()]
        if links:
            fail(f"the packed chart has what is no file: {links}")
        names = {member.name.removeprefix("btcpool-exporter/") for member in archive}
    wanted = {f"rules/{file.name}" for file in RULES.glob("*.yml")}
    wanted |= {f"dashboards/{file.relative_to(DASHBOARDS)}" for file in DASHBOARDS.glob("*/*.json")}
    if wanted - names:
        fail(f"the packed chart lacks {sorted(wanted - names)}")
    print(f"packed: {package.stat().st_size // 1024} KiB, {len(names)} files")

    # kustomize's copy, from the chart.
    text = helm("template", "btcpool-exporter", CHART, "--set", "prometheusRule.enabled=true").stdout
    [rule] = of_kind(objects(text), "PrometheusRule")
    rule["metadata"] = {"name": "btcpool-exporter"}
    head = "# The rules of deploy/prometheus/rules, written by: UPDATE=1 tests/deploy/run charts\n"
    golden(RULES_COPY, head + dump([rule]))

    # The manifests as someone has them who followed the documentation: with a key in place.
    copied = work / "kubernetes"
    shutil.rmtree(copied, ignore_errors=True)
    shutil.copytree(MANIFESTS, copied)
    (copied / "overlays/production/keys/farm_a").write_text("no-real-key\n")
    if sorted(path.name for path in (MANIFESTS / "overlays").iterdir()) != OVERLAYS:
        fail(f"{MANIFESTS}/overlays are not {OVERLAYS}")
    for overlay in OVERLAYS:
        text = must("kubectl", "kustomize", copied / "overlays" / overlay)
        (rendered_directory / f"kustomize-{overlay}.yaml").write_text(text)
    print(f"rendered: {', '.join(rendered())}")


# --- refused ----------------------------------------------------------------------------------------------------------

REFUSED = [
    ({"shrads": 3}, "at '': additional properties 'shrads' not allowed"),
    ({"image": {"tga": "1"}}, "at '/image': additional properties 'tga' not allowed"),
    ({"image": {"digest": "0123"}}, "at '/image/digest': '0123' does not match pattern"),
    ({"shards": "three"}, "at '/shards': got string, want integer"),
    ({"shards": 0}, "at '/shards': minimum: got 0, want 1"),
    ({"demo": "yes"}, "at '/demo': got string, want boolean"),
    ({"extraArgs": "--web.max-requests=1"}, "at '/extraArgs': got string, want array"),
    ({"extraArgs": ["once"]}, "at '/extraArgs/0': 'once' does not match pattern"),
    ({"log": {"level": "loud"}}, "at '/log/level': value must be one of 'debug', 'info', 'warn', 'error'"),
    ({"scrape": {"job": "pool"}}, "at '/scrape/job': 'pool' does not match pattern '^btcpool'"),
    ({"dashboards": {"language": "kk"}}, "at '/dashboards/language': value must be one of 'en', 'ru', 'both'"),
    ({"networkPolicy": {"dnsPorts": [0]}}, "at '/networkPolicy/dnsPorts/0': minimum: got 0, want 1"),
    ({"vmPodScrape": {"maxScrapeSize": "64 MB"}}, "at '/vmPodScrape/maxScrapeSize': '64 MB' does not match pattern"),
    ({"web": {"probes": "none"}}, "at '/web/probes': value must be one of 'exec', 'https', 'http'"),
    ({"config": {"web": {"max_requests": 1}}}, "at '/config': additional properties 'web' not allowed"),
    ({"config": {"api": {"timeuot": "1s"}}}, "at '/config/api': additional properties 'timeuot' not allowed"),
    (
        {"config": {"accounts": {"a": {"api_keyfile": "/x"}}}},
        "at '/config/accounts/a': additional properties 'api_keyfile' not allowed",
    ),
    ({"config": {"accounts": {"a": None}}}, "at '/config/accounts/a': got null, want object"),
    (
        {"config": {"accounts": {"a": {"api_key_file": "/x", "currencies": ["DOGE"]}}}},
        "at '/config/accounts/a/currencies/0': value must be one of 'BTC', 'BCH', 'LTC'",
    ),
    (
        {"config": {"accounts": {"a": {"api_key": "sesame-open"}}}},
        "config.accounts.a.api_key: the configuration becomes a ConfigMap, which is no place for a key. Put the key into a "
        "Secret, name that in keys.existingSecret, and set api_key_file: /etc/btcpool-exporter/keys/<its entry> here",
    ),
    (
        {"config": {"accounts": {"a": {"api_key_file": f"{DIRECTORY}/keys/a"}}}},
        "config.accounts.a.api_key_file: nothing is mounted at /etc/btcpool-exporter/keys/; set keys.existingSecret",
    ),
    (
        {
            "config": {"accounts": {"a": {"api_key_file": f"{DIRECTORY}/keys/a"}}},
            "keys": {"values": {"b": "sesame-open"}},
        },
        "config.accounts.a.api_key_file: keys.values has no a",
    ),
    (
        {"keys": {"existingSecret": "s", "values": {"b": "sesame-open"}}},
        "keys: give existingSecret or values, not both",
    ),
    (
        {"demo": True, "config": {"accounts": {"a": {}}}},
        "demo: the demo brings its own configuration; leave config empty",
    ),
    ({"demo": True, "shards": 2}, "demo: the demo is one process; leave shards at 1"),
    ({"ca": {"configMap": "a", "secret": "b"}}, "ca: give configMap or secret, not both"),
    (
        {"web": {"certificateSecret": "c"}},
        "web.certificateSecret: of no use without web.existingSecret, whose file names the certificate",
    ),
    (
        {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}},
        "serviceMonitor, podMonitor, vmPodScrape: turn on one of them; each would have the exporter scraped once more",
    ),
    (
        {"prometheusRule": {"enabled": True, "thresholds": {"worker_silent": 1}}},
        "prometheusRule.thresholds.worker_silent: there is no such threshold; there are worker_silent_seconds, ",
    ),
]


def check_refused():
    def refused(values, message, *flags, chart=CHART):
        file = work / "refused.yaml"
        file.write_text(yaml.safe_dump(values))
        result = helm("template", "btcpool", chart, "--values", file, *flags)
        if result.returncode == 0:
            fail(f"not refused: {values}")
        elif message not in result.stderr:
            fail(f"{values}: expected {message!r}, seen\n{result.stderr}")
        if "sesame-open" in result.stdout + result.stderr:
            fail(f"{values}: the key is shown:\n{result.stdout}{result.stderr}")

    for values, message in REFUSED:
        refused(values, message)
    # A checkout without links, in which the chart would make nothing and say nothing.
    unlinked = work / "unlinked"
    shutil.rmtree(unlinked, ignore_errors=True)
    shutil.copytree(CHART, unlinked, ignore=shutil.ignore_patterns("dashboards", "rules"))
    refused({"dashboards": {"enabled": True}}, "dashboards: this copy of the chart has none", chart=unlinked)
    refused({"prometheusRule": {"enabled": True}}, "prometheusRule: this copy of the chart has no rules", chart=unlinked)
    refused({"shards": 2}, "shards: Kubernetes v1.27 does not number the pods of a StatefulSet", "--kube-version", "1.27")
    refused({}, "chart requires kubeVersion: >=1.25.0-0 which is incompatible", "--kube-version", "1.24")
    for flags in (["--kube-version", "1.25"], ["--kube-version", "1.28", "--set", "shards=2"]):
        if helm("template", "btcpool", CHART, *flags).returncode != 0:
            fail(f"refused: {flags}")
    print(f"refused: {len(REFUSED) + 4}")


# --- valid ------------------------------------------------------------------------------------------------------------


def strict(shape, value, path):
    """What of a value is not in a shape: a mapping of the keys that there may be, [shape] for a list, None for anything."""
    if shape is None:
        return []
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [f"{path}: not a list"]
        return [found for index, item in enumerate(value) for found in strict(shape[0], item, f"{path}[{index}]")]
    if not isinstance(value, dict):
        return [f"{path}: not a mapping"]
    found = [f"{path}.{key}: unknown" for key in value if key not in shape]
    return found + [problem for key in value if key in shape for problem in strict(shape[key], value[key], f"{path}.{key}")]


# VictoriaMetrics' operator, of which there is no model to validate against: the part of its API reference that is used.
RELABELING = dict.fromkeys(["action", "regex", "replacement", "separator", "sourceLabels", "targetLabel", "modulus"])
VM_POD_SCRAPE = {
    "namespaceSelector": {"any": None, "matchNames": None},
    "selector": {"matchLabels": None, "matchExpressions": None},
    "podMetricsEndpoints": [
        {
            **dict.fromkeys(["port", "path", "interval", "scrapeTimeout", "scheme", "honorLabels", "tlsConfig", "basicAuth"]),
            "max_scrape_size": None,
            "relabelConfigs": [RELABELING],
            "metricRelabelConfigs": [RELABELING],
        }
    ],
}


def lost(document, model, path=""):
    """The paths of a document that a model of it does not know."""
    if isinstance(document, dict):
        model = model if isinstance(model, dict) else {}
        return [
            where
            for key, value in document.items()
            for where in ([f"{path}.{key}"] if key not in model else lost(value, model[key], f"{path}.{key}"))
        ]
    if isinstance(document, list):
        model = model if isinstance(model, list) else []
        pairs = zip(document, model + [None] * (len(document) - len(model)))
        return [where for index, (item, of) in enumerate(pairs) for where in lost(item, of, f"{path}[{index}]")]
    return []


def check_valid():
    import kubernetes_validate
    from cloudcoil.models.prometheus_operator import v1 as operator

    # Its schemas are large, and would be read for each object anew.
    kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)
    counts = dict.fromkeys(["kubernetes", "operator", "VictoriaMetrics"], 0)
    for name, documents in rendered().items():
        for document in documents:
            where = f"{name}, {label(document)}"
            group = document["apiVersion"].rpartition("/")[0]
            if group == "monitoring.coreos.com":
                counts["operator"] += 1
                try:
                    model = getattr(operator, document["kind"]).model_validate(document)
                except Exception as error:
                    fail(f"{where}: {error}")
                    continue
                for path in lost(document, model.model_dump(by_alias=True, exclude_unset=True, mode="json")):
                    fail(f"{where}: unknown: {path}")
            elif group == "operator.victoriametrics.com":
                counts["VictoriaMetrics"] += 1
                if document["apiVersion"] != "operator.victoriametrics.com/v1beta1" or document["kind"] != "VMPodScrape":
                    fail(f"{where}: unknown kind")
                for problem in strict(VM_POD_SCRAPE, document["spec"], "spec"):
                    fail(f"{where}: {problem}")
            else:
                for version in KUBERNETES:
                    if version == "1.25" and "shards" in name:
                        continue
                    counts["kubernetes"] += 1
                    try:
                        kubernetes_validate.validate(document, version, strict=True)
                    except kubernetes_validate.ValidationError as error:
                        fail(f"{where}, Kubernetes {version}: {'.'.join(map(str, error.path))}: {error.message}")
                    except kubernetes_validate.SchemaNotFoundError as error:
                        fail(f"{where}, Kubernetes {version}: {error.message}")
        # Two of one name: the later one would silently replace the earlier one.
        identities = [(d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"]) for d in documents]
        if len(set(identities)) != len(identities):
            fail(f"{name}: an object is there twice: {identities}")
        for document in documents:
            if "namespace" not in document["metadata"] and document["kind"] != "Namespace":
                fail(f"{name}, {label(document)}: no namespace")
        selectors(name, documents)
    if not all(counts.values()):
        fail(f"nothing of a kind was validated: {counts}")
    print(f"validated: {counts}")


def selectors(name, documents):
    """Whatever selects pods selects those of this release; whatever names an object names one that is there or external."""

    def matches(selector, labels):
        return selector.items() <= labels.items()

    for workload in of_kind(documents, "Deployment", "StatefulSet"):
        labels = workload["spec"]["template"]["metadata"]["labels"]
        selecting = [("itself", workload["spec"]["selector"]["matchLabels"])]
        for document in documents:
            spec = document.get("spec", {})
            match document["kind"]:
                case "Service":
                    selecting.append((label(document), spec["selector"]))
                case "PodMonitor" | "VMPodScrape" | "PodDisruptionBudget":
                    selecting.append((label(document), spec["selector"]["matchLabels"]))
                case "NetworkPolicy":
                    selecting.append((label(document), spec["podSelector"]["matchLabels"]))
                case "ServiceMonitor":
                    [service] = of_kind(documents, "Service")
                    if not matches(spec["selector"]["matchLabels"], service["metadata"]["labels"]):
                        fail(f"{name}: the ServiceMonitor does not select the Service")
                    namespaces = spec.get("namespaceSelector", {}).get("matchNames", [document["metadata"]["namespace"]])
                    if namespaces != [service["metadata"]["namespace"]]:
                        fail(f"{name}: the ServiceMonitor looks in {namespaces}")
        for who, selector in selecting:
            if not selector or not matches(selector, labels):
                fail(f"{name}: {who} does not select the pods")
        if workload["kind"] == "StatefulSet":
            [service] = of_kind(documents, "Service")
            if workload["spec"]["serviceName"] != service["metadata"]["name"] or service["spec"]["clusterIP"] != "None":
                fail(f"{name}: the StatefulSet's service is not the headless one")
            budget = of_kind(documents, "PodDisruptionBudget")
            if len(budget) != 1:
                fail(f"{name}: {len(budget)} disruption budgets for shards")
        elif of_kind(documents, "PodDisruptionBudget"):
            fail(f"{name}: a disruption budget for a single pod")
        for volume in workload["spec"]["template"]["spec"].get("volumes", []):
            if "configMap" in volume and volume["name"] == "config":
                there = [document["metadata"]["name"] for document in of_kind(documents, "ConfigMap")]
                if volume["configMap"]["name"] not in there:
                    fail(f"{name}: no ConfigMap {volume['configMap']['name']}")


# --- pods -------------------------------------------------------------------------------------------------------------


def restricted(pod):
    """What a pod's specification lacks of the Pod Security Standard "restricted", and of what is wanted beyond it."""
    problems = []

    def want(condition, problem):
        if not condition:
            problems.append(problem)

    security = pod.get("securityContext", {})
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        want(not pod.get(key), key)
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    for volume in pod.get("volumes", []):
        want(set(volume) - {"name"} <= allowed, f"volume {volume}")
    want(not security.get("sysctls"), "sysctls")
    for container in pod["containers"] + pod.get("initContainers", []) + pod.get("ephemeralContainers", []):
        own = container.get("securityContext", {})

        def effective(key):
            return own.get(key, security.get(key))

        want(not own.get("privileged"), "privileged")
        want(own.get("allowPrivilegeEscalation") is False, "allowPrivilegeEscalation")
        want(effective("runAsNonRoot") is True, "runAsNonRoot")
        want(effective("runAsUser") != 0, "runAsUser")
        want((effective("seccompProfile") or {}).get("type") == "RuntimeDefault", "seccompProfile")
        want((effective("appArmorProfile") or {}).get("type", "RuntimeDefault") != "Unconfined", "appArmorProfile")
        want(not effective("seLinuxOptions"), "seLinuxOptions")
        want(not effective("windowsOptions"), "windowsOptions")
        want(own.get("procMount", "Default") == "Default", "procMount")
        capabilities = own.get("capabilities", {})
        want(capabilities.get("drop") == ["ALL"], "capabilities.drop")
        want(not capabilities.get("add"), "capabilities.add")
        want(own.get("readOnlyRootFilesystem") is True, "readOnlyRootFilesystem")
        want(all("hostPort" not in port for port in container.get("ports", [])), "hostPort")
        for probe in ("livenessProbe", "readinessProbe"):
            want(probe in container, probe)
        want("limits" in container.get("resources", {}), "resources.limits")
        want(container.get("env") != [], "an empty env")
    want(pod.get("automountServiceAccountToken") is False, "automountServiceAccountToken")
    want(pod.get("enableServiceLinks") is False, "enableServiceLinks")
    # More than the 10 s in which the exporter ends.
    want(10 < pod.get("terminationGracePeriodSeconds", 30) <= 30, "terminationGracePeriodSeconds")
    for volume in pod.get("volumes", []):
        if "secret" in volume:
            want(volume["secret"].get("defaultMode") == 0o440, f"defaultMode of {volume['name']}")
    return problems


def check_pods():
    count = 0
    for name, _, workload in workloads():
        count += 1
        pod = workload["spec"]["template"]["spec"]
        for problem in restricted(pod):
            fail(f"{name}, {label(workload)}: {problem}")
        security = pod["securityContext"]
        if name != "helm-openshift" and [security.get(key) for key in ("runAsUser", "runAsGroup", "fsGroup")] != [65532] * 3:
            fail(f"{name}: not the image's user: {security}")
        if workload["kind"] == "StatefulSet":
            replicas = workload["spec"]["replicas"]
            environment = {item["name"]: item for item in pod["containers"][0]["env"]}
            if environment["BTCPOOL__SHARD__COUNT"].get("value") != str(replicas):
                fail(f"{name}: {replicas} pods, but BTCPOOL__SHARD__COUNT is {environment['BTCPOOL__SHARD__COUNT']}")
            source = environment["BTCPOOL__SHARD__INDEX"]["valueFrom"]["fieldRef"]["fieldPath"]
            if source != "metadata.labels['apps.kubernetes.io/pod-index']" or workload["spec"].get("ordinals"):
                fail(f"{name}: the shard's index comes from {source}")
        elif workload["spec"]["replicas"] != 1 or workload["spec"]["strategy"] != {"type": "Recreate"}:
            fail(f"{name}: {workload['spec']['replicas']} replicas, {workload['spec']['strategy']}")
    for name, documents in rendered().items():
        for account in of_kind(documents, "ServiceAccount"):
            if account.get("automountServiceAccountToken") is not False:
                fail(f"{name}, {label(account)}: automountServiceAccountToken")

    # The plain manifests are what the chart makes of the same wishes.
    for overlay, values in (
        ("production", {}),
        ("shards", {"shards": 3}),
    ):
        file = work / "equal.yaml"
        file.write_text(yaml.safe_dump({"keys": {"existingSecret": "btcpool-exporter-keys"}, **values}))
        chart = objects(helm("template", "btcpool-exporter", CHART, "--values", file).stdout)
        theirs, ours = (
            of_kind(documents, "Deployment", "StatefulSet")[0]["spec"] for documents in (chart, rendered()[f"kustomize-{overlay}"])
        )
        ours = copy.deepcopy(ours)
        # The base comes without keys, too.
        for volume in ours["template"]["spec"]["volumes"]:
            if volume["name"] == "keys":
                volume["secret"].pop("optional")
        theirs, ours = (yaml.safe_dump(specification, sort_keys=True) for specification in (theirs, ours))
        if theirs != ours:
            fail(f"{overlay}: not what the chart makes:\n{difference(theirs, ours, overlay)}")
    print(f"pod templates: {count}")


# --- files ------------------------------------------------------------------------------------------------------------


def check_files():
    groups = rule_groups()
    for name, documents in rendered().items():
        for rule in of_kind(documents, "PrometheusRule"):
            values = yaml.safe_load((CHART / "ci" / f"{name.removeprefix('helm-')}-values.yaml").read_text()) if "helm-" in name else {}
            thresholds = values.get("prometheusRule", {}).get("thresholds", {})
            expected = with_thresholds(groups, thresholds)
            if (expected != groups) != bool(thresholds):
                fail(f"{name}: the thresholds {thresholds} change nothing")
            if rule["spec"] != {"groups": expected}:
                fail(f"{name}: not the rules of {RULES}:\n{difference(dump([expected]), dump([rule['spec']['groups']]), name)}")
            file = work / f"rules-{name}.yml"
            file.write_text(dump([rule["spec"]]))
            print(must("promtool", "check", "rules", file).strip().splitlines()[-1].strip())
        languages = {}
        for dashboard in of_kind(documents, "ConfigMap"):
            if "grafana_dashboard" not in dashboard["metadata"]["labels"]:
                continue
            [(key, text)] = dashboard["data"].items()
            dashboard_name, language = re.fullmatch(r"btcpool-(\w+)-(\w+)\.json", key).groups()
            languages.setdefault(language, set()).add(dashboard_name)
            file = DASHBOARDS / language / f"{dashboard_name}.json"
            if text.strip() != file.read_text().strip():
                fail(f"{name}: {key} is not {file}")
        for language, names in languages.items():
            if names != {file.stem for file in (DASHBOARDS / language).glob("*.json")}:
                fail(f"{name}: the dashboards in {language} are {names}")
        if languages:
            print(f"{name}: dashboards in {', '.join(languages)}")


def golden(file, text):
    before = file.read_text() if file.exists() else ""
    if before == text:
        return
    if update:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        print(f"written: {file}")
    else:
        fail(f"{file} is not what is rendered now; UPDATE=1 writes it:\n{difference(before, text, file)}")


# --- vmalert ----------------------------------------------------------------------------------------------------------


def check_vmalert():
    """The rules as docs/alerts.md has them for vmalert, with the command that it shows for old versions."""
    section = pathlib.Path("docs/alerts.md").read_text().partition("### vmalert\n")[2].partition("\n## ")[0]
    [newest] = re.findall(r"^vmalert 1\.(\d+) or newer", section, re.MULTILINE)
    [command] = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    directory = work / "vmalert"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    (directory / "deploy").symlink_to(pathlib.Path("deploy").resolve())
    must("sh", "-euc", command, cwd=directory)
    [without] = directory.glob("*.yml")
    for file in RULES.glob("*.yml"):
        if file.name != "alerts.yml":
            shutil.copy(file, directory)

    # The command may take away that field, and nothing else.
    def fields(file):
        return [rule for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]

    expected = fields(RULES / "alerts.yml")
    for rule in expected:
        rule.pop("keep_firing_for", None)
    if fields(without) != expected:
        fail(f"{command.strip()}: more or less than keep_firing_for is gone")

    def taken(rules):
        return run("vmalert", "-dryRun", f"-rule={rules}/*.yml")

    stripped = taken(directory)
    if stripped.returncode != 0:
        fail(f"vmalert refuses the rules without keep_firing_for: {stripped.stderr}")
    version = must("dpkg-query", "--show", "--showformat=${Version}", "victoria-metrics")
    whole = taken(RULES)
    if int(version.split(".")[1]) >= int(newest):
        if whole.returncode != 0:
            fail(f"vmalert {version} refuses the rules: {whole.stderr}")
    elif "unknown fields in rule: keep_firing_for" not in whole.stderr:
        fail(f"vmalert {version} does not say what docs/alerts.md says: {whole.stderr}")
    print(f"vmalert {version}: {len(expected)} rules")


# --- configuration ----------------------------------------------------------------------------------------------------


def exporter(*arguments, **options):
    environment = {"PATH": os.environ["PATH"], **options.pop("env", {})}
    return run(os.environ["BTCPOOL_EXPORTER_BIN"], *arguments, env=environment, **options)


def inside(root, arguments):
    return [argument.replace(DIRECTORY, str(root)) for argument in arguments]


def check_configuration():
    """Each pod's own arguments, environment and configuration, read by the exporter as it would read them in the pod."""
    for name, documents, workload in workloads():
        container = workload["spec"]["template"]["spec"]["containers"][0]
        root = work / "pod" / name
        shutil.rmtree(root, ignore_errors=True)
        for directory in ("keys", "web", "certificate"):
            (root / directory).mkdir(parents=True)
        (root / "web/web.yml").write_text("http_server_config: { headers: { X-Frame-Options: deny } }\n")
        # Whether every flag is one: the help is printed after those before it were understood.
        for arguments in [container["args"]] + [
            container[probe]["exec"]["command"][1:] for probe in ("livenessProbe", "readinessProbe") if "exec" in container[probe]
        ]:
            result = exporter(*arguments, "--help")
            if result.returncode != 0:
                fail(f"{name}: {arguments}: {result.stderr}")
        if container["args"][0] == "demo":
            continue
        mounted = next(v for v in workload["spec"]["template"]["spec"]["volumes"] if v["name"] == "config")["configMap"]["name"]
        [config] = [d for d in of_kind(documents, "ConfigMap") if d["metadata"]["name"] == mounted]
        text = config["data"]["btcpool.yml"]
        accounts = (yaml.safe_load(text) or {}).get("accounts") or {}
        for index, account in enumerate(accounts.values()):
            key = root / pathlib.Path(account["api_key_file"]).relative_to(DIRECTORY)
            key.write_text(f"no-real-key-{index}\n")
            key.chmod(0o600)
        (root / "btcpool.yml").write_text(text.replace(DIRECTORY, str(root)))
        polled = []
        shards = workload["spec"]["replicas"] if workload["kind"] == "StatefulSet" else 1
        for index in range(shards):
            environment = {
                item["name"]: item.get("value", str(index)) for item in container.get("env", []) if item["name"].startswith("BTCPOOL")
            }
            result = exporter("check", *inside(root, container["args"]), env=environment)
            if result.returncode != 0 or result.stderr:
                fail(f"{name}: the exporter does not take it: {result.stdout}{result.stderr}")
            polled += re.findall(r"^  (\S.*): (?:BTC|BCH|LTC)", result.stdout, re.MULTILINE)
        if shards > 1 and sorted(polled) != sorted(accounts):
            fail(f"{name}: {shards} shards poll {polled}, not {list(accounts)}")
        if shards == 1 and sorted(polled) != sorted(accounts):
            fail(f"{name}: polled are {polled}, not {list(accounts)}")
        print(f"{name}: {len(accounts)} accounts, {shards} shards")

    # The schema knows the keys that the exporter knows: no less, no more.
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]["config"]["properties"]
    defaults = yaml.safe_load(pathlib.Path("src/config/defaults.yml").read_text())

    def keys(name, ours, theirs):
        if set(ours) != set(theirs):
            fail(f"values.schema.json, {name}: {sorted(ours)}; the exporter has {sorted(theirs)}")

    keys("config", schema, set(defaults) - {"shard", "web", "log"})
    keys("config.api", schema["api"]["properties"], defaults["api"])
    keys("config.polling", schema["polling"]["properties"], defaults["polling"])
    keys("config.polling.live", schema["polling"]["properties"]["live"]["properties"], defaults["polling"]["live"])
    keys("config.coins", schema["coins"]["properties"], defaults["coins"])
    keys("config.coins.BTC", schema["coins"]["properties"]["BTC"]["properties"], defaults["coins"]["BTC"])
    account = schema["accounts"]["additionalProperties"]["properties"]
    file = work / "unknown.yml"
    for name, ours, text in (
        ("an account", account, "accounts: { a: { nothing: 1 } }"),
        ("workers", account["workers"]["properties"], "accounts: { a: { api_key: k, workers: { nothing: 1 } } }"),
    ):
        file.write_text(text)
        known = exporter("check", "--config.file", file).stderr.strip().rpartition("Known here: ")[2].split(", ")
        keys(name, ours, known)


# --- probes -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(*arguments):
    """The demo on a port of its own, time standing still."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = work / "probes.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [os.environ["BTCPOOL_EXPORTER_BIN"], "demo", "--speed", "0", f"--web.listen-address=127.0.0.1:{port}", *arguments],
            stdout=output,
            stderr=output,
            env={"PATH": os.environ["PATH"]},
        )
    try:
        yield port
    finally:
        process.terminate()
        process.wait(timeout=15)


def status(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def eventually(expected, look):
    deadline = time.monotonic() + 20
    while (seen := look()) != expected:
        if time.monotonic() > deadline:
            fail(f"expected {expected}, seen {seen}: {(work / 'probes.log').read_text()}")
            return
        time.sleep(0.1)


def check_probes():
    """The probes as they are rendered, asked of a running exporter."""

    def probes(name):
        [container] = [w["spec"]["template"]["spec"]["containers"][0] for n, _, w in workloads() if n == name]
        return [container["livenessProbe"], container["readinessProbe"]]

    with serving() as port:
        for probe in probes("helm-demo"):
            eventually(200, lambda: status(f"http://127.0.0.1:{port}{probe['httpGet']['path']}"))

    # With users the kubelet would be sent away by the exporter; the program in the pod is not.
    root = work / "pod" / "probes"
    (root / "web").mkdir(parents=True, exist_ok=True)
    users = "basic_auth_users: { prometheus: $2y$04$VIdwmJDe.lDaFmsNXI.p9OvGFHVqDN09zWQ/hflFJFMCoJBO0xzvW }\n"
    (root / "web/web.yml").write_text(users)
    with serving(f"--web.config.file={root}/web/web.yml") as port:
        for path in ("/-/healthy", "/-/ready"):
            eventually(401, lambda: status(f"http://127.0.0.1:{port}{path}"))
        for probe in probes("helm-secure"):
            command = [part.replace(":10058", f"127.0.0.1:{port}") for part in inside(root, probe["exec"]["command"])]
            if command[0] != "/usr/bin/btcpool-exporter":
                fail(f"the probe runs {command[0]}")
            eventually(0, lambda: exporter(*command[1:]).returncode)
    for probe in probes("helm-secure"):
        # And it does see that nobody is there.
        command = [part.replace(":10058", f"127.0.0.1:{port}") for part in inside(root, probe["exec"]["command"])]
        eventually(1, lambda: exporter(*command[1:]).returncode)
    if [probe["httpGet"].get("scheme") for probe in probes("helm-openshift")] != ["HTTPS", "HTTPS"]:
        fail(f"helm-openshift: {probes('helm-openshift')}")


# --- documents --------------------------------------------------------------------------------------------------------

# Taken as they are: what is below belongs to Kubernetes.
WHOLE = {"resources", "podSecurityContext", "securityContext"}


def leaves(values, path=""):
    for key, value in values.items():
        name = f"{path}{key}"
        if isinstance(value, dict) and value and name not in WHOLE:
            yield from leaves(value, f"{name}.")
        else:
            yield name, value


def check_documents():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())

    def described(values, schema, path):
        if schema.get("additionalProperties", True) is not False or path == "config.":
            return
        names = set(schema["properties"]) - ({"global"} if not path else set())
        # A pod's claims have no default.
        if set(values) - names or names - set(values) - {"claims"}:
            fail(f"values.yaml has {sorted(values)}, values.schema.json {sorted(names)} at {path or 'the top'}")
        for key, value in values.items():
            if isinstance(value, dict) and key in names:
                described(value, schema["properties"][key], f"{path}{key}.")

    described(values, schema, "")

    rows = {}
    for line in (CHART / "README.md").read_text().splitlines():
        if match := re.fullmatch(r"\| `([\w.]+)` \| (?:`(.*)`|) \| (.+) \|", line):
            rows[match[1]] = match[2] or ""
    expected = {name: "" if value in ("", [], {}) else json.dumps(value, ensure_ascii=False) for name, value in leaves(values)}
    expected = {name: text[1:-1] if text.startswith('"') else text for name, text in expected.items()}
    if list(rows.items()) != list(expected.items()):
        show = lambda table: "\n".join(f"{name} {text}" for name, text in table.items())
        fail(f"README.md's table is not values.yaml:\n{difference(show(expected), show(rows), 'README.md')}")

    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    cargo = re.search(r'^version = "(.+)"$', pathlib.Path("Cargo.toml").read_text(), re.MULTILINE)[1]
    if [chart["appVersion"], chart["version"]] != [cargo, cargo]:
        fail(f"Chart.yaml: {chart['version']}, {chart['appVersion']}; Cargo.toml: {cargo}")
    for name, _, workload in workloads():
        image = workload["spec"]["template"]["spec"]["containers"][0]["image"]
        if "@" not in image and image != f"ghcr.io/btcpool-exporter/btcpool-exporter:{cargo}":
            fail(f"{name}: the image is {image}")

    # Every set of values that a document shows is one that the chart takes.
    examples = 0
    for document in (pathlib.Path("docs/kubernetes.md"), CHART / "README.md"):
        for example in re.findall(r"<!-- values -->\n+```yaml\n(.*?)```", document.read_text(), re.DOTALL):
            examples += 1
            file = work / "example.yaml"
            file.write_text(example)
            result = helm("template", "btcpool", CHART, "--values", file)
            if result.returncode != 0:
                fail(f"{document}: {example}{result.stderr}")
    print(f"values: {len(expected)}, examples: {examples}")
    if examples < 3:
        fail("where are the documents' examples?")


# --- golden -----------------------------------------------------------------------------------------------------------


def check_golden():
    """Whole outputs, with a name in place of the rules and dashboards, which `files` compares."""
    names = set()
    for name, documents in rendered().items():
        documents = copy.deepcopy(documents)
        for document in documents:
            if document["kind"] == "PrometheusRule":
                document["spec"]["groups"] = f"<{RULES}>"
            elif "grafana_dashboard" in document["metadata"].get("labels", {}):
                document["data"] = {key: f"<{DASHBOARDS}>" for key in document["data"]}
        file = GOLDEN / f"{name}.yaml"
        names.add(file.name)
        golden(file, dump(documents))
    for file in GOLDEN.glob("*.yaml"):
        if file.name not in names:
            fail(f"{file}: nothing of that name is rendered")


work.mkdir(parents=True, exist_ok=True)
{
    "rendered": check_rendered,
    "refused": check_refused,
    "valid": check_valid,
    "pods": check_pods,
    "files": check_files,
    "vmalert": check_vmalert,
    "configuration": check_configuration,
    "probes": check_probes,
    "documents": check_documents,
    "golden": check_golden,
}[sys.argv[2]]()
sys.exit(1 if failures else 0)
