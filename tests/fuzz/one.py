"""One target under libFuzzer: ``python -m tests.fuzz.one TARGET [libFuzzer's arguments]``."""

import sys

import atheris

# What is fuzzed is instrumented as it is loaded, so it must not have been loaded before.
with atheris.instrument_imports(include=["registry", "regenerator"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    program, target, *rest = sys.argv
    atheris.Setup([program, *rest], TARGETS[target])
    atheris.Fuzz()
