"""Project files for the tests, and where they lie."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def case(name: str) -> bytes:
    """The project file of this name."""
    return (HERE / f"{name}.yaml").read_bytes()


def printed(program: str, count: int) -> bytes:
    """The project file that a program prints."""
    command = [sys.executable, str(HERE / f"{program}.py"), str(count)]
    return subprocess.run(command, check=True, capture_output=True).stdout
