"""What all programs share: names, keys, records, snapshot, faults, and the store over etcd.

The programs meet only here. ``names``, ``keys``, ``records``, ``claims``, ``snapshot`` and
``wire`` are pure: no IO, no clock, no environment. ``etcd`` is the one module that talks to etcd.
"""
