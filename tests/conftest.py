"""What every test has: properties that do not fail because the machine is busy."""

from hypothesis import HealthCheck, settings

# A slow example on a busy machine says nothing about the code. 50 examples instead of 100 keep the
# suite within seconds; every run draws others.
settings.register_profile(
    "shared",
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile("shared")
