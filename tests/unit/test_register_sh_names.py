"""Names in ``docker/register.sh``: keys, labels and passwords are what Python makes of them."""

import json
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.keys import encode
from registry.names import branch_slug, digits, long_labels, short_labels, slug
from tests.shell_process import SCRIPT, SHELLS, Shell, find_shell

HOSTILE = [
    "main",
    "feature/ü",
    "a'b$(touch x)\"; ",
    "日本",
    "\u212aelvin/\u0130x\u0130",  # the two letters that become ASCII in lower case
    "Feature/JIRA-123_Foo.Bar",
    "--x--",
    "-n",
    "%41",
    "\\n\\\\0101",
    "x" * 62,
    "x" * 63,
    "x" * 64,
    "x-" * 31 + "y",
    "a-" * 40,
    "branchfront",
    "~._-",
    " * ",
    "🦊\U0010ffff",
    "y" * 512,
]

EACH = """
while IFS= read -r given; do
  given=$(printf '%b' "$given")
  given=${given%.}
  {body}
done
"""
"""Names come in as printf's %b reads them, with a full stop that keeps what $() would strip."""

LABELS = """
  _digits=$(printf '%s' "$given" | sha256sum)
  slug "$given"
  _stem=${_slug:-b-$(printf '%.6s' "$_digits")}
  encode "$given"
  printf '%s\\n' "$_encoded" "$_slug" "$(forms '' | tr '\\n' ' ')" "$(forms -web | tr '\\n' ' ')"
"""


@pytest.fixture(scope="module", params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return find_shell(request.param, tmp_path_factory.mktemp("tools"))


def told(shell: Shell, body: str, names: list[str]) -> list[str]:
    """What the script's own functions make of names; a line each."""
    functions, _, _ = SCRIPT.read_text().partition("\n# ---- the program")
    lines = ["".join(f"\\0{byte:03o}" for byte in name.encode()) + "." for name in names]
    done = subprocess.run(
        [*shell.arguments, "-c", functions + EACH.replace("{body}", body)],
        env=shell.environ({}),
        input="".join(f"{line}\n" for line in lines).encode(),
        capture_output=True,
        check=True,
    )
    assert not done.stderr, done.stderr
    return done.stdout.decode().split("\n")[:-1]


def expected(name: str) -> list[str]:
    forms = [" ".join(found) for found in (short_labels(name), long_labels(name, "web"))]
    return [encode(name), slug(name), *(f"{found} " for found in forms)]


def check(shell: Shell, names: list[str]) -> None:
    lines = told(shell, LABELS, names)

    found = [lines[at : at + 4] for at in range(0, len(lines), 4)]
    assert found == [expected(name) for name in names]


def test_hostile_names_have_the_keys_and_labels_that_python_gives_them(shell: Shell) -> None:
    check(shell, HOSTILE)


# as few examples as it takes: each is twenty processes
@settings(max_examples=5)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1).filter(
            lambda name: len(name.encode()) <= 512
        ),
        min_size=5,
        max_size=10,
    )
)
def test_any_name_has_the_keys_and_labels_that_python_gives_it(
    shell: Shell, names: list[str]
) -> None:
    check(shell, names)


def test_no_other_letter_becomes_ascii_in_lower_case() -> None:
    """The script spells out the two that do; a newer Unicode may not add to them unnoticed."""
    found = [
        char
        for char in map(chr, range(0x80, 0x110000))
        if any(low.isascii() and low.isalnum() for low in char.lower())
    ]

    assert found == ["\u0130", "\u212a"]


@pytest.mark.parametrize("service", ["b-c", "s" * 36, "s" * 37, "s" * 40])
def test_labels_with_a_long_service_are_those_of_python(shell: Shell, service: str) -> None:
    names = ["a-b", "x" * 30, "日本"]
    body = LABELS.replace("forms -web", f"forms -{service}")

    lines = told(shell, body, names)

    assert lines[3::4] == ["".join(f"{one} " for one in long_labels(x, service)) for x in names]


def test_passwords_arrive_as_they_are(shell: Shell) -> None:
    names = ["p w", 'a"b\\c', "100%", "ü€", "$(id)`id`", "tab\there", "'", "%25%41%zz%4"]

    lines = told(
        shell, 'json "$given"; decode "$given"; printf "%s\\n" "$_json" "$_decoded"', names
    )

    assert [json.loads(f'"{line}"') for line in lines[::2]] == names
    assert lines[1::2] == [unquote(name) for name in names]
    # curl reads up to a blank
    assert not any(" " in line or "\t" in line for line in lines[::2])


def test_nothing_of_an_answer_is_read_as_a_setting_of_curls(shell: Shell) -> None:
    body = '_endpoint=e _seconds=1 _options= _token=\n  requests kv/put "$given" || echo refused'

    lines = told(shell, body, ['{"ID":"1"}', '{"ID":"1\noutput=/etc/passwd"}', '{"ID":"1 2"}'])

    assert lines[:2] == ["url = e/v3/kv/put", 'data-binary = {"ID":"1"}']
    assert lines[-2:] == ["refused", "refused"]
    assert not any("output" in line for line in lines)


def test_digits_of_a_branch_without_a_letter(shell: Shell) -> None:
    lines = told(shell, LABELS, ["日本"])

    assert lines[2].split()[0] == branch_slug("日本") == f"b-{digits('日本')}"


def test_the_file_is_read_by_shells_as_it_lies_there() -> None:
    assert SCRIPT.read_text().startswith("#!/bin/sh\n")
    assert Path(SCRIPT).stat().st_mode & 0o111
