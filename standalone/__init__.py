"""A whole frontend on one machine: etcd and nginx as child processes, and sample branches.

Here belongs what finds, starts, watches and ends the programs. How routes are made and how nginx
is driven is the regenerator's; what the registry holds is the registry's.
"""
