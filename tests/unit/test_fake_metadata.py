"""What the fake of AWS's metadata decides, without a socket; and what its samples look like."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.metadata import (
    GARBAGE,
    SAMPLES,
    TOKEN,
    TTL,
    Answer,
    InstanceMetadata,
    TaskMetadata,
    TokenBucket,
    many_megabytes,
    metadata_file,
    sample,
)
from tests.fakes.spare_time import SpareTime

TOKENS = "/latest/api/token"
ADDRESS = "/latest/meta-data/local-ipv4"

TASK_FIELDS = {
    "AvailabilityZone",
    "AvailabilityZoneID",
    "ClockDrift",
    "Cluster",
    "Containers",
    "DesiredStatus",
    "EphemeralStorageMetrics",
    "ExecutionStoppedAt",
    "Family",
    "FaultInjectionEnabled",
    "KnownStatus",
    "LaunchType",
    "Limits",
    "PullStartedAt",
    "PullStoppedAt",
    "Revision",
    "ServiceName",
    "TaskARN",
    "VPCID",
}
"""Those of ``/task`` that AWS lists."""

TAG_FIELDS = {"TaskTags", "ContainerInstanceTags", "Errors"}
"""What ``/taskWithTags`` may have besides."""

CONTAINER_FIELDS = {
    "ContainerARN",
    "CreatedAt",
    "DesiredStatus",
    "DockerId",
    "DockerName",
    "ExitCode",
    "FinishedAt",
    "Health",
    "Image",
    "ImageID",
    "KnownStatus",
    "Labels",
    "Limits",
    "LogDriver",
    "LogOptions",
    "Name",
    "Networks",
    "Ports",
    "RestartCount",
    "Snapshotter",
    "StartedAt",
    "Type",
}
ALWAYS = {
    "DesiredStatus",
    "DockerId",
    "DockerName",
    "Image",
    "ImageID",
    "KnownStatus",
    "Labels",
    "Limits",
    "Name",
    "Type",
}
"""Those that the agent never leaves out of a container."""

TASKS = sorted(path.name for path in SAMPLES.glob("tmds-v4-task*.json"))


def get(imds: InstanceMetadata, path: str = ADDRESS, **headers: str) -> Answer:
    return imds.answer_imds("GET", path, {TOKEN: token_of(imds)} | headers)


def token_of(imds: InstanceMetadata, ttl: str = "60") -> str:
    answer = imds.answer_imds("PUT", TOKENS, {TTL: ttl})
    assert answer.status == 200
    return answer.body.decode()


def read(task: TaskMetadata, below: str = "/task") -> Any:
    answer = task.answer_task(f"/v4/{task.task_id}{below}")
    assert (answer.status, answer.content_type) == (200, "application/json")
    return json.loads(answer.body)


@pytest.mark.parametrize("wanted", ["1", "300", "21600"])
def test_a_token_is_good_for_as_long_as_it_was_wanted_for(wanted: str) -> None:
    time = SpareTime()
    imds = InstanceMetadata(clock=time.clock)

    given = imds.answer_imds("PUT", TOKENS, {TTL: wanted})
    token = {TOKEN: given.body.decode()}
    time.freeze(int(wanted) - 0.5)
    before = imds.answer_imds("GET", ADDRESS, token)
    time.freeze(0.5)
    after = imds.answer_imds("GET", ADDRESS, token)

    assert dict(given.headers) == {"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": wanted}
    assert (before.status, before.body, before.content_type) == (200, b"10.0.3.17", "text/plain")
    assert after.status == 401


@given(st.integers(-50_000, 50_000) | st.integers())
def test_a_token_is_given_for_a_whole_number_of_seconds_up_to_six_hours(wanted: int) -> None:
    status = InstanceMetadata().answer_imds("PUT", TOKENS, {TTL: str(wanted)}).status

    assert status == (200 if 1 <= wanted <= 21600 else 400)


@pytest.mark.parametrize("wanted", ["", "0", "-1", "21601", "1.5", "6h", "\u0661"])
def test_a_token_is_not_given_for_any_other_time(wanted: str) -> None:
    imds = InstanceMetadata()

    assert imds.answer_imds("PUT", TOKENS, {TTL: wanted}).status == 400
    assert imds.answer_imds("PUT", TOKENS, {}).status == 400


def test_a_token_that_comes_through_a_proxy_or_for_a_date_is_refused() -> None:
    imds = InstanceMetadata()

    assert imds.answer_imds("PUT", TOKENS, {TTL: "60", "x-forwarded-for": ""}).status == 403
    assert imds.answer_imds("PUT", "/2021-03-23/api/token", {TTL: "60"}).status == 403


def test_every_token_ends_when_the_test_says_so() -> None:
    imds = InstanceMetadata()
    tokens = [token_of(imds), token_of(imds)]
    imds.expire_tokens()

    assert [get(imds, **{TOKEN: token}).status for token in tokens] == [401, 401]
    assert get(imds).status == 200


@pytest.mark.parametrize(
    ("tokens", "headers", "status"),
    [
        ("required", {}, 401),
        ("required", {TOKEN: "made up"}, 401),
        ("optional", {}, 200),
        ("optional", {TOKEN: "made up"}, 401),
        ("optional", {TOKEN: ""}, 401),
    ],
)
def test_who_has_no_token_is_answered_where_tokens_are_optional(
    tokens: Any, headers: Mapping[str, str], status: int
) -> None:
    imds = InstanceMetadata(imds_tokens=tokens)

    assert imds.answer_imds("GET", ADDRESS, headers).status == status


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/latest/meta-data/placement/availability-zone", "eu-west-1a"),
        ("/latest/meta-data/placement/availability-zone/", "eu-west-1a"),
        ("/latest/meta-data/placement/", "availability-zone\navailability-zone-id\nregion"),
        ("/latest/meta-data/network/", "interfaces/"),
        ("/latest/meta-data/network/interfaces/macs/", "06:11:22:33:44:55/"),
        ("/latest/meta-data/network/interfaces/macs/06%3A11:22:33:44:55/subnet-id", "subnet-01"),
        ("/latest/meta-data/iam/security-credentials/", "branches-instance"),
    ],
)
def test_a_leaf_is_its_value_and_a_folder_is_what_is_in_it(path: str, body: str) -> None:
    answer = get(InstanceMetadata(), path)

    assert answer.status == 200
    assert answer.body.decode().startswith(body)
    assert not answer.body.endswith(b"\n")


def test_the_root_lists_folders_and_leaves_once() -> None:
    entries = get(InstanceMetadata(), "/latest/meta-data/").body.decode().split("\n")

    assert {"local-ipv4", "placement/", "network/", "iam/"} <= set(entries)
    assert len(entries) == len(set(entries))


@pytest.mark.parametrize(
    "path",
    [
        "/latest/meta-data/public-ipv4",
        "/latest/meta-data/spot/instance-action",
        "/latest/meta-data/spot/",
        "/latest/meta-data/events/recommendations/rebalance",
        "/latest/meta-data/place",
        "/latest/user-data",
        "/",
    ],
)
def test_what_an_instance_does_not_have_is_not_found(path: str) -> None:
    assert get(InstanceMetadata(), path).status == 404


def test_every_path_of_the_sample_is_served_as_it_stands_there() -> None:
    imds = InstanceMetadata()
    paths = {
        path: value
        for path, value in sample("imds-meta-data-paths.json").items()
        if path != "_comment"
    }

    found = {path: get(imds, f"/latest/meta-data/{path}").body.decode() for path in paths}

    assert found == paths
    identity = get(imds, "/latest/dynamic/instance-identity/document")
    assert json.loads(identity.body) == sample("imds-instance-identity-document.json")


def test_a_value_that_a_test_changes_is_what_is_answered() -> None:
    imds = InstanceMetadata()
    imds.leaves["local-ipv4"] = "10.9.9.9"
    del imds.leaves["instance-id"]

    assert get(imds).body == b"10.9.9.9"
    assert get(imds, "/latest/meta-data/instance-id").status == 404
    assert InstanceMetadata().leaves["local-ipv4"] == "10.0.3.17"


@pytest.mark.parametrize("action", ["terminate", "stop", "hibernate"])
def test_notices_are_the_samples_or_at_a_time_of_choice(action: Any) -> None:
    imds = InstanceMetadata()
    spot, rebalance = (
        "/latest/meta-data/spot/instance-action",
        "/latest/meta-data/events/recommendations/rebalance",
    )

    imds.announce_spot(action)
    imds.recommend_rebalance()
    assert json.loads(get(imds, spot).body) == sample(f"imds-spot-instance-action-{action}.json")
    assert json.loads(get(imds, rebalance).body) == sample("imds-rebalance-recommendation.json")

    at = datetime(2027, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    imds.announce_spot(action, at=at)
    imds.recommend_rebalance(at=datetime(2027, 1, 1, tzinfo=UTC))
    assert json.loads(get(imds, spot).body) == {"action": action, "time": "2026-12-31T23:00:00Z"}
    assert json.loads(get(imds, rebalance).body) == {"noticeTime": "2027-01-01T00:00:00Z"}


def test_turned_off_it_refuses_everything() -> None:
    imds = InstanceMetadata(imds_tokens="optional", imds_mode="disabled")

    assert imds.answer_imds("PUT", TOKENS, {TTL: "60"}).status == 403
    assert imds.answer_imds("GET", ADDRESS, {}).status == 403
    assert imds.answer_imds("GET", "/", {}).status == 403


def test_behind_a_bridge_with_hop_limit_1_only_the_token_gets_no_answer() -> None:
    imds = InstanceMetadata(imds_tokens="optional", imds_mode="hop1")

    assert imds.answer_imds("PUT", TOKENS, {TTL: "60"}).status == 0
    assert imds.answer_imds("GET", ADDRESS, {}).status == 200


def test_it_is_throttled_for_so_many_requests() -> None:
    imds = InstanceMetadata(imds_throttled=2)

    statuses = [imds.answer_imds("PUT", TOKENS, {TTL: "60"}).status for _ in range(3)]

    assert statuses == [503, 503, 200]


@pytest.mark.parametrize("method", ["POST", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_not_allowed(method: str) -> None:
    imds = InstanceMetadata()
    token = {TOKEN: token_of(imds)}

    assert imds.answer_imds(method, ADDRESS, token).status == 405
    assert imds.answer_imds("PUT", ADDRESS, token).status == 405
    assert imds.answer_imds("HEAD", ADDRESS, token).status == 200


@pytest.mark.parametrize("name", TASKS)
def test_a_sample_of_a_task_has_the_fields_that_aws_lists(name: str) -> None:
    task = sample(name)
    containers = task["Containers"]

    assert task.keys() - TASK_FIELDS <= (TAG_FIELDS if "taskWithTags" in name else set())
    assert {"Cluster", "TaskARN", "Family", "Revision", "DesiredStatus"} <= task.keys()
    assert isinstance(task["Revision"], str)
    assert task["LaunchType"] == ("FARGATE" if "fargate" in name else "EC2")
    for container in containers:
        assert ALWAYS <= container.keys() <= CONTAINER_FIELDS
        assert {"NORMAL", "CNI_PAUSE"} >= {container["Type"]}
        for port in container.get("Ports", ()):
            assert {"ContainerPort", "Protocol"} <= port.keys()
            assert port.keys() <= {"ContainerPort", "Protocol", "HostPort", "HostIp"}
        for network in container.get("Networks", ()):
            assert {"NetworkMode", "IPv4Addresses"} <= network.keys()
    assert len({one["Name"] for one in containers}) == len(containers)


def test_the_sample_of_a_container_is_the_one_that_its_task_has() -> None:
    task = TaskMetadata()
    before = read(task, "")
    task.play("tmds-v4-task-bridge-ec2.json", own="tmds-v4-container-bridge-ec2.json")

    assert before == read(task, "") == sample("tmds-v4-container-bridge-ec2.json")


@pytest.mark.parametrize("name", [name for name in TASKS if "taskWithTags" not in name])
def test_a_task_says_what_its_sample_says(name: str) -> None:
    task = TaskMetadata()
    task.play(name)

    document = read(task)

    assert document == sample(name)
    assert read(task, "") == next(one for one in document["Containers"] if one["Name"] == "web")


def test_tags_come_besides() -> None:
    assert read(TaskMetadata(), "/taskWithTags") == sample("tmds-v4-taskWithTags-bridge-ec2.json")


def test_a_sidecar_sees_itself_and_the_task() -> None:
    task = TaskMetadata()
    task.play("tmds-v4-task-awsvpc-ec2.json", own_name="registrar")

    assert (read(task, "")["Name"], "Ports" in read(task, "")) == ("registrar", False)
    assert task.own_document in task.task_document["Containers"]
    task.own_name = "web"
    assert read(task, "")["Ports"][0]["HostPort"] == 8080


def test_a_container_that_is_not_in_the_task_is_named() -> None:
    task = TaskMetadata()

    with pytest.raises(KeyError, match=r"no container 'db' in the task: it has web, registrar"):
        task.play("tmds-v4-task-bridge-ec2.json", own_name="db")
    assert task.own_name == "web"


def test_what_a_test_changes_is_seen_in_both_documents() -> None:
    task = TaskMetadata()
    task.own_document["Ports"][0]["HostPort"] = 40000
    task.set_health("web", "UNHEALTHY")
    task.desired = "STOPPED"

    document = read(task)

    assert document["Containers"][0] == read(task, "")
    assert read(task, "")["Ports"][0]["HostPort"] == 40000
    assert (read(task, "")["Health"]["status"], read(task, "")["Health"]["exitCode"]) == (
        "UNHEALTHY",
        1,
    )
    assert task.desired == "STOPPED"
    statuses = [one["DesiredStatus"] for one in (document, *document["Containers"])]
    assert statuses == ["STOPPED"] * 3
    assert document["KnownStatus"] == "RUNNING"
    assert TaskMetadata().desired == "RUNNING"


def test_ports_come_late() -> None:
    task = TaskMetadata(ports_after=2)

    assert read(task) == sample("tmds-v4-task-bridge-ec2-not-ready.json")
    assert "Ports" not in read(task, "")
    assert read(task) == sample("tmds-v4-task-bridge-ec2.json")


def test_ports_come_without_a_number_first() -> None:
    task = TaskMetadata(ports_after=1)
    task.unready_document = sample("tmds-v4-task-bridge-ec2-hostport-zero.json")

    assert read(task, "")["Ports"] == [{"ContainerPort": 8080, "Protocol": "tcp"}]
    assert read(task, "")["Ports"][0]["HostPort"] == 32769


def test_stats_are_by_container() -> None:
    task = TaskMetadata()

    assert read(task, "/stats")["id"] == task.own_document["DockerId"]
    assert read(task, "/task/stats")[task.own_document["DockerId"]] == read(task, "/stats")
    assert len(read(task, "/task/stats")) == 2


@pytest.mark.parametrize("below", ["", "/task", "/taskWithTags", "/stats", "/task/stats"])
def test_an_unknown_id_and_a_failure_are_told_as_json_strings(below: str) -> None:
    unknown = TaskMetadata().answer_task(f"/v4/deadbeef{below}")
    task = TaskMetadata(task_mode="broken")
    failed = task.answer_task(f"/v4/{task.task_id}{below}")

    assert (unknown.status, unknown.content_type) == (404, "application/json")
    assert json.loads(unknown.body).endswith(": deadbeef")
    assert (failed.status, failed.content_type) == (500, "application/json")
    assert isinstance(json.loads(failed.body), str)
    if not below:
        assert json.loads(unknown.body) == sample("tmds-v4-error-404-unknown-id.json")


@pytest.mark.parametrize("below", ["/", "/tasks", "/task/", "/task/x"])
def test_a_path_that_the_agent_does_not_know_is_not_found(below: str) -> None:
    task = TaskMetadata()

    answer = task.answer_task(f"/v4/{task.task_id}{below}")

    assert (answer.status, answer.body) == (404, b"404 page not found\n")


def test_it_is_limited_for_so_many_requests_of_any_kind() -> None:
    task = TaskMetadata(task_limited=2)
    path = f"/v4/{task.task_id}/task"

    answers = [task.answer_task("/v4/deadbeef"), *(task.answer_task(path) for _ in range(2))]

    assert [one.status for one in answers] == [429, 429, 200]
    assert answers[0].body == b"You have reached maximum request limit."
    assert answers[0].content_type.startswith("text/plain")


def test_the_agents_limit_is_a_burst_of_60_and_then_40_a_second() -> None:
    time = SpareTime()
    task = TaskMetadata(clock=time.clock, task_rate_limit=TokenBucket())

    def count_allowed(of: int) -> int:
        return sum(task.answer_task(f"/v4/{task.task_id}").status == 200 for _ in range(of))

    assert count_allowed(100) == 60
    time.freeze(1)
    assert count_allowed(100) == 40
    time.freeze(0.5)
    assert count_allowed(100) == 20
    time.freeze(3600)
    assert count_allowed(100) == 60


def test_below_the_agents_limit_nothing_is_refused() -> None:
    time = SpareTime()
    task = TaskMetadata(clock=time.clock, task_rate_limit=TokenBucket())

    for _ in range(400):
        time.freeze(1 / 40)
        assert task.answer_task(f"/v4/{task.task_id}").status == 200


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_is_sent_as_if_it_were_a_document(kind: str) -> None:
    task = TaskMetadata(task_garbage=GARBAGE[kind])

    answer = task.answer_task(f"/v4/{task.task_id}/task")

    assert answer == Answer(200, GARBAGE[kind], "application/json")


def test_a_document_of_many_megabytes_is_right_for_who_reads_it() -> None:
    large = many_megabytes(sample("tmds-v4-task-fargate.json"), count=2)

    assert len(large) > 2_000_000
    assert json.loads(large) == sample("tmds-v4-task-fargate.json")


def test_the_metadata_file_is_written_twice() -> None:
    initial, ready = (json.loads(metadata_file(one).read_text()) for one in ("initial", "ready"))

    assert "MetadataFileStatus" not in initial
    assert ready["MetadataFileStatus"] == "READY"
    assert initial["HostPrivateIPv4Address"] == ready["HostPrivateIPv4Address"] == "10.0.3.17"
