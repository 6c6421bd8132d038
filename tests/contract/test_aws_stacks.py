"""The templates below ``aws/``, made into stacks by moto: as much of AWS as runs here.

What moto's CloudFormation does not know is made by the API of the service that it belongs to, with
the template's own properties. What it knows and drops on the way stands in ``aws/README.md``; the
unit tests look at that in the templates themselves.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import boto3  # type: ignore[import-untyped]
import pytest
from moto import mock_aws

from tests.cloudformation import MACHINE_IMAGES, REGION, Stack, read_template

pytestmark = pytest.mark.contract

Client = Any


def make_secret(properties: Mapping[str, Any]) -> str:
    return str(client("secretsmanager").create_secret(Name="a-name-of-AWS", **properties)["ARN"])


def lower_first(node: Any) -> Any:
    """The template's spelling in the API's, as far as these few need it."""
    if isinstance(node, dict):
        return {key[0].lower() + key[1:]: lower_first(value) for key, value in node.items()}
    if isinstance(node, list):
        return [lower_first(value) for value in node]
    return node


def client(service: str) -> Client:
    return boto3.client(service, region_name=REGION)


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [pair["GroupId"] for rule in found for pair in rule["UserIdGroupPairs"]]


@dataclass
class Account:
    """An AWS account, and what stands in it."""

    vpc: str
    subnets: str
    zone: str
    secret: str
    certificate: str
    given: dict[str, dict[str, str]] = field(default_factory=dict)

    def deploy(self, name: str, file: str, **given: str) -> None:
        """``aws cloudformation deploy``."""
        cloudformation = client("cloudformation")
        template = read_template(file)
        for resource, found in list(template["Resources"].items()):
            if found["Type"] in UNKNOWN:
                del template["Resources"][resource]
                template["Parameters"][resource] = {"Type": "String", "Default": resource}
        if "Certificate" in template["Parameters"]:
            template["Parameters"]["Certificate"]["Default"] = self.certificate
        for found in template["Resources"].values():
            if "DependsOn" in found:
                found["DependsOn"] = [
                    on for on in found["DependsOn"] if on in template["Resources"]
                ]
        act = cloudformation.update_stack if name in self.given else cloudformation.create_stack
        parameters = self.given.get(name, {}) | given
        act(
            StackName=name,
            TemplateBody=json.dumps(template),
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[
                {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
            ],
        )
        self.given[name] = parameters

    def outputs(self, name: str) -> dict[str, str]:
        (stack,) = client("cloudformation").describe_stacks(StackName=name)["Stacks"]
        assert stack["StackStatus"] in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def made(self, name: str) -> dict[str, str]:
        """What a stack's resources are called."""
        found = client("cloudformation").describe_stack_resources(StackName=name)
        return {
            one["LogicalResourceId"]: one["PhysicalResourceId"]
            for one in found["StackResources"]
            # moto has no name for one or the other
            if "PhysicalResourceId" in one and "LogicalResourceId" in one
        }

    def rendered(self, name: str, file: str) -> Stack:
        """The same stack by our own reading, with the names that moto has given."""
        exports = {
            one["Name"]: one["Value"] for one in client("cloudformation").list_exports()["Exports"]
        }
        stored = {
            one["Name"]: one["Value"]
            for page in client("ssm")
            .get_paginator("get_parameters_by_path")
            .paginate(Path="/branchfront", Recursive=True)
            for one in page["Parameters"]
        }
        made = self.made(name)
        return Stack(
            read_template(file), name, self.given[name], made, exports, MACHINE_IMAGES | stored
        )

    def launch_template(self, name: str, resource: str) -> dict[str, Any]:
        found = client("ec2").describe_launch_template_versions(
            LaunchTemplateId=self.made(name)[resource], Versions=["$Latest"]
        )
        data: dict[str, Any] = found["LaunchTemplateVersions"][0]["LaunchTemplateData"]
        return data

    def rules(self, group: str) -> list[dict[str, Any]]:
        (found,) = client("ec2").describe_security_groups(GroupIds=[group])["SecurityGroups"]
        rules: list[dict[str, Any]] = found["IpPermissions"]
        return rules

    def group(self, name: str, resource: str) -> dict[str, Any]:
        names = [self.made(name)[resource]]
        found = client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=names)
        group: dict[str, Any] = found["AutoScalingGroups"][0]
        return group


