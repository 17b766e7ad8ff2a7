import pytest

from rap.errors import RequestRefused
from rap.models import PrivacyLevel, ProjectAction, RefusalKind
from rap.project import parse_project

pytestmark = pytest.mark.unit


def project(*actions: str, version: int | str = "4", rest: str = "") -> bytes:
    """A project file of actions given as ``name: {…}`` in YAML's flow style."""
    lines = "\n".join(f"  {action}" for action in actions)
    return f"version: {version}\n{rest}\nactions:\n{lines}\n".encode()


def step(
    name: str = "a",
    run: str = "python:v2 a.py",
    outputs: str = "highly_sensitive: {out: a.csv}",
    more: str = "",
) -> str:
    return f"{name}: {{run: {run!r}, outputs: {{{outputs}}}{more}}}"


def parse(text: bytes) -> dict[str, ProjectAction]:
    return {action.name: action for action in parse_project(text)}


def refusal(text: bytes) -> str:
    with pytest.raises(RequestRefused) as caught:
        parse_project(text)
    assert caught.value.kind is RefusalKind.PROJECT
    return str(caught.value)


def rule(text: bytes) -> str:
    """What comes after the heading of a broken rule."""
    heading, _, sentence = refusal(text).partition("\n")
    assert heading == "Invalid project: "
    return sentence


# --- what an action becomes ---


@pytest.mark.spec("controller:38", "controller:39")
@pytest.mark.parametrize(
    ("run", "config", "command"),
    [
        ("python:v2   a.py    --x  1", "", "python:v2 a.py --x 1"),
        ('python:v2 "a b.py" --x="1 2"', "", "python:v2 'a b.py' '--x=1 2'"),
        (
            "python:latest python action/__main__.py output/input.csv",
            ', config: {"option": "value"}',
            (
                "python:latest python action/__main__.py output/input.csv "
                """--config '{"option": "value"}'"""
            ),
        ),
        (
            "python:v2 a.py",
            ', config: {"option": "it\'s"}',
            """python:v2 a.py --config '{"option": "it\\u0027s"}'""",
        ),
    ],
)
def test_the_command_is_brought_into_normal_form(run: str, config: str, command: str) -> None:
    text = project(step(run=run, more=config))
    assert parse(text)["a"].run_command == command


@pytest.mark.spec("controller:40")
@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ("ehrql:v1 generate-dataset a.py --output a.csv", True),
        ("ehrql:v1 generate-measures a.py --output a.csv", True),
        ("sqlrunner:v1 x", True),
        ("sqlrunner:v1", True),
        ("databuilder:v1 generate-dataset a.py --output a.csv", True),
        ("ehrql:v1 assure", False),
        ("ehrql:v1", False),
        ("ehrql:v1 --x generate-dataset", False),
        ("python:v2 generate-dataset", False),
        ("other:v1 generate-dataset", False),
    ],
)
def test_only_trusted_commands_reach_the_database(run: str, expected: bool) -> None:
    assert parse(project(step(run=run)))["a"].requires_db is expected


@pytest.mark.spec("controller:41")
def test_outputs_hold_only_the_levels_in_the_file() -> None:
    outputs = "moderately_sensitive: {t: t.csv, p: p.png}, highly_sensitive: {d: d.feather}"
    action = parse(project(step(outputs=outputs)))["a"]
    assert action.outputs == {
        PrivacyLevel.HIGHLY_SENSITIVE: {"d": "d.feather"},
        PrivacyLevel.MODERATELY_SENSITIVE: {"t": "t.csv", "p": "p.png"},
    }


def test_actions_keep_the_order_of_the_file_and_their_needs() -> None:
    b = step("b", run="python:v2 b.py", outputs="highly_sensitive: {o: b.csv}", more=", needs: [a]")
    found = parse_project(project(b, step("a")))
    assert [(action.name, action.needs) for action in found] == [("b", ("a",)), ("a", ())]


