"""``python -m api``: the HTTP facade as a process.

Exit status: 0 after SIGTERM or Ctrl-C, 1 if it cannot listen, 2 for a setting to be mended.
"""

import os
import signal
import sys
from types import FrameType

from api import metrics, serving
from rap.errors import ConfigurationError
from rap.settings import ApiSettings, RecordsSettings, load
from rap.telemetry import logs


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def main() -> None:
    """Run the process."""
    # Before it serves, a signal ends the process; while it serves, requests are finished first.
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    try:
        settings = load(ApiSettings)
        logs.configure(settings.loglevel)
        with metrics.served(settings.metrics_address, processes=settings.rap_api_workers):
            serving.run(settings, load(RecordsSettings).url)
        code = 0
    except ConfigurationError as error:
        print(error, file=sys.stderr)  # noqa: T201
        code = 2
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    sys.stdout.flush()
    sys.stderr.flush()
    # The SDK's threads may abort the interpreter's own way out; that must not become our code.
    os._exit(code)


if __name__ == "__main__":
    main()