UNKNOWN = {
    "AWS::AutoScaling::ScalingPolicy",
    "AWS::CertificateManager::Certificate",
    "AWS::CloudWatch::Alarm",
    "AWS::ECS::CapacityProvider",
    "AWS::ECS::ClusterCapacityProviderAssociations",
    "AWS::S3::BucketPolicy",
    "AWS::SecretsManager::Secret",
}
"""What moto's CloudFormation leaves out, with a line in its log."""


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    """All four stacks, one after the other, with each one's outputs in the next."""
    with pytest.MonkeyPatch.context() as environ:
        # moto refuses to run with credentials that might be somebody's
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            environ.setenv(name, "testing")
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE"):
            environ.delenv(name, raising=False)
        with mock_aws():
            yield stand_up()


def stand_up() -> Account:
    ec2 = client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=REGION + zone)
        for n, zone in enumerate("abc")
    ]
    zone = client("route53").create_hosted_zone(Name="dev.example.com", CallerReference="once")
    asked = {"DomainName": "*.dev.example.com", "ValidationMethod": "DNS"}
    certificate = client("acm").request_certificate(**asked)["CertificateArn"]
    account = Account(
        vpc,
        ",".join(subnet["Subnet"]["SubnetId"] for subnet in subnets),
        zone["HostedZone"]["Id"].removeprefix("/hostedzone/"),
        make_secret({"SecretString": "a certificate and its key"}),
        certificate,
    )
    client("ssm").put_parameter(
        Name="/branchfront/registry-ca", Type="String", Value="a certificate"
    )
    account.deploy(
        "branchfront",
        "frontend.yaml",
        Vpc=vpc,
        FrontendSubnets=account.subnets,
        EtcdSubnets=account.subnets,
        EtcdZones=",".join(f"{REGION}{zone}" for zone in "abc"),
        LoadBalancerCidrs="10.0.0.0/24,10.0.1.0/24,10.0.2.0/24",
        Domain="dev.example.com",
        HostedZone=account.zone,
        ValidationZone="Z0PUBLIC",
        FrontendImage="frontend:1",
        CertificateSecret=account.secret,
    )
    account.deploy(
        "branchfront-cluster",
        "cluster.yaml",
        Subnets=account.subnets,
        RegistrarImage="registrar:1",
        FrontendImage="frontend:1",
        # moto takes a default list for one word, letter by letter
        InstanceTypes="r6i.large,r6a.large,r5.large,r5a.large",
    )
    account.deploy(
        "feature-login-web",
        "service.yaml",
        ServiceName="feature-login-web-528e1f",
        Branch="feature/login",
        Image="web:1",
        HealthCommand="curl -fs http://127.0.0.1:8000/healthz",
    )
    account.deploy(
        "feature-login-api",
        "service.yaml",
        ServiceName="feature-login-api-528e1f",
        Branch="feature/login",
        Service="api",
        Port="9000",
        Image="api:1",
        RunsOn="fargate",
    )
    return account


def definition(account: Account, stack: str) -> dict[str, Any]:
    found = client("ecs").describe_task_definition(
        taskDefinition=account.outputs(stack)["TaskDefinition"]
    )
    definition: dict[str, Any] = found["taskDefinition"]
    return definition


