"""Names of actions: what is refused, and what stands for them where they could do harm."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rap.safe_names import safe_name, visible, what_misleads

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("name", ["a", "generate_dataset", "fit-1.2", "a" * 200, "A..b", "-x", "_"])
def test_a_safe_name_is_its_own_form(name: str) -> None:
    assert safe_name(name) == name


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("models/fit", "models_fit"),
        (".hidden", "_hidden"),
        ("..", "_."),
        ("a" * 210, "a" * 100),
        ("my action", "my_action"),
        ("größe", "gr__e"),
        ("one\ntwo", "one_two"),
        ("", ""),
    ],
)
def test_another_gets_a_start_that_is_safe_and_a_digest(name: str, start: str) -> None:
    digest = hashlib.sha256(name.encode()).hexdigest()
    assert safe_name(name) == f"{start}-{digest[:8]}"


def test_names_that_look_alike_stay_apart() -> None:
    assert len({safe_name(name) for name in ("a/b", "a_b", "a b", "a:b")}) == 4
    assert safe_name("a" * 210) != safe_name("a" * 211)


@given(st.text(st.characters()))
def test_every_form_is_safe_itself(name: str) -> None:
    form = safe_name(name)
    assert safe_name(form) == form
    assert len(form) <= 200


@pytest.mark.parametrize(
    "name",
    ["a", "models/fit", ".hidden", "a" * 210, "my action", "größe", "猫", "a..b", "...", "/x", "1"],
)
def test_what_can_be_read_is_no_reason_to_refuse(name: str) -> None:
    assert what_misleads(name) is None


@pytest.mark.parametrize(
    ("name", "reason", "shown"),
    [
        ("", "is blank", ""),
        ("  ", "is blank", "  "),
        ("one\ntwo", "contains characters that cannot be seen", r"one\ntwo"),
        ("a\tb", "contains characters that cannot be seen", r"a\tb"),
        ("a\rb", "contains characters that cannot be seen", r"a\rb"),
        ("fit\u202etxt", "contains characters that cannot be seen", r"fit\u202etxt"),
        ("a\u200b", "contains characters that cannot be seen", r"a\u200b"),
        ("a\u2028b", "contains characters that cannot be seen", r"a\u2028b"),
        ("a\u00a0b", "contains characters that cannot be seen", r"a\xa0b"),
        ("a\u3164b", "contains characters that cannot be seen", r"a\u3164b"),
        ("a\u061cb", "contains characters that cannot be seen", r"a\u061cb"),
        ("a\U000e0041", "contains characters that cannot be seen", r"a\U000e0041"),
        ("\x1b[31m", "contains characters that cannot be seen", r"\x1b[31m"),
        ("\ud800", "contains characters that cannot be seen", r"\ud800"),
        ("..", "contains '..' elements", ".."),
        ("a/../b", "contains '..' elements", "a/../b"),
        ("é" * 501, "is longer than 1,000 bytes", "é" * 501),
    ],
)
def test_a_name_that_can_only_mislead_is_refused_and_can_be_shown(
    name: str, reason: str, shown: str
) -> None:
    assert what_misleads(name) == reason
    assert visible(name) == shown