def test_names_that_yaml_reads_as_numbers_are_names() -> None:
    assert parse(project("1: {run: 'python:v2 x', outputs: {highly_sensitive: {2: a.csv}}}"))


# --- rules of the library, which we only pass on ---


@pytest.mark.spec("controller:24", "controller:26")
def test_the_same_command_twice() -> None:
    second = step("b", outputs="highly_sensitive: {out: b.csv}")
    assert rule(project(step("a"), second)) == (
        "Action b has the same 'run' command as other actions: a"
    )


@pytest.mark.spec("controller:27")
def test_a_file_type_that_level_4_does_not_take() -> None:
    assert rule(project(step(outputs="moderately_sensitive: {x: x.dta}"))) == (
        "Output path x.dta is invalid: x.dta is not an allowed file type for "
        "moderately_sensitive outputs"
    )


@pytest.mark.spec("controller:28")
def test_an_image_without_a_version() -> None:
    assert rule(project(step(run="python a.py"))) == (
        "Action command python must have a version specified in the form :vN (e.g. python:v2)"
    )


@pytest.mark.spec("controller:29")
def test_latest_is_accepted_in_version_4_and_rejected_in_version_5() -> None:
    assert parse(project(step(run="python:latest a.py"), version=4))
    assert rule(project(step(run="python:latest a.py"), version=5)) == (
        "Action a uses `python:latest`, which is not supported. Provide a version e.g. `:v2` "
        "instead"
    )


@pytest.mark.spec("controller:30")
def test_run_all_as_an_action_is_rejected_in_version_5() -> None:
    assert rule(project(step("run_all"), version=5)) == (
        "`run_all` is a reserved action name and is not allowed for user-defined actions."
    )
    assert parse(project(step("run_all"), version=4))


@pytest.mark.spec("controller:31")
def test_an_unknown_need() -> None:
    assert rule(project(step("a", more=", needs: [nope]"))) == (
        "Action `a` references an unknown action in its `needs` list: nope"
    )


@pytest.mark.spec("controller:32")
@pytest.mark.parametrize(
    ("run", "text"),
    [
        (
            "ehrql:v1 generate-dataset d.py",
            (
                "`a` action does not provide an `--output` argument specifying where the results "
                "of `generate-dataset` should be stored"
            ),
        ),
        (
            "ehrql:v1 generate-dataset d.py --output other.csv",
            (
                "output specification must match the `--output` argument in the `run` command\n"
                "              got: a.csv\n"
                "but was expecting: other.csv"
            ),
        ),
    ],
)
def test_a_dataset_action_must_say_where_its_output_goes(run: str, text: str) -> None:
    assert rule(project(step(run=run))) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"actions: {}", "Project file must have a `version` attribute specifying which version"),
        (b"version: x\nactions: {}", "`version` must be a number between 1 and 5"),
        (b"version: 4", "Project `actions` section must be a dictionary of key/value pairs"),
        (b"version: 4\nfoo: 1\nactions: {}", "Unexpected parameters (foo) in project"),
        (project("a: x"), "Configuration for action a must be a dictionary"),
        (project("a: {run: 'python:v2 x'}"), "Action a must contain a configuration for 'outputs'"),
        (project(step(outputs="")), "must specify at least one output of: highly_sensitive"),
        (project(step(run="")), "run must have a value, a has an empty run key"),
        (
            project(step(), step("b", run="python:v2 b.py")),
            "Output path a.csv is not unique",
        ),
        (
            project(step(more=", needs: ['b c']")),
            "`needs` actions should be separated with commas, but a needs `b c`",
        ),
        (project(step(run="cohortextractor:v1 x")), "Action a uses cohortextractor actions"),
        (
            project(step(), rest="expectations: {population_size: 1}"),
            "Project includes `expectations` section, which is not supported in this version.",
        ),
        (project(step(), version=3), "Project must include `expectations` section"),
    ],
)
def test_other_rules_reach_the_author_in_the_same_form(text: bytes, expected: str) -> None:
    assert rule(text).startswith(expected)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("a\\\\b.csv", "contains back slashes (use forward slashes only)"),
        ("**.csv", "contains '**' (only the * wildcard character is supported)"),
        ("a?.csv", "contains '?' (only the * wildcard character is supported)"),
        ("a", "output paths must have a file type extension at the end"),
        ("a/../b.csv", "is not in standard form (contains double slashes or '..' elements)"),
        ("metadata/a.csv", "should not include the metadata directory"),
        ("/a.csv", "is an absolute path"),
        ("c:/a.csv", "is an absolute path"),
    ],
)
def test_an_output_pattern_that_is_refused_is_named_with_the_reason(
    pattern: str, reason: str
) -> None:
    text = project(step(outputs=f'highly_sensitive: {{x: "{pattern}"}}'))
    shown = pattern.replace("\\\\", "\\")
    assert rule(text) == f"Output path {shown} is invalid: {reason}"


