"""Announces a service: the container's entrypoint, the sidecar, and commands for a hand.

``keep`` keeps one registration alive for ever, ``registration`` runs it beside whatever is
announced and takes it out in order, ``entrypoint`` and ``sidecar`` are the programs around it.
"""
