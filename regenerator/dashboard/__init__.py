"""What people see of a frontend: its page, its API, its metrics, its history.

A process of its own beside the regenerator, which feeds it: a firehose of requests, or a crowd of
viewers, must not keep routes waiting. It writes nothing that anything is served by; while it is
away nginx answers with the pages of the generation instead.
"""