def test_what_is_not_yaml_is_told_in_the_words_of_the_parser() -> None:
    assert '"<byte string>", line 3' in refusal(b"version: 4\nactions: [\n")
    assert 'found duplicate key "version"' in refusal(b"version: 4\nversion: 5\n")


# --- what the library stumbles over ---


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "The file must be a dictionary of key/value pairs, with `version` and `actions`"),
        (b"- a", "The file must be a dictionary of key/value pairs, with `version` and `actions`"),
        (b"1: 2", "The names of the sections must be strings"),
        (
            b"version: 6\nactions: {}",
            "Project `version` is 6, but the latest version known here is 5",
        ),
        (
            b"version: '6'\nactions: {}",
            "Project `version` is 6, but the latest version known here is 5",
        ),
        (
            project(step(run='python:v2 "x')),
            "`run` section cannot be split into words (No closing quotation) for action a",
        ),
        (project(step(run="  ")), "`run` section is empty for action a"),
        (
            project(step(more=", needs: [1]")),
            "`needs` section must be a list of action names, which are strings, for action a",
        ),
        (project(step(more=", 1: 2")), "Unexpected parameters for action a"),
        (project(step(more=", action_id: b")), "Unexpected parameters for action a"),
        (
            project(step(outputs="1: {x: x.csv}")),
            "Unexpected parameters in `outputs` section for action a",
        ),
        (
            project(step(more=", config: {day: 2020-01-01}")),
            (
                "`config` section for action a cannot be written as JSON: "
                "Object of type date is not JSON serializable"
            ),
        ),
        (b"version: 5\ncls: 1\nactions: {}", "The file has a structure that cannot be understood"),
        (b"[" * 1000, "The file is nested too deeply"),
        (b"#" * 5_000_000, "The file is too large"),
    ],
)
def test_what_the_rules_do_not_foresee_is_told_too(text: bytes, sentence: str) -> None:
    assert rule(text) == sentence


def test_a_few_lines_cannot_stand_for_gigabytes() -> None:
    layers = "\n".join(
        f"      l{number}: &l{number} [{', '.join([f'*l{number - 1}'] * 10)}]"
        for number in range(1, 10)
    )
    text = (
        "version: 4\nactions:\n  a:\n    run: python:v2 a.py\n"
        "    outputs: {highly_sensitive: {o: a.csv}}\n"
        f"    config:\n      l0: &l0 [1, 2, 3]\n{layers}\n"
    )
    assert rule(text.encode()) == ("The aliases and merge keys stand for more than 50,000 entries")


def test_a_config_larger_than_any_command_is_refused() -> None:
    text = project(step(more=f", config: {{text: '{'x' * 140_000}'}}"))
    assert rule(text) == "`config` section for action a is too large"


def test_a_command_longer_than_any_kernel_takes_is_refused() -> None:
    long = project(step(run="python:v2 " + "x" * 140_000))
    assert rule(long) == "The `run` command of action a is too long"
