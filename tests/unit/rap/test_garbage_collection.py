import subprocess
import sys

import pytest

pytestmark = pytest.mark.unit

PROGRAM = """
import gc, weakref
from rap.garbage_collection import collect_less

class Node: pass

old = [Node() for _ in range(100)]
collect_less()
assert gc.get_freeze_count() > 100, "what is there is not gone through again"
assert not any(one in (old[0], Node) for one in gc.get_objects())

made = set()
most = 0
for _ in range(200_000):
    node = Node()
    node.itself = node
    ref = weakref.ref(node, made.discard)
    made.add(ref)
    most = max(most, len(made))
assert most < 100_000, f"{most} in cycles were left"
"""


def test_the_collector_leaves_the_old_alone_and_still_frees_cycles() -> None:
    """In a process of its own, since it changes the collector for good."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
