"""What tells one storage from another: a number drawn by lot when it is first used.

Hosts of a backend that report the same one share their files; others must not run its jobs.
"""

import secrets
from contextlib import suppress
from pathlib import Path

from rap.errors import JobFault
from worker_agent.atomic_files import write_file

FILE = ".storage-id"


def storage_id(high_privacy: Path) -> str | None:
    """The id of the storage, which is made when there is none; ``None`` if the disk does not obey.

    Of two hosts that make one at the same time, both get that of the first.
    """
    path = high_privacy / FILE
    try:
        if not path.exists():
            made = secrets.token_hex(16)
            draft = high_privacy / f"{FILE}.{made}"
            write_file(draft, made.encode())
            try:
                with suppress(FileExistsError):
                    path.hardlink_to(draft)
            finally:
                draft.unlink(missing_ok=True)
        return path.read_text().strip()
    except (OSError, JobFault):
        return None
