"""All git access of the product, through the command-line client (docs/spec/controller.md 13,
docs/spec/agent.md 7.4).

::

    remote.py    where a repository really is: proxy, credentials
    answers.py   what a remote that git failed at has answered
    process.py   one run of ``git``: environment, time limit, what is logged
    cache.py     bare repositories on disk, one per study: fetch, read, check out
"""

from rap.git.cache import FETCH_WAITS, GitCache, git_cache
from rap.git.process import WHAT_IS_HERE, WITHIN_A_CREATE, TimeLimits

__all__ = ["FETCH_WAITS", "WHAT_IS_HERE", "WITHIN_A_CREATE", "GitCache", "TimeLimits", "git_cache"]
