"""Stands in for the database's own check program: repeats what a small server answers.

``in_maintenance_mode`` and ``hes_cutoff_date_check YYYYMM`` send their words as one line to the
host and port of ``DATABASE_URL``, and print what comes back until the server closes. So whoever
plays the database decides the answer. It runs inside a container, with nothing but the standard
library.
"""

import os
import socket
import sys
from urllib.parse import urlsplit

COMMANDS = {"in_maintenance_mode": 0, "hes_cutoff_date_check": 1}
"""The number of words that follow each."""
PATIENCE = 10.0


def main(words: list[str]) -> None:
    """Ask, and print the answer."""
    if not words or COMMANDS.get(words[0]) != len(words) - 1:
        sys.exit("usage: in_maintenance_mode | hes_cutoff_date_check YYYYMM")
    url = urlsplit(os.environ.get("DATABASE_URL", ""))
    if url.hostname is None or url.port is None:
        sys.exit("DATABASE_URL names no host and port")
    try:
        with socket.create_connection((url.hostname, url.port), PATIENCE) as database:
            database.settimeout(None)
            database.sendall(" ".join(words).encode() + b"\n")
            while part := database.recv(4096):
                sys.stdout.write(part.decode())
    except OSError as error:
        sys.exit(f"The database does not answer: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