@pytest.mark.parametrize("resource", ["EtcdLaunchTemplate", "FrontendLaunchTemplate"])
def test_machines_want_tokens_and_encrypt_their_disks(account: Account, resource: str) -> None:
    data = account.launch_template("branchfront", resource)
    assert data["MetadataOptions"]["HttpTokens"] == "required"
    assert data["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    assert all(device["Ebs"]["Encrypted"] for device in data["BlockDeviceMappings"])
    assert base64.b64decode(data["UserData"]).startswith(b"#!/bin/bash\n")


def test_instances_answer_registrars_on_the_bridge(account: Account) -> None:
    data = account.launch_template("branchfront-cluster", "LaunchTemplate")
    options = {"HttpTokens": "required", "HttpPutResponseHopLimit": 2}
    assert data["MetadataOptions"] == options
    assert data["BlockDeviceMappings"][0]["Ebs"]["Encrypted"]
    script = base64.b64decode(data["UserData"]).decode()
    assert f"\nECS_CLUSTER={account.outputs('branchfront-cluster')['Cluster']}\n" in script


def test_instances_open_docker_s_ports_to_frontends_alone(account: Account) -> None:
    groups = account.launch_template("branchfront-cluster", "LaunchTemplate")["SecurityGroupIds"]
    outputs = account.outputs("branchfront")
    own = account.made("branchfront-cluster")["InstanceSecurityGroup"]
    assert groups == [own, outputs["RegistryClientSecurityGroup"]]
    assert account.rules(outputs["RegistryClientSecurityGroup"]) == []
    rules = account.rules(own)
    assert set(ids(rules)) == {outputs["FrontendSecurityGroup"]}
    assert not [rule for rule in rules if rule["IpRanges"] or rule["Ipv6Ranges"]]
    opened = {port for rule in rules for port in range(rule["FromPort"], rule["ToPort"] + 1)}
    agents = set(range(51678, 51681))
    assert opened == (set(range(32768, 61000)) | set(range(49153, 65536))) - agents


def test_etcd_answers_members_and_who_has_the_group(account: Account) -> None:
    made, outputs = account.made("branchfront"), account.outputs("branchfront")
    rules = {rule["FromPort"]: rule for rule in account.rules(made["EtcdSecurityGroup"])}
    assert sorted(rules) == [2379, 2380]
    clients = {made["EtcdSecurityGroup"], outputs["RegistryClientSecurityGroup"]}
    assert set(ids([rules[2379]])) == clients
    assert ids([rules[2380]]) == [made["EtcdSecurityGroup"]]


def test_only_the_load_balancer_reaches_frontends_and_people_reach_it(account: Account) -> None:
    made = account.made("branchfront")
    (rule,) = account.rules(made["FrontendSecurityGroup"])
    assert (rule["FromPort"], rule["ToPort"]) == (8080, 8080)
    assert ids([rule]) == [made["LoadBalancerSecurityGroup"]]
    rules = account.rules(made["LoadBalancerSecurityGroup"])
    assert {rule["FromPort"]: rule["IpRanges"][0]["CidrIp"] for rule in rules} == {
        80: "10.0.0.0/8",
        443: "10.0.0.0/8",
    }


def test_each_member_is_alone_in_its_zone_and_has_a_name(account: Account) -> None:
    records = client("route53").list_resource_record_sets(
        HostedZoneId=account.made("branchfront")["PrivateZone"]
    )["ResourceRecordSets"]
    names = {
        one["Name"]: one["ResourceRecords"][0]["Value"] for one in records if one["Type"] == "A"
    }
    interfaces = client("ec2").describe_network_interfaces()["NetworkInterfaces"]
    subnets = dict(zip(account.subnets.split(","), "abc", strict=True))
    for number, zone in enumerate("abc", start=1):
        group = account.group("branchfront", f"Etcd{number}")
        assert (group["MinSize"], group["MaxSize"]) == (1, 1)
        assert subnets[group["VPCZoneIdentifier"]] == zone
        tags = {tag["Key"]: tag["Value"] for tag in group["Tags"] if tag["PropagateAtLaunch"]}
        assert tags["branchfront:member"] == f"etcd-{number}"
        assert tags["branchfront:stack"] == "branchfront"
        (interface,) = (one for one in interfaces if one["Description"] == f"etcd-{number}")
        assert names[f"etcd-{number}.branchfront.internal"] == interface["PrivateIpAddress"]
        assert subnets[interface["SubnetId"]] == zone
        volume = account.made("branchfront")[f"Volume{number}"]
        (found,) = client("ec2").describe_volumes(VolumeIds=[volume])["Volumes"]
        assert found["AvailabilityZone"] == f"{REGION}{zone}"


def test_machines_of_etcd_are_told_their_own_volumes(account: Account) -> None:
    data = account.launch_template("branchfront", "EtcdLaunchTemplate")
    script = base64.b64decode(data["UserData"]).decode()
    made = account.made("branchfront")
    for number in (1, 2, 3):
        line = f"volume={made[f'Volume{number}']} interface={made[f'Interface{number}']}"
        assert f"etcd-{number}) {line} group=Etcd{number} ;;" in script


def test_the_load_balancer_is_internal_and_redirects_to_https(account: Account) -> None:
    elb = client("elbv2")
    (balancer,) = elb.describe_load_balancers()["LoadBalancers"]
    assert (balancer["Scheme"], balancer["Type"]) == ("internal", "application")
    listeners = elb.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
    https, http = sorted(listeners, key=lambda one: -one["Port"])
    assert (https["Port"], https["Protocol"]) == (443, "HTTPS")
    assert https["Certificates"] == [{"CertificateArn": account.certificate}]
    assert http["DefaultActions"][0]["RedirectConfig"]["Protocol"] == "HTTPS"
    stack = account.rendered("branchfront", "frontend.yaml")
    elb.modify_load_balancer_attributes(
        LoadBalancerArn=balancer["LoadBalancerArn"],
        Attributes=[
            {"Key": one["Key"], "Value": str(one["Value"])}
            for one in stack.properties("LoadBalancer")["LoadBalancerAttributes"]
        ],
    )
    (targets,) = elb.describe_target_groups()["TargetGroups"]
    assert (targets["Port"], targets["Matcher"]) == (8080, {"HttpCode": "200"})
    assert account.group("branchfront", "FrontendGroup")["TargetGroupARNs"] == [
        targets["TargetGroupArn"]
    ]


def test_the_domain_and_all_below_it_lead_to_the_load_balancer(account: Account) -> None:
    records = client("route53").list_resource_record_sets(HostedZoneId=account.zone)
    aliases = {
        one["Name"].rstrip("."): one["AliasTarget"]["DNSName"]
        for one in records["ResourceRecordSets"]
        if "AliasTarget" in one
    }
    name = account.outputs("branchfront")["LoadBalancer"]
    assert aliases == {"dev.example.com": name, "*.dev.example.com": name}


def test_instances_are_mostly_spot_of_four_types(account: Account) -> None:
    group = account.group("branchfront-cluster", "InstanceGroup")
    policy = group["MixedInstancesPolicy"]
    types = [one["InstanceType"] for one in policy["LaunchTemplate"]["Overrides"]]
    assert types == ["r6i.large", "r6a.large", "r5.large", "r5a.large"]
    assert policy["InstancesDistribution"] == {
        "OnDemandBaseCapacity": 1,
        "OnDemandPercentageAboveBaseCapacity": 0,
        "SpotAllocationStrategy": "capacity-optimized",
    }
    assert not group["NewInstancesProtectedFromScaleIn"]


def test_the_capacity_provider_is_one_that_ecs_takes(account: Account) -> None:
    stack = account.rendered("branchfront-cluster", "cluster.yaml")
    properties = lower_first(stack.properties("CapacityProvider"))
    ecs = client("ecs")
    made = ecs.create_capacity_provider(name="a-name-of-AWS", **properties)["capacityProvider"]
    found = made["autoScalingGroupProvider"]
    assert found["autoScalingGroupArn"] == account.made("branchfront-cluster")["InstanceGroup"]
    assert found["managedScaling"]["status"] == found["managedDraining"] == "ENABLED"
    assert found["managedTerminationProtection"] == "DISABLED"
    joined = lower_first(stack.properties("CapacityProviders"))
    ecs.put_cluster_capacity_providers(**joined)
    (cluster,) = ecs.describe_clusters(clusters=[joined["cluster"]])["clusters"]
    assert cluster["capacityProviders"][1:] == ["FARGATE", "FARGATE_SPOT"]


def test_alarms_and_policies_are_ones_that_aws_takes(account: Account) -> None:
    stack = account.rendered("branchfront-cluster", "cluster.yaml")
    stack = stack._replace(given={**stack.given, "Scaling": "memory-alarms"})
    for name in ("ScaleOut", "ScaleIn"):
        client("autoscaling").put_scaling_policy(PolicyName=name, **stack.properties(name))
    for name in ("MemoryHighAlarm", "MemoryLowAlarm"):
        client("cloudwatch").put_metric_alarm(AlarmName=name, **stack.properties(name))
    alarms = client("cloudwatch").describe_alarms()["MetricAlarms"]
    for alarm in alarms:
        cluster = account.outputs("branchfront-cluster")["Cluster"]
        assert alarm["Dimensions"] == [{"Name": "ClusterName", "Value": cluster}]
    assert {alarm["AlarmName"]: alarm["Threshold"] for alarm in alarms} == {
        "MemoryHighAlarm": 75,
        "MemoryLowAlarm": 35,
    }


def test_secrets_are_ones_that_aws_makes(account: Account) -> None:
    stack = account.rendered("branchfront", "frontend.yaml")
    secrets = client("secretsmanager")
    for number, name in enumerate(("RootPassword", "FrontendPassword", "RegistrarPassword")):
        properties = stack.properties(name)
        generate = properties.pop("GenerateSecretString")
        secrets.create_secret(Name=f"made-{number}", SecretString="x", **properties)
        assert secrets.get_random_password(**generate)["RandomPassword"].isalnum()


def test_a_task_has_the_service_and_a_registrar_that_stops_first(account: Account) -> None:
    found = definition(account, "feature-login-web")
    service, registrar = found["containerDefinitions"]
    assert (service["name"], registrar["name"]) == ("service", "registrar")
    assert registrar["dependsOn"] == [{"containerName": "service", "condition": "START"}]
    assert service["stopTimeout"] + registrar["stopTimeout"] < 120
    assert service["portMappings"][0]["hostPort"] == 0
    assert service["healthCheck"]["command"][1] == "curl -fs http://127.0.0.1:8000/healthz"
    secrets = {one["name"]: one["valueFrom"] for one in registrar["secrets"]}
    outputs = account.outputs("branchfront")
    assert secrets == {
        "REGISTRY_PASSWORD": outputs["RegistrarSecret"],
        "REGISTRY_CA_TEXT": outputs["CaParameter"],
    }
    environ = {one["name"]: one["value"] for one in registrar["environment"]}
    assert environ["REGISTRY_URL"] == outputs["RegistryUrl"]
    assert environ["NAME"] == "feature/login"


def test_a_task_on_fargate_is_open_to_frontends_at_its_port(account: Account) -> None:
    (rule,) = account.rules(account.made("feature-login-api")["TaskSecurityGroup"])
    assert (rule["FromPort"], rule["ToPort"]) == (9000, 9000)
    assert ids([rule]) == [account.outputs("branchfront")["FrontendSecurityGroup"]]


def test_what_moto_makes_of_a_task_is_what_we_read(account: Account) -> None:
    """Our reading of the templates, which other tests rely on, against another one."""
    for name in ("feature-login-web", "feature-login-api"):
        ours = account.rendered(name, "service.yaml").properties("TaskDefinition")
        theirs = definition(account, name)
        for mine, made in zip(
            ours["ContainerDefinitions"], theirs["containerDefinitions"], strict=True
        ):
            for key, value in mine.items():
                if key == "LogConfiguration":
                    assert made["logConfiguration"]["options"] == value["Options"]
                elif key in {"Environment", "PortMappings"}:
                    text = json.dumps(lower_first(value)).replace('"', "")
                    assert json.dumps(made[key[0].lower() + key[1:]]).replace('"', "") == text
                else:
                    assert made[key[0].lower() + key[1:]] == lower_first(value), key


def test_an_update_changes_what_was_asked_and_names_stay(account: Account) -> None:
    before = account.outputs("feature-login-api")
    account.deploy("feature-login-api", "service.yaml", DesiredCount="0")
    assert account.outputs("feature-login-api")["ServiceName"] == before["ServiceName"]
    cluster = account.outputs("branchfront-cluster")["Cluster"]
    found = client("ecs").describe_services(cluster=cluster, services=[before["ServiceName"]])
    assert [service["desiredCount"] for service in found["services"]] == [0]

    made = account.made("branchfront-cluster")
    account.deploy("branchfront-cluster", "cluster.yaml", MaxInstances="20")
    assert account.group("branchfront-cluster", "InstanceGroup")["MaxSize"] == 20
    # moto makes a new group where AWS changes the one there is
    kept = made.keys() - {"InstanceGroup"}
    assert {name: account.made("branchfront-cluster")[name] for name in kept} == {
        name: made[name] for name in kept
    }


def test_a_newer_registrar_comes_with_the_next_deployment(account: Account) -> None:
    """In moto that of another branch: it keeps nothing of a task definition that is updated."""
    account.deploy("branchfront-cluster", "cluster.yaml", RegistrarImage="registrar:2")
    account.deploy("main-web", "service.yaml", ServiceName="main-web", Branch="main", Image="web:1")
    images = {
        name: definition(account, name)["containerDefinitions"][1]["image"]
        for name in ("feature-login-web", "main-web")
    }
    client("cloudformation").delete_stack(StackName="main-web")
    assert images == {"feature-login-web": "registrar:1", "main-web": "registrar:2"}
    again = account.rendered("feature-login-web", "service.yaml").properties("TaskDefinition")
    assert again["ContainerDefinitions"][1]["Image"] == "registrar:2"


def test_a_shell_is_given_and_taken_by_a_deployment(account: Account) -> None:
    for wanted in ("yes", "no"):
        account.deploy("feature-login-api", "service.yaml", Exec=wanted)
        role = "ExecTaskRole" if wanted == "yes" else "TaskRole"
        own = account.rendered("feature-login-api", "service.yaml").properties("TaskDefinition")
        assert own["TaskRoleArn"].rpartition("/")[2] == account.made("branchfront-cluster")[role]


def test_what_is_deleted_leaves_the_data_of_etcd(account: Account) -> None:
    cloudformation = client("cloudformation")
    bucket = account.outputs("branchfront")["Backups"]
    for name in ("feature-login-api", "feature-login-web", "branchfront-cluster", "branchfront"):
        cloudformation.delete_stack(StackName=name)
    assert cloudformation.describe_stacks()["Stacks"] == []
    assert client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"] == []
    assert bucket in [one["Name"] for one in client("s3").list_buckets()["Buckets"]]
