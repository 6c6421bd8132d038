"""What is measured, against peers and against the goals; run by hand, never a timed test.

``python -m benchmarks [ROW...]`` prints one table. One module a topic (``latency``, ``burst``,
``pure``, ``throughput``, ``reloads``, ``memory``, ``containers``, ``scale``, ``traefik``), each
with functions that give lines of the table; ``frontend``, ``origin``, ``store``, ``load`` and
``probe`` are the nouns they share. Everything runs on loopback, real programs only, and is ended
afterwards. Linux only: it reads /proc and uses loopback addresses other than 127.0.0.1.
"""
