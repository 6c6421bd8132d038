#!/bin/sh
# Runs a command where etcd can be reached, as its user operator: a task on Fargate. Takes about a minute.
#
#   aws/operator.sh CLUSTER_STACK COMMAND...
#
#   aws/operator.sh branchfront-cluster registrar remove feature/login
#   aws/operator.sh branchfront-cluster regenerator release
#
# Prints what the command prints, and ends as it does; 69 where it could not be run.
set -eu

if [ $# -lt 2 ]; then
    echo "operator.sh: name the stack made of cluster.yaml, and a command, such as: branchfront-cluster registrar list" >&2
    exit 64
fi
stack=$1
shift

output() {
    aws cloudformation describe-stacks --stack-name "$stack" --query "Stacks[0].Outputs[?OutputKey=='$1'].OutputValue" --output text
}
words=
for word in "$@"; do
    words="$words,\"$(printf %s "$word" | sed 's/[\\"]/\\&/g')\""
done
cluster=$(output Cluster)
network=$(aws ssm get-parameter --name "/branchfront/$stack/operator-network" --query Parameter.Value --output text)
task=$(aws ecs run-task --cluster "$cluster" --task-definition "$(output Operator)" --launch-type FARGATE \
    --network-configuration "$network" \
    --overrides "{\"containerOverrides\":[{\"name\":\"operator\",\"command\":[${words#,}]}]}" \
    --query "tasks[0].taskArn" --output text)
if [ "$task" = None ]; then
    echo "operator.sh: Fargate has no room for a task now; try again" >&2
    exit 69
fi
aws ecs wait tasks-stopped --cluster "$cluster" --tasks "$task"
code=$(aws ecs describe-tasks --cluster "$cluster" --tasks "$task" --query "tasks[0].containers[0].exitCode" --output text)
if [ "$code" = None ]; then
    why=$(aws ecs describe-tasks --cluster "$cluster" --tasks "$task" --query "tasks[0].stoppedReason" --output text)
    echo "operator.sh: the task was not run: $why" >&2
    exit 69
fi
# a list in a list: one line each
aws logs get-log-events --log-group-name "$(output ServiceLogs)" --log-stream-name "operator/operator/${task##*/}" \
    --query "events[].[message]" --output text
exit "$code"
