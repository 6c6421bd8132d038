"""Beside each nginx: watch, settle, routes, render, validate, apply, confirm, report.

``routes``, ``settle`` and ``render`` are pure. ``nginx`` runs the one nginx, ``generations`` owns
the state folder, ``pipeline`` joins them, ``daemon`` loops. Nothing here is imported by another
program.
"""
