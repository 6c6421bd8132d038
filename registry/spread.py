"""Pauses that differ a little, so that those who started together drift apart. Pure."""

import random

JITTER = 0.1
"""Part of a pause by which it varies."""


def vary(pause_s: float, rng: random.Random) -> float:
    """A pause, a tenth shorter or longer at most."""
    return pause_s * rng.uniform(1 - JITTER, 1 + JITTER)
