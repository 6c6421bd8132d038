"""As much of CloudFormation's language as the templates below ``aws/`` speak: what they come to."""

import functools
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml  # type: ignore[import-untyped]

AWS = Path(__file__).parents[1] / "aws"
TEMPLATES = ("frontend.yaml", "cluster.yaml", "service.yaml")

ACCOUNT = "111122223333"
REGION = "eu-west-1"

NOTHING = object()
"""What ``AWS::NoValue`` comes to, until it is left out."""


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Reads ``!Ref x`` as ``{"Ref": "x"}``, and so on."""


def _construct(loader: _Loader, tag: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    else:
        value = loader.construct_sequence(node, deep=True)
    if tag == "GetAtt":
        value = value.split(".", 1)
    return {tag if tag in {"Ref", "Condition"} else f"Fn::{tag}": value}


_Loader.add_multi_constructor("!", _construct)


def read_template(name: str) -> dict[str, Any]:
    """A template, with the short forms of its functions written out."""
    template: dict[str, Any] = json.loads(_read_once(name))
    return template


@functools.cache
def _read_once(name: str) -> str:
    """It takes a third of a second, and tests may change what they get."""
    return json.dumps(yaml.load((AWS / name).read_text(), _Loader))  # noqa: S506 - a safe one


class Stack(NamedTuple):
    """What a template is rendered with.

    Attributes:
        given: Values of parameters; the others have their defaults.
        made: What resources are called once they are there: their ``Ref``, or ``Name.Attribute``.
        exports: What other stacks have exported.
        stored: What Systems Manager's parameters hold.
    """

    template: Mapping[str, Any]
    name: str
    given: Mapping[str, str]
    made: Mapping[str, str]
    exports: Mapping[str, str]
    stored: Mapping[str, str]

    def render(self, node: Any) -> Any:
        """What CloudFormation makes of a part of the template.

        Raises:
            KeyError: It names a parameter without a value, or an export or a parameter of Systems
                Manager that is not there.
        """
        if isinstance(node, list):
            return [value for value in map(self.render, node) if value is not NOTHING]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((name, argument),) = node.items()
            if name in FUNCTIONS:
                return FUNCTIONS[name](self, argument)
        rendered = {key: self.render(value) for key, value in node.items()}
        return {key: value for key, value in rendered.items() if value is not NOTHING}

    def holds(self, name: str) -> bool:
        """Whether a condition of the template is true."""
        return self._judge(self.template["Conditions"][name])

    def properties(self, resource: str) -> dict[str, Any]:
        """A resource's properties."""
        rendered: dict[str, Any] = self.render(self.template["Resources"][resource]["Properties"])
        return rendered

    def outputs(self) -> dict[str, str]:
        """What it exports."""
        found = (output for output in self.template["Outputs"].values() if "Export" in output)
        return {
            self.render(output["Export"]["Name"]): self.render(output["Value"]) for output in found
        }

    def keeps(self) -> dict[str, str]:
        """What it puts into Systems Manager's parameters."""
        found = (
            self.properties(name)
            for name, resource in self.template["Resources"].items()
            if resource["Type"] == "AWS::SSM::Parameter"
        )
        return {one["Name"]: one["Value"] for one in found}

    def _judge(self, condition: Mapping[str, Any]) -> bool:
        ((name, argument),) = condition.items()
        if name == "Fn::Equals":
            one, other = self.render(argument)
            return bool(one == other)
        assert name == "Fn::Not", condition
        return not self._judge(argument[0])

    def _if(self, argument: list[Any]) -> Any:
        condition, then, otherwise = argument
        return self.render(then if self.holds(condition) else otherwise)

    def _ref(self, name: str) -> Any:
        pseudo = {
            "AWS::AccountId": ACCOUNT,
            "AWS::NoValue": NOTHING,
            "AWS::Partition": "aws",
            "AWS::Region": REGION,
            "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{self.name}/a1b2",
            "AWS::StackName": self.name,
        }
        if name in pseudo:
            return pseudo[name]
        parameter = self.template["Parameters"].get(name)
        if parameter is None:
            return self.made.get(name, f"{self.name}-{name}")
        value = self.given[name] if name in self.given else parameter["Default"]
        if parameter["Type"].startswith("AWS::SSM::Parameter::Value<"):
            value = self.stored[value]
        if "List<" in parameter["Type"] or parameter["Type"] == "CommaDelimitedList":
            return str(value).split(",")
        return value

    def _attribute(self, name: str, attribute: str) -> str:
        return self.made.get(f"{name}.{attribute}", f"{self.name}-{name}-{attribute}")

    def _select(self, argument: list[Any]) -> Any:
        number, several = self.render(argument)
        return several[int(number)]

    def _split(self, argument: list[Any]) -> list[str]:
        by, text = self.render(argument)
        return str(text).split(by)

    def _join(self, argument: list[Any]) -> str:
        by, parts = self.render(argument)
        return str(by).join(parts)

    def _sub(self, text: str) -> str:
        def value(found: re.Match[str]) -> str:
            name = found[1]
            if name.startswith("!"):
                return f"${{{name[1:]}}}"
            head, _, attribute = name.partition(".")
            is_attribute = attribute and head in self.template["Resources"]
            return str(self._attribute(head, attribute) if is_attribute else self._ref(name))

        return re.sub(r"\$\{([^}]+)\}", value, text)


