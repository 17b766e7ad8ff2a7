"""Python's garbage collector, as it suits a process that serves for weeks."""

import gc

_YOUNG = 20_000
_PER_OLDER = 20


def collect_less() -> None:
    """Make the collector look less often, and never again at what is there already.

    As Python sets it up, it goes through everything that was imported and all workflows that are
    kept at hand, again and again: a fifth of the controller's processor time. What has no cycles is
    freed at once in any case; of the rest some megabytes may stay for longer. To be called once,
    when all is imported.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _PER_OLDER, _PER_OLDER)
