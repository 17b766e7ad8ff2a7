"""All git access of the product, through the command-line client (controller.md 13, agent.md 7.4).

::

    remote.py    where a repository really is: proxy, credentials
    process.py   one run of ``git``: environment, time limit, what is logged
    cache.py     bare repositories on disk, one per study: fetch, read, check out
"""

from rap.git.cache import FETCH_WAITS, GitCache, git_cache
from rap.git.process import TimeLimits

__all__ = ["FETCH_WAITS", "GitCache", "TimeLimits", "git_cache"]
