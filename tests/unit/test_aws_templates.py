"""The templates below ``aws/``: what can be said of them without making a stack.

What moto drops (``aws/README.md``) is looked at here, in what the templates come to; and what they
come to is held against the API's own models, as botocore has them.
"""

import dataclasses
import functools
import itertools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.session  # type: ignore[import-untyped]
import pytest
import yaml  # type: ignore[import-untyped]
from botocore.validate import ParamValidator  # type: ignore[import-untyped]
from click import Command

from regenerator.cli import commands as regenerator
from registrar.cli import commands as registrar
from registrar.settings import RegistrarSettings
from tests.cloudformation import (
    ACCOUNT,
    AWS,
    REGION,
    TEMPLATES,
    Stack,
    cluster_stack,
    frontend_stack,
    read_template,
    service_stack,
    user_data,
    written_files,
)

ROOT = Path(__file__).parents[2]
PAGE = AWS.parent / "docs" / "ecs.md"

OF_THE_CLI = {
    ("cloudformation", "deploy"),
    ("ecr", "get-login-password"),
    ("logs", "tail"),
    ("s3", "cp"),
}
"""Commands that the CLI adds to those of the services."""
BASH = "/bin/bash"
CFN_LINT = str(Path(sys.executable).parent / "cfn-lint")

BODY_MAX = 51_200
"""Bytes of a template that is not fetched from a bucket (CloudFormation quotas)."""

USER_DATA_MAX = 16 * 1024
"""Bytes of user data, before it is encoded (EC2)."""

SPOT_NOTICE_S = 120
"""From the notice until Spot takes an instance."""

MACHINES = [
    (frontend_stack, "EtcdLaunchTemplate"),
    (frontend_stack, "FrontendLaunchTemplate"),
    (cluster_stack, "LaunchTemplate"),
]


def of_type(stack: Stack, kind: str) -> list[str]:
    found = stack.template["Resources"].items()
    return [name for name, resource in found if resource["Type"] == f"AWS::{kind}"]


# ---- The files -----------------------------------------------------------------------------------