FUNCTIONS: dict[str, Callable[[Stack, Any], Any]] = {
    "Fn::Base64": Stack.render,
    "Fn::GetAtt": lambda stack, argument: stack._attribute(*argument),
    "Fn::If": Stack._if,
    "Fn::ImportValue": lambda stack, argument: stack.exports[stack.render(argument)],
    "Fn::Join": Stack._join,
    "Fn::Select": Stack._select,
    "Fn::Split": Stack._split,
    "Fn::Sub": Stack._sub,
    "Ref": Stack._ref,
}


MACHINE_IMAGES = {
    "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64": "ami-0a1b2c3d",
    "/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id": "ami-4e5f6a7b",
}
"""Those that AWS itself keeps in Systems Manager."""


def frontend_stack(**given: str) -> Stack:
    """``frontend.yaml`` with a value for whatever has no default."""
    needed = {
        "Vpc": "vpc-0a1b2c3d",
        "FrontendSubnets": "subnet-a,subnet-b",
        "EtcdSubnets": "subnet-a,subnet-b,subnet-c",
        "EtcdZones": f"{REGION}a,{REGION}b,{REGION}c",
        "LoadBalancerCidrs": "10.0.0.0/24,10.0.1.0/24",
        "Domain": "dev.example.com",
        "HostedZone": "Z0PRIVATE",
        "ValidationZone": "Z0PUBLIC",
        "FrontendImage": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/branchfront/frontend:1",
        "CertificateSecret": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:etcd-a1b2c3",
    }
    template = read_template("frontend.yaml")
    return Stack(template, "branchfront", needed | given, {}, {}, MACHINE_IMAGES)


def cluster_stack(**given: str) -> Stack:
    """``cluster.yaml``, above that."""
    needed = {
        "Subnets": "subnet-a,subnet-b",
        "RegistrarImage": "registrar:1",
        "FrontendImage": "frontend:1",
    }
    exports = frontend_stack().outputs()
    template = read_template("cluster.yaml")
    return Stack(template, "branchfront-cluster", needed | given, {}, exports, MACHINE_IMAGES)


def service_stack(**given: str) -> Stack:
    """``service.yaml``, above both."""
    needed = {
        "ServiceName": "feature-login-web-528e1f",
        "Branch": "feature/login",
        "Image": "web:1",
    }
    cluster = cluster_stack()
    exports = frontend_stack().outputs() | cluster.outputs()
    template = read_template("service.yaml")
    return Stack(template, "feature-login-web", needed | given, {}, exports, cluster.keeps())


def user_data(stack: Stack, launch_template: str) -> str:
    """The script that a machine runs at its first start."""
    text: str = stack.properties(launch_template)["LaunchTemplateData"]["UserData"]
    return text


def written_files(script: str) -> dict[str, str]:
    """The files that a script writes by ``cat >PATH <<'EOF'``, its variables left as they are."""
    found = re.findall(r"^cat >>?(\S+) <<'?EOF'?\n(.*?)^EOF$", script, re.DOTALL | re.MULTILINE)
    files: dict[str, str] = {}
    for path, text in found:
        files[path] = files.get(path, "") + text
    return files
