import pytest

from rap.git.progress import Progress, progress_in, without_progress

pytestmark = pytest.mark.unit

SAID = (
    b"remote: Enumerating objects: 3, done.\nremote: Counting objects:  50% (1/2)\r"
    b"Receiving objects:  33% (1/3)\rReceiving objects:  66% (2/3), 5.20 MiB | 512.00 KiB/s\r"
)


@pytest.mark.parametrize(
    ("said", "progress"),
    [
        (b"", None),
        (b"remote: Counting objects: 100% (3/3), done.\r", None),
        (SAID, Progress(66, "5.20 MiB")),
        (SAID[:-40], Progress(33, "")),
        (
            b"Unpacking objects: 100% (7/7), 812 bytes | 203.00 KiB/s, done.\n",
            Progress(100, "812 bytes"),
        ),
        (SAID + b"Resolving deltas:  10% (1/10)\r", Progress(66, "5.20 MiB")),
    ],
)
def test_the_last_progress_that_git_wrote_counts(said: bytes, progress: Progress | None) -> None:
    assert progress_in(said) == progress


def test_lines_that_git_wrote_over_are_as_they_were_in_the_end() -> None:
    assert without_progress(b"a\rb\rc\nfatal: no\r\n") == b"c\nfatal: no\n"