def test_cfn_lint_has_nothing_to_say() -> None:
    done = subprocess.run(
        [CFN_LINT, "--regions", REGION, "--", *(str(AWS / name) for name in TEMPLATES)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_needs_no_bucket_and_no_odd_characters(name: str) -> None:
    text = (AWS / name).read_text()
    assert len(text.encode()) <= BODY_MAX
    # CloudFormation shows others as question marks
    assert text.isascii()


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_parameter_is_described_and_bad_values_are_refused(name: str) -> None:
    for parameter, found in read_template(name)["Parameters"].items():
        assert found["Description"].endswith("."), parameter
        # a branch is whatever git takes, an ip type is whatever AWS sells
        if found["Type"] == "String" and parameter not in {
            "Branch",
            "Service",
            "HealthCommand",
            "EtcdInstanceType",
            "FrontendInstanceType",
        }:
            assert "AllowedPattern" in found or "AllowedValues" in found, parameter
        if "AllowedPattern" in found and "Default" in found:
            assert re.fullmatch(found["AllowedPattern"], found["Default"]), parameter


@pytest.mark.parametrize(
    ("name", "parameter", "value", "fits"),
    [
        ("frontend.yaml", "Domain", "dev.example.com", True),
        ("frontend.yaml", "Domain", "*.dev.example.com", False),
        ("frontend.yaml", "Domain", "Dev.example.com", False),
        ("frontend.yaml", "LoadBalancerCidrs", "10.0.0.0/24,10.0.1.0/24", True),
        ("frontend.yaml", "LoadBalancerCidrs", "10.0.0.0/24, 10.0.1.0/24", False),
        ("frontend.yaml", "CertificateSecret", "branchfront/etcd-certificate", False),
        (
            "frontend.yaml",
            "FrontendImage",
            f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/a/b@sha256:0f",
            True,
        ),
        ("frontend.yaml", "FrontendImage", "image; reboot", False),
        ("frontend.yaml", "CaParameter", "/a'b", False),
        ("service.yaml", "ServiceName", "feature-login_web-528e1f", True),
        ("service.yaml", "ServiceName", "feature/login", False),
        ("service.yaml", "ServiceName", "x" * 256, False),
        ("service.yaml", "HealthPath", "/healthz?deep=1", True),
        ("service.yaml", "HealthPath", "healthz", False),
    ],
)
def test_what_a_parameter_takes(name: str, parameter: str, value: str, fits: bool) -> None:
    pattern = read_template(name)["Parameters"][parameter]["AllowedPattern"]
    assert bool(re.fullmatch(pattern, value)) == fits


def test_descriptions_of_security_groups_are_ones_that_ec2_takes() -> None:
    for stack in (frontend_stack(), cluster_stack(), service_stack(RunsOn="fargate")):
        texts = [
            stack.properties(name)["GroupDescription"]
            for name in of_type(stack, "EC2::SecurityGroup")
        ]
        for name in of_type(stack, "EC2::SecurityGroup"):
            texts += [
                rule["Description"]
                for rule in stack.properties(name).get("SecurityGroupIngress", [])
            ]
        for name in of_type(stack, "EC2::SecurityGroupIngress"):
            texts.append(stack.properties(name)["Description"])
        for text in texts:
            assert re.fullmatch(r"[a-zA-Z0-9. _:/()#,@\[\]+=&;{}!$*-]{1,255}", text), text


# ---- Rights --------------------------------------------------------------------------------------


def statements(node: yaml.Node) -> Iterator[yaml.MappingNode]:
    """Every mapping with an Effect, wherever it stands."""
    if isinstance(node, yaml.MappingNode):
        if any(key.value == "Effect" for key, _ in node.value):
            yield node
        for _, value in node.value:
            yield from statements(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from statements(value)


def texts(node: yaml.Node) -> Iterator[str]:
    if isinstance(node, yaml.ScalarNode):
        yield node.value
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from itertools.chain(texts(key), texts(value))
    else:
        for value in node.value:
            yield from texts(value)


def wildcards_without_reason(name: str, text: str) -> tuple[list[str], int]:
    """Where a statement says ``*`` and nobody says why; and how many say it at all."""
    lines = text.splitlines()
    given = read_template(name)["Parameters"]
    wide = [f"${{{key}}}" for key, one in given.items() if "*" in str(one.get("Default", ""))]
    silent, seen = [], 0
    for statement in statements(yaml.compose(text)):
        for key, value in statement.value:
            if key.value not in {"Action", "NotAction", "Resource", "NotResource", "Principal"}:
                continue
            for found in texts(value):
                if "*" in found or any(parameter in found for parameter in wide):
                    seen += 1
                    line = key.start_mark.line
                    # whom a Deny is for may be as wide as it likes
                    if key.value == "Principal" and any(
                        one.value == "Deny" for _, one in statement.value
                    ):
                        continue
                    if not lines[line - 1].strip().startswith("# "):
                        silent.append(f"{name}:{line + 1}: {lines[line].strip()}")
    return silent, seen


def test_a_wildcard_in_a_statement_has_its_reason_above_it() -> None:
    seen = 0
    for name in TEMPLATES:
        silent, count = wildcards_without_reason(name, (AWS / name).read_text())
        assert silent == []
        seen += count
    assert seen > 10


def test_a_wildcard_without_a_reason_would_be_found() -> None:
    text = (AWS / "cluster.yaml").read_text()
    without = re.sub(r"^ +# everything: .*\n", "", text, flags=re.MULTILINE)
    silent, _ = wildcards_without_reason("cluster.yaml", without)
    assert [line.partition(": ")[2] for line in silent] == ['Resource: "*"'] * 3


def allowed(stack: Stack, role: str) -> dict[str, set[str]]:
    """Actions, and on what."""
    found: dict[str, set[str]] = {}
    policies = list(stack.properties(role).get("Policies", []))
    for name in of_type(stack, "IAM::Policy"):
        shared = stack.properties(name)
        policies += [shared] * (stack.render({"Ref": role}) in shared["Roles"])
    for policy in policies:
        for statement in policy["PolicyDocument"]["Statement"]:
            assert statement["Effect"] == "Allow"
            actions, resources = (
                [one] if isinstance(one, str) else one
                for one in (statement["Action"], statement["Resource"])
            )
            for action in actions:
                found.setdefault(action, set()).update(resources)
    return found


def test_no_role_has_a_policy_of_aws_but_for_a_shell() -> None:
    for stack, more in itertools.product((frontend_stack, cluster_stack), ("yes", "no")):
        made = stack(SessionManager=more)
        for role in of_type(made, "IAM::Role"):
            policies = made.properties(role).get("ManagedPolicyArns", [])
            assert policies in ([], ["arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"])
            of_machines = role in {"EtcdRole", "FrontendRole", "InstanceRole"}
            assert bool(policies) == (more == "yes" and of_machines)
            services = {action.partition(":")[0] for action in allowed(made, role)}
            assert not services & {"iam", "sts", "kms", "lambda", "*"}


def test_a_task_may_nothing_and_only_ecs_reads_the_registrar_s_password() -> None:
    stack = cluster_stack()
    assert allowed(stack, "TaskRole") == {}
    execution = allowed(stack, "ExecutionRole")
    exports = frontend_stack().outputs()
    assert execution["secretsmanager:GetSecretValue"] == {exports["branchfront-RegistrarSecret"]}
    assert execution["ssm:GetParameters"] == {exports["branchfront-CaParameter"]}
    operator = allowed(stack, "OperatorExecutionRole")
    assert operator["secretsmanager:GetSecretValue"] == {exports["branchfront-OperatorSecret"]}
    for role in ("ExecutionRole", "OperatorExecutionRole", "TaskRole", "ExecTaskRole"):
        (trust,) = stack.properties(role)["AssumeRolePolicyDocument"]["Statement"]
        assert trust["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}
        assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": ACCOUNT}
    assert not [
        action for action in allowed(stack, "InstanceRole") if not action.startswith("ecs:")
    ]


def test_a_task_with_a_shell_may_let_people_in_and_nothing_else() -> None:
    shell = allowed(cluster_stack(), "ExecTaskRole")
    assert {name.partition(":")[0] for name in shell} == {"ssmmessages"}
    assert len(shell) == 4


def test_a_frontend_reads_its_own_password_alone() -> None:
    stack = frontend_stack()
    own = allowed(stack, "FrontendRole")
    assert own["secretsmanager:GetSecretValue"] == {"branchfront-FrontendPassword"}
    assert "ecr:BatchGetImage" in own
    assert not [action for action in own if action.startswith(("ec2:", "s3:"))]


def test_etcd_s_machines_take_their_volumes_and_no_others() -> None:
    rights = allowed(frontend_stack(), "EtcdRole")
    resources = rights["ec2:AttachVolume"]
    kinds = sorted(arn.rpartition(":")[2].partition("/")[0] for arn in resources)
    assert kinds == ["instance"] + ["network-interface"] * 3 + ["volume"] * 3
    statement = next(
        one
        for one in frontend_stack().properties("EtcdRole")["Policies"][0]["PolicyDocument"][
            "Statement"
        ]
        if one["Sid"] == "ToMachinesOfThisStack"
    )
    assert statement["Condition"] == {
        "StringEquals": {"aws:ResourceTag/branchfront:stack": "branchfront"}
    }
    # saved, and fetched to be restored
    for action in ("s3:PutObject", "s3:GetObject"):
        assert rights[action] == {"branchfront-Backups-Arn/etcd/*"}


def test_machines_do_not_start_before_they_may_what_they_need() -> None:
    """A role is there before its machines, by their profile; a policy beside it need not be."""
    resources = frontend_stack().template["Resources"]
    assert of_type(frontend_stack(), "IAM::Policy") == ["MachinePolicy"]
    assert "MachinePolicy" in resources["Etcd1"]["DependsOn"]
    # and all others come after the first: test_members_are_replaced_one_after_the_other


# ---- What can be changed while branches stand ----------------------------------------------------

FOR_GOOD = {"Vpc", "RegistryZone", "CaParameter"}
"""To change one of these is to begin with another etcd."""


def parameters_of(stack: Stack, node: Any) -> Iterator[str]:
    """Those by which a value changes, where it names them itself."""
    if isinstance(node, list):
        for one in node:
            yield from parameters_of(stack, one)
    elif isinstance(node, dict):
        for key, one in node.items():
            text = one if isinstance(one, str) else ""
            names = re.findall(r"\$\{([A-Za-z]+)\}", text) if key == "Fn::Sub" else [text]
            yield from (name for name in names if name in stack.template["Parameters"])
            yield from parameters_of(stack, one)


def exported_parameters(stack: Stack) -> set[str]:
    values = (one["Value"] for one in stack.template["Outputs"].values() if "Export" in one)
    return set(parameters_of(stack, list(values)))


def test_no_export_changes_while_another_stack_may_import_it() -> None:
    """CloudFormation refuses that: with one branch up, a cluster would get no newer registrar."""
    assert exported_parameters(frontend_stack()) == FOR_GOOD
    assert exported_parameters(cluster_stack()) == set()


def test_an_export_that_may_change_would_be_found() -> None:
    stack = cluster_stack()
    for value in ({"Ref": "RegistrarImage"}, {"Fn::Join": [",", {"Ref": "Subnets"}]}):
        stack.template["Outputs"]["More"] = {"Value": value, "Export": {"Name": "more"}}
        assert len(exported_parameters(stack)) == 1


def test_services_read_what_the_cluster_keeps_for_them() -> None:
    parameters = read_template("service.yaml")["Parameters"]
    read = {
        found["Default"]
        for found in parameters.values()
        if found["Type"].startswith("AWS::SSM::Parameter::Value<")
    }
    assert read == cluster_stack().keeps().keys() - {
        "/branchfront/branchfront-cluster/operator-network"
    }
    _, beside = containers()
    assert beside["Image"] == "registrar:1"


# ---- Data that has to stay -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resource", "policy"),
    [
        ("Volume1", "Snapshot"),
        ("Volume2", "Snapshot"),
        ("Volume3", "Snapshot"),
        ("Backups", "Retain"),
        ("RootPassword", "Retain"),
    ],
)
def test_etcd_s_data_outlives_the_stack(resource: str, policy: str) -> None:
    found = frontend_stack().template["Resources"][resource]
    assert found["DeletionPolicy"] == found["UpdateReplacePolicy"] == policy


def test_volumes_and_backups_are_encrypted() -> None:
    stack = frontend_stack()
    assert len(of_type(stack, "EC2::Volume")) == 3
    for name in of_type(stack, "EC2::Volume"):
        assert stack.properties(name)["Encrypted"] is True
    (rule,) = stack.properties("Backups")["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    assert set(stack.properties("Backups")["PublicAccessBlockConfiguration"].values()) == {True}


def test_members_are_replaced_one_after_the_other() -> None:
    resources = frontend_stack().template["Resources"]
    for one, before in (("Etcd2", "Etcd1"), ("Etcd3", "Etcd2"), ("FrontendGroup", "Etcd3")):
        assert before in resources[one]["DependsOn"]
    for group in ("Etcd1", "Etcd2", "Etcd3"):
        rolling = resources[group]["UpdatePolicy"]["AutoScalingRollingUpdate"]
        assert rolling["WaitOnResourceSignals"] is True
        assert rolling["MinInstancesInService"] == 0


# ---- Machines ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stack", "name"), MACHINES)
def test_user_data_fits_and_has_no_secrets(stack: Any, name: str) -> None:
    script = user_data(stack(), name)
    assert script.startswith("#!/bin/bash\n")
    assert len(script.encode()) <= USER_DATA_MAX
    assert not re.search(r"AKIA|aws_secret|PASSWORD=|BEGIN [A-Z ]*KEY", script)


@pytest.mark.parametrize(("stack", "name"), MACHINES)
def test_scripts_are_ones_that_a_shell_can_read(stack: Any, name: str, tmp_path: Path) -> None:
    script = user_data(stack(), name)
    scripts = {name: script} | {
        path: text for path, text in written_files(script).items() if text.startswith("#!")
    }
    files = []
    for path, text in scripts.items():
        files.append(tmp_path / path.replace("/", "_"))
        files[-1].write_text(text)
        subprocess.run([BASH, "-n", str(files[-1])], check=True, timeout=20)
    if shutil.which("shellcheck") is None:
        pytest.skip("no shellcheck: only bash -n")
    command = ["shellcheck", *map(str, [*AWS.glob("*.sh"), *files])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert done.stdout == ""


@pytest.mark.parametrize(("stack", "name"), MACHINES)
def test_every_machine_wants_tokens_and_has_an_encrypted_disk(stack: Any, name: str) -> None:
    data = stack().properties(name)["LaunchTemplateData"]
    assert data["MetadataOptions"]["HttpTokens"] == "required"
    assert data["MetadataOptions"]["HttpPutResponseHopLimit"] == (
        2 if stack is cluster_stack else 1
    )
    if stack is cluster_stack:
        data = stack(MetadataHopLimit="1").properties(name)["LaunchTemplateData"]
        assert data["MetadataOptions"]["HttpPutResponseHopLimit"] == "1"
    assert all(device["Ebs"]["Encrypted"] is True for device in data["BlockDeviceMappings"])


@pytest.mark.parametrize("name", ["EtcdLaunchTemplate", "FrontendLaunchTemplate"])
def test_a_machine_that_cannot_be_set_up_makes_room_for_another(name: str, tmp_path: Path) -> None:
    for program, text in (("dnf", "exit 1"), ("systemctl", 'echo "systemctl $*"')):
        (tmp_path / program).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / program).chmod(0o755)
    done = subprocess.run(
        [BASH, "-c", user_data(frontend_stack(), name)],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert (done.stdout, done.returncode) == ("systemctl poweroff\n", 1)


@pytest.mark.parametrize(
    ("state", "health", "waited_s", "said", "code"),
    [
        ("new", "false", 0, "signalled\n", 0),
        ("existing", "true", 0, "signalled\n", 0),
        # the next member must not be replaced as well
        ("existing", "false", 1201, "", 1),
    ],
)
def test_an_update_goes_on_when_the_member_before_is_well(
    state: str, health: str, waited_s: int, said: str, code: int, tmp_path: Path
) -> None:
    script = user_data(frontend_stack(), "EtcdLaunchTemplate")
    end = script[script.index("is_well() {") :].replace("/opt/aws/bin/cfn-signal", "signal")
    (tmp_path / "root").write_text("secret")
    wanted = f"--stack branchfront --resource Etcd1 --region {REGION}"
    before = [
        "set -euo pipefail",
        f"SECRETS={tmp_path} OWN_ENDPOINT=https://etcd-1 group=Etcd1 state={state}",
        f"SECONDS={waited_s}",
        f"etcdctl() {{ {health}; }}",
        f'signal() {{ [ "$*" = "{wanted}" ]; echo signalled; }}',
    ]
    done = subprocess.run(
        [BASH, "-c", "\n".join([*before, end])],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert (done.stdout, done.returncode) == (said, code)


def test_the_agent_is_told_to_drain_on_a_spot_notice() -> None:
    (config,) = written_files(user_data(cluster_stack(), "LaunchTemplate")).values()
    settings = dict(line.split("=", 1) for line in config.splitlines() if not line.startswith("#"))
    assert settings["ECS_CLUSTER"] == "branchfront-cluster-Cluster"
    for name in (
        "ECS_ENABLE_SPOT_INSTANCE_DRAINING",
        "ECS_ENABLE_CONTAINER_METADATA",
        "ECS_ENABLE_AWSLOGS_EXECUTIONROLE_OVERRIDE",
    ):
        assert settings[name] == "true"


def test_a_frontend_is_told_what_the_regenerator_knows() -> None:
    written = written_files(user_data(frontend_stack(), "FrontendLaunchTemplate"))
    lines = written["/etc/branchfront/frontend.env"].splitlines()
    environ = dict(line.split("=", 1) for line in lines)
    assert environ.keys() <= variables(regenerator.commands["run"])
    assert environ["PUBLIC_URL"] == "https://dev.example.com"
    assert environ["TRUSTED_PROXIES"] == "10.0.0.0/24,10.0.1.0/24"
    assert environ["REGISTRY_URL"] == frontend_stack().outputs()["branchfront-RegistryUrl"]
    for name in ("REGISTRY_CA", "REGISTRY_PASSWORD_FILE"):
        assert f">{environ[name]}\n" in written["/usr/local/sbin/branchfront-secrets"]


def test_the_load_balancer_lets_go_of_idle_connections_before_nginx_does() -> None:
    parameter = read_template("frontend.yaml")["Parameters"]["IdleTimeout"]
    found = re.search(
        r"^ *keepalive_timeout (\d+)s;", (ROOT / "nginx/nginx.conf").read_text(), re.MULTILINE
    )
    assert found
    assert parameter["Default"] <= parameter["MaxValue"] < int(found[1])


def test_etcd_is_the_version_of_the_compose_file() -> None:
    image = read_template("frontend.yaml")["Parameters"]["EtcdImage"]["Default"]
    assert f"${{ETCD_IMAGE:-{image}}}" in (ROOT / "docker-compose.yml").read_text()


# ---- Tasks ---------------------------------------------------------------------------------------

WAYS = [
    {"RunsOn": "ec2"},
    {"RunsOn": "ec2", "HealthCommand": "curl -fs http://127.0.0.1:8000/healthz"},
    {"RunsOn": "ec2", "HealthPath": "/healthz", "DesiredCount": "0", "MinimumHealthyPercent": "0"},
    {"RunsOn": "fargate"},
    {
        "RunsOn": "fargate",
        "HealthCommand": "true",
        "FargateCapacity": "FARGATE",
        "Architecture": "ARM64",
    },
    {"RunsOn": "fargate", "TaskRoleArn": f"arn:aws:iam::{ACCOUNT}:role/own"},
    {"RunsOn": "ec2", "Exec": "yes"},
    {"RunsOn": "fargate", "Exec": "yes"},
]


def variables(command: Command) -> set[str]:
    """Those that a command reads."""
    found = (getattr(parameter, "envvar", None) for parameter in command.params)
    names: set[str] = set()
    for one in found:
        names.update([one] if isinstance(one, str) else one or [])
    return names | {"REGISTRY_PASSWORD"}


def containers(**given: str) -> tuple[dict[str, Any], dict[str, Any]]:
    service, beside = service_stack(**given).properties("TaskDefinition")["ContainerDefinitions"]
    return service, beside


@pytest.mark.parametrize("way", WAYS)
def test_the_registrar_is_told_what_it_knows(way: dict[str, str]) -> None:
    _, beside = containers(**way)
    environ = {one["Name"]: one["Value"] for one in beside["Environment"]}
    known = variables(registrar.commands["sidecar"])
    assert environ.keys() | {one["Name"] for one in beside["Secrets"]} <= known
    assert ("HEALTH_ECS" in environ) == bool(way.get("HealthCommand"))
    # the registrar refuses both
    assert not ("HEALTH_ECS" in environ and "HEALTH_PATH" in environ)
    assert environ["CONTAINER"] == "service"
    # whom EC2 may take an instance from; ECS may not have another place for it in time
    assert environ["SPOT_NOTICE"] == ("on" if way["RunsOn"] == "ec2" else "off")


def test_a_branch_s_name_is_handed_on_as_it_is() -> None:
    _, beside = containers(Branch="Feature/JIRA-123_Foo.Bar é")
    assert {"Name": "NAME", "Value": "Feature/JIRA-123_Foo.Bar é"} in beside["Environment"]


@pytest.mark.parametrize("way", WAYS)
def test_the_registrar_stops_first_and_both_before_spot_takes_the_instance(
    way: dict[str, str],
) -> None:
    most = str(read_template("service.yaml")["Parameters"]["StopTimeout"]["MaxValue"])
    service, beside = containers(**way, StopTimeout=most)
    assert beside["DependsOn"] == [{"ContainerName": service["Name"], "Condition": "START"}]
    assert int(service["StopTimeout"]) + beside["StopTimeout"] < SPOT_NOTICE_S
    assert {"Name": "STOP_TIMEOUT", "Value": str(beside["StopTimeout"])} in beside["Environment"]
    # as much again for an etcd that does not answer
    fields = {one.name: one.default for one in dataclasses.fields(RegistrarSettings)}
    own_s = float(str(fields["drain_s"])) + float(str(fields["release_timeout_s"]))
    assert beside["StopTimeout"] >= 2 * own_s


@pytest.mark.parametrize("way", WAYS)
def test_the_registrar_is_locked_in(way: dict[str, str]) -> None:
    _, beside = containers(**way)
    assert (beside["User"], beside["ReadonlyRootFilesystem"]) == ("65534", True)
    assert beside["LinuxParameters"] == {"Capabilities": {"Drop": ["ALL"]}}
    assert beside["RestartPolicy"]["IgnoredExitCodes"] == [77, 78]
    assert "PASSWORD" not in json.dumps(beside["Environment"])


@pytest.mark.parametrize("runs_on", ["ec2", "fargate"])
def test_people_get_a_shell_where_it_is_asked_for(runs_on: str) -> None:
    for wanted in ("yes", "no"):
        stack = service_stack(RunsOn=runs_on, Exec=wanted)
        assert stack.properties("EcsService")["EnableExecuteCommand"] is (wanted == "yes")
        task = stack.properties("TaskDefinition")
        role = "ExecTaskRole" if wanted == "yes" else "TaskRole"
        assert task["TaskRoleArn"] == f"branchfront-cluster-{role}-Arn"
        service, _ = task["ContainerDefinitions"]
        # the agent of Exec writes to it
        assert "ReadonlyRootFilesystem" not in service
        assert ("LinuxParameters" in service) == (wanted == "yes")
    own = f"arn:aws:iam::{ACCOUNT}:role/own"
    task = service_stack(Exec="yes", TaskRoleArn=own).properties("TaskDefinition")
    assert task["TaskRoleArn"] == own


def test_on_ec2_docker_chooses_the_port_and_tasks_fill_instances() -> None:
    stack = service_stack()
    task, service = stack.properties("TaskDefinition"), stack.properties("EcsService")
    assert (task["NetworkMode"], task["RequiresCompatibilities"]) == ("bridge", ["EC2"])
    assert task["ContainerDefinitions"][0]["PortMappings"][0]["HostPort"] == 0
    assert service["PlacementStrategies"] == [{"Type": "binpack", "Field": "memory"}]
    (one,) = service["CapacityProviderStrategy"]
    assert one["CapacityProvider"] == "branchfront-cluster-CapacityProvider"
    assert not {"NetworkConfiguration", "LaunchType"} & service.keys()
    assert "TaskSecurityGroup" not in json.dumps(service)


def test_on_fargate_a_task_has_its_own_address() -> None:
    stack = service_stack(RunsOn="fargate", Port="9000")
    task, service = stack.properties("TaskDefinition"), stack.properties("EcsService")
    assert (task["NetworkMode"], task["RequiresCompatibilities"]) == ("awsvpc", ["FARGATE"])
    assert (task["Cpu"], task["Memory"]) == (256, 1024)
    assert task["ContainerDefinitions"][0]["PortMappings"][0]["HostPort"] == "9000"
    assert service["CapacityProviderStrategy"] == [
        {"CapacityProvider": "FARGATE_SPOT", "Weight": 1}
    ]
    assert not {"PlacementStrategies", "LaunchType"} & service.keys()
    network = service["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert network["SecurityGroups"] == [
        "feature-login-web-TaskSecurityGroup",
        "branchfront-RegistryClientSecurityGroup",
    ]
    assert network["Subnets"] == ["subnet-a", "subnet-b"]


def test_a_deployment_that_fails_is_taken_back() -> None:
    deployment = service_stack().properties("EcsService")["DeploymentConfiguration"]
    assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    assert (deployment["MinimumHealthyPercent"], deployment["MaximumPercent"]) == (100, 200)


# ---- Against the API's own models ----------------------------------------------------------------

SPELLED_OTHERWISE = {
    "PlacementStrategies": "placementStrategy",
    "EnableECSManagedTags": "enableECSManagedTags",
    "VPCZoneIdentifier": "VPCZoneIdentifier",
    "TargetGroupARNs": "TargetGroupARNs",
}
"""What CloudFormation names in its own way; else it is the API's name but for its first letter."""


SCALARS: dict[str, Callable[[Any], Any]] = {
    "integer": int,
    "long": int,
    "double": float,
    "float": float,
    "string": str,
}
"""CloudFormation takes text for numbers, and numbers for text."""


@functools.cache
def shape_of(service: str, operation: str) -> Any:
    return (
        botocore.session.get_session()
        .get_service_model(service)
        .operation_model(operation)
        .input_shape
    )


def to_api(value: Any, shape: Any) -> Any:
    """A rendered property as the API is given it: its spelling, and numbers for numbers."""
    if shape.type_name == "structure":
        names = {name.lower(): name for name in shape.members}
        given = {}
        for key, inner in value.items():
            name = SPELLED_OTHERWISE.get(key, names.get(key.lower(), key))
            given[name] = to_api(inner, shape.members[name]) if name in shape.members else inner
        return given
    if shape.type_name == "list":
        return [to_api(inner, shape.member) for inner in value]
    if shape.type_name == "map":
        return {key: to_api(inner, shape.value) for key, inner in value.items()}
    return SCALARS.get(shape.type_name, lambda same: same)(value)


def complaints(service: str, operation: str, properties: dict[str, Any]) -> str:
    shape = shape_of(service, operation)
    report = ParamValidator().validate(to_api(properties, shape), shape)
    return str(report.generate_report())


@pytest.mark.parametrize("way", WAYS)
def test_ecs_knows_all_that_a_task_and_a_service_say(way: dict[str, str]) -> None:
    stack = service_stack(**way)
    assert complaints("ecs", "RegisterTaskDefinition", stack.properties("TaskDefinition")) == ""
    assert complaints("ecs", "CreateService", stack.properties("EcsService")) == ""


def test_what_ecs_does_not_know_would_be_found() -> None:
    task = service_stack().properties("TaskDefinition")
    task["ContainerDefinitions"][0]["StopTimeOuts"] = 1
    assert "StopTimeOuts" in complaints("ecs", "RegisterTaskDefinition", task)
    del task["ContainerDefinitions"][0]["StopTimeOuts"], task["Family"]
    assert "family" in complaints("ecs", "RegisterTaskDefinition", task)


@pytest.mark.parametrize(("stack", "name"), MACHINES)
def test_ec2_knows_all_that_a_launch_template_says(stack: Any, name: str) -> None:
    data = stack().properties(name)
    assert complaints("ec2", "CreateLaunchTemplate", {"LaunchTemplateName": "x", **data}) == ""


@pytest.mark.parametrize("scaling", ["capacity-provider", "memory-alarms"])
def test_scaling_is_one_that_the_services_know(scaling: str) -> None:
    stack = cluster_stack(Scaling=scaling)
    provider = {"name": "x", **stack.properties("CapacityProvider")}
    assert complaints("ecs", "CreateCapacityProvider", provider) == ""
    managed = provider["AutoScalingGroupProvider"]
    wanted = "ENABLED" if scaling == "capacity-provider" else "DISABLED"
    assert managed["ManagedScaling"]["Status"] == wanted
    joined = stack.properties("CapacityProviders")
    assert complaints("ecs", "PutClusterCapacityProviders", joined) == ""
    for name in ("ScaleOut", "ScaleIn"):
        policy = {"PolicyName": "x", **stack.properties(name)}
        assert complaints("autoscaling", "PutScalingPolicy", policy) == ""
    for name in ("MemoryHighAlarm", "MemoryLowAlarm"):
        alarm = {"AlarmName": "x", **stack.properties(name)}
        assert complaints("cloudwatch", "PutMetricAlarm", alarm) == ""
    for name in ("ScaleOut", "ScaleIn", "MemoryHighAlarm", "MemoryLowAlarm"):
        assert stack.template["Resources"][name]["Condition"] == "ScalesByAlarms"
    assert stack.holds("ScalesByAlarms") == (scaling == "memory-alarms")


@pytest.mark.parametrize("scaling", ["capacity-provider", "memory-alarms"])
def test_instances_can_be_replaced_and_deleted_and_are_drained_before(scaling: str) -> None:
    """A protected instance keeps CloudFormation waiting until it gives up."""
    stack = cluster_stack(Scaling=scaling)
    assert "NewInstancesProtectedFromScaleIn" not in stack.properties("InstanceGroup")
    managed = stack.properties("CapacityProvider")["AutoScalingGroupProvider"]
    assert managed["ManagedTerminationProtection"] == "DISABLED"
    assert managed["ManagedDraining"] == "ENABLED"


def test_instances_are_replaced_before_spot_takes_them() -> None:
    group = cluster_stack().properties("InstanceGroup")
    assert group["CapacityRebalance"] is True
    assert "DesiredCapacity" not in group


# ---- What people say to etcd ---------------------------------------------------------------------

ANSWERS = """#!/bin/sh
printf '%s\\n' "$1 $2" >>"$SAID"
for last; do [ "$before" = --overrides ] && printf %s "$last" >"$SAID.overrides"; before=$last; done
case "$1 $2 $*" in
"cloudformation describe-stacks "*) echo "$*" | sed "s/.*OutputKey=='\\([A-Za-z]*\\)'.*/the-\\1/" ;;
"ssm get-parameter "*) echo the-network ;;
"ecs run-task "*) echo "$TASK" ;;
"ecs describe-tasks "*exitCode*) echo "$CODE" ;;
"ecs describe-tasks "*) echo "CannotPullContainerError: no such image" ;;
"logs get-log-events "*"--log-stream-name operator/operator/f1"*) printf 'one\\ntwo\\n' ;;
esac
"""
"""The AWS CLI, as far as the script needs it."""

ARN = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/cluster/f1"


def operate(folder: Path, *words: str, task: str = ARN, code: str = "0") -> Any:
    (folder / "aws").write_text(ANSWERS)
    (folder / "aws").chmod(0o755)
    environ = {
        "PATH": f"{folder}:/usr/bin:/bin",
        "SAID": str(folder / "said"),
        "TASK": task,
        "CODE": code,
    }
    command = [str(AWS / "operator.sh"), "branchfront-cluster", *words]
    return subprocess.run(
        command, env=environ, capture_output=True, text=True, check=False, timeout=20
    )


def test_a_command_is_given_to_etcd_word_by_word(tmp_path: Path) -> None:
    words = ["registrar", "remove", 'a "b\\c" $d', "x y"]
    done = operate(tmp_path, *words, code="69")
    assert (done.stdout, done.stderr, done.returncode) == ("one\ntwo\n", "", 69)
    overrides = json.loads((tmp_path / "said.overrides").read_text())
    assert overrides == {"containerOverrides": [{"name": "operator", "command": words}]}
    stack = cluster_stack()
    (container,) = stack.properties("Operator")["ContainerDefinitions"]
    assert container["Name"] == "operator"
    network = stack.keeps()["/branchfront/branchfront-cluster/operator-network"]
    asked = {"taskDefinition": "x", "overrides": overrides, "networkConfiguration": network}
    asked["networkConfiguration"] = json.loads(network)
    assert complaints("ecs", "RunTask", asked) == ""
    assert asked["networkConfiguration"]["awsvpcConfiguration"] == {
        "subnets": ["subnet-a", "subnet-b"],
        "securityGroups": ["branchfront-RegistryClientSecurityGroup"],
    }
    assert {"Cluster", "Operator", "ServiceLogs"} <= stack.template["Outputs"].keys()


@pytest.mark.parametrize(
    ("words", "answers", "code", "said"),
    [
        (["registrar"], {"task": "None"}, 69, "no room"),
        (["registrar"], {"code": "None"}, 69, "CannotPullContainerError: no such image"),
        ([], {}, 64, "name the stack"),
    ],
)
def test_a_command_that_was_not_run_is_not_taken_for_one_that_was(
    words: list[str], answers: dict[str, str], code: int, said: str, tmp_path: Path
) -> None:
    done = operate(tmp_path, *words, **answers)
    assert (done.stdout, done.returncode) == ("", code)
    assert said in done.stderr


def test_ecs_and_our_programs_know_all_that_the_operator_s_task_says() -> None:
    task = cluster_stack().properties("Operator")
    assert complaints("ecs", "RegisterTaskDefinition", task) == ""
    (container,) = task["ContainerDefinitions"]
    given = {one["Name"] for one in container["Environment"] + container["Secrets"]}
    for command in (
        registrar.commands["remove"],
        registrar.commands["list"],
        regenerator.commands["release"],
        regenerator.commands["status"],
    ):
        assert given <= variables(command)


# ---- The page with the commands ------------------------------------------------------------------


def commands() -> list[str]:
    """Those of the page, each on one line."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return "".join(blocks).replace("\\\n", " ").splitlines()


def test_a_shell_can_read_the_commands() -> None:
    text = "\n".join(commands())
    done = subprocess.run(
        ["/usr/bin/env", "bash", "-n"], input=text, text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_commands_give_every_parameter_that_has_to_be_given() -> None:
    seen = set()
    for command in commands():
        found = re.search(r"--template-file aws/(\S+\.yaml)", command)
        if "cloudformation deploy" not in command or not found:
            continue
        parameters = read_template(found[1])["Parameters"]
        overrides = command.partition("--parameter-overrides")[2].split()
        given = {word.partition("=")[0].strip('"') for word in overrides if "=" in word}
        assert given <= parameters.keys(), command
        assert {name for name, one in parameters.items() if "Default" not in one} <= given, command
        seen.add(found[1])
    assert seen == set(TEMPLATES)


def test_the_commands_are_ones_that_aws_has() -> None:
    session = botocore.session.get_session()
    seen = 0
    for command in commands():
        for service, operation, flags in re.findall(
            r"\baws (\w+) ([a-z-]+)((?: [^|)]*)?)", command
        ):
            if (service, operation) in OF_THE_CLI:
                continue
            model = session.get_service_model(service)
            name = next(
                one for one in model.operation_names if one.lower() == operation.replace("-", "")
            )
            known = {member.lower() for member in model.operation_model(name).input_shape.members}
            for flag in re.findall(r"--([a-z-]+)", flags):
                if flag not in {"query", "output"}:
                    assert flag.replace("-", "") in known, (command, flag)
            seen += 1
    assert seen > 2


def test_a_look_into_a_task_is_one_that_its_containers_know() -> None:
    text = "\n".join(commands())
    (overrides,) = re.findall(r"--overrides '(.*?)'", text)
    (given,) = json.loads(overrides)["containerOverrides"]
    service, beside = containers()
    assert given["name"] == beside["Name"]
    command, *words = given["command"]
    registrar.commands[command].make_context(command, words)
    assert re.findall(r"execute-command .*--container (\S+)", text) == [service["Name"]]
    assert f"$name/{beside['Name']}/" in text


def test_the_role_of_ecs_is_there_before_the_cluster() -> None:
    """In an account that never had ECS a capacity provider fails without it."""
    text = "\n".join(commands())
    role = text.index("aws iam create-service-linked-role --aws-service-name ecs.amazonaws.com\n")
    assert role < text.index("--template-file aws/cluster.yaml")


def test_rights_to_deploy_are_ones_that_aws_has() -> None:
    """By the operations' names: IAM has no list of its actions to look at."""
    session = botocore.session.get_session()
    readme = (AWS / "README.md").read_text()
    table = readme.split("## Who may deploy branches\n")[1].split("\n## ")[0]
    seen = 0
    for line in table.splitlines():
        service = ""
        for found in re.findall(r"`([a-z0-9]*:?[A-Z][A-Za-z]+)`", line.rpartition(" | ")[2]):
            service = found.rpartition(":")[0] or service
            name = found.rpartition(":")[2]
            if line.startswith("|") and found != "iam:PassRole":
                assert name in session.get_service_model(service).operation_names, found
                seen += 1
    assert seen > 20


@pytest.mark.parametrize(
    ("branch", "service"),
    [
        ("main", "web"),
        ("feature/login", "api"),
        ("Feature/JIRA-123_Foo.Bar", "web"),
        ("dependabot/npm_and_yarn/" + "x" * 200, "web"),
        ("日本", "web"),
        ("--x--", "web"),
        ("a b'c$d`e\"f", "web"),
    ],
)
def test_the_name_that_is_made_of_a_branch_is_one_that_aws_takes(branch: str, service: str) -> None:
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,127}", made_name(branch, service))


def test_two_branches_have_two_names() -> None:
    pairs = [("fix/foo", "web"), ("fix-foo", "web"), ("a", "b-c"), ("a-b", "c"), ("a", "b.c")]
    assert len({made_name(*pair) for pair in pairs}) == len(pairs)


def made_name(branch: str, service: str) -> str:
    (line,) = (command for command in commands() if command.startswith("name="))
    done = subprocess.run(
        [BASH, "-ec", f'{line}\necho "$name"'],
        env={"BRANCH": branch, "SERVICE": service, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    return done.stdout.removesuffix("\n")
