"""What a browser lets a page of ours do."""

import base64
import hashlib

from hypothesis import given
from hypothesis import strategies as st

from regenerator.policy import content_security_policy


def rules_of(policy: str) -> dict[str, list[str]]:
    """The sources by the directive, as a browser reads them."""
    found = [rule.split() for rule in policy.split(";")]
    rules = {words[0]: words[1:] for words in found}
    assert len(rules) == len(found), "a browser takes the first of two alike"
    return rules


def digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@given(styles=st.lists(st.text()), scripts=st.lists(st.text()))
def test_what_is_in_the_page_is_allowed_and_nothing_else(
    styles: list[str], scripts: list[str]
) -> None:
    rules = rules_of(content_security_policy(styles=styles, scripts=scripts))

    assert rules["default-src"] == ["'none'"]
    assert rules.get("style-src", []) == list(dict.fromkeys(map(digest, styles)))
    assert rules.get("script-src", []) == list(dict.fromkeys(map(digest, scripts)))
    assert rules["connect-src"] == ["'self'"]
    assert rules["base-uri"] == rules["frame-ancestors"] == ["'none'"]


def test_a_page_without_scripts_may_have_none() -> None:
    policy = content_security_policy(styles=["a{}"], scripts=[])

    assert "script-src" not in policy
    assert "unsafe" not in policy


def test_it_can_stand_in_quotes_in_an_nginx_configuration() -> None:
    policy = content_security_policy(styles=["\"$;\n'{}"], scripts=["\\"])

    assert not set(policy) & set('"$\\\n{}')
