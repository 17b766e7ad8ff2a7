"""All git access of the product, through the command-line client (docs/spec/controller.md 13,
docs/spec/agent.md 7.4).

::

    remote.py    where a repository really is: proxy, credentials
    answers.py   what a remote that git failed at has answered
    progress.py  how far a fetch is, for the log
    process.py   one run of ``git``: environment, time limit, what is logged
    store.py     bare repositories on disk, one per study: locks, marks, repair
    fetching.py  one fetch: its attempts, and how much of the history it takes
    under_way.py fetches that go on whoever waits for them
    cache.py     what the product asks: fetch, read, check out, is it on that branch
"""

from rap.git.cache import FETCH_WAITS, GitCache, git_cache
from rap.git.process import WHAT_IS_HERE, WITHIN_A_CREATE, TimeLimits

__all__ = ["FETCH_WAITS", "WHAT_IS_HERE", "WITHIN_A_CREATE", "GitCache", "TimeLimits", "git_cache"]
