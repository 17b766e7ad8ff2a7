"""The text about inputs that are not what their action filed."""

import pytest

from rap.egress import Fault
from worker_agent.workspace.replaced_inputs import Filer, InputsReplaced, ReplacedInput

pytestmark = pytest.mark.unit


def replaced(name: str = "out/x.csv", **facts: object) -> ReplacedInput:
    values = {"job_id": "a1", "action": "a", "sha256": "1" * 64, "found_sha256": "2" * 64}
    return ReplacedInput.model_validate({"name": name, **values, **facts})


def test_a_file_is_named_with_both_hashes_and_who_filed_them() -> None:
    failed = Filer(job_id="a2", action="a", succeeded=False)
    fault = InputsReplaced(0, [replaced(found=failed)])
    assert fault.fault is Fault.INPUT_REPLACED
    assert str(fault) == (
        "An input made by a was replaced by another job since; please run a again. "
        "See job log for details.\n"
        "  out/x.csv\n"
        f"    wanted: sha256 {'1' * 64}, filed by job a1 of a\n"
        f"    found:  sha256 {'2' * 64}, filed by job a2 of a, which failed"
    )


def test_what_is_not_known_is_said() -> None:
    other = Filer(job_id="b1", action="b")
    text = str(InputsReplaced(0, [replaced(sha256=None, action="", found=other)]))
    assert "An input made by an earlier job was replaced" in text
    assert "wanted: a hash that is not on record, filed by job a1" in text
    assert text.endswith("filed by job b1 of b")
    by_hand = str(InputsReplaced(0, [replaced()]))
    assert by_hand.endswith("no job on record filed this: it was changed by hand")


def test_of_many_files_the_first_are_listed() -> None:
    text = str(InputsReplaced(0, [replaced(f"out/{number}") for number in range(60)]))
    assert "out/49\n" in text
    assert "out/50" not in text
    assert text.endswith("and 10 more, see metadata.json")
