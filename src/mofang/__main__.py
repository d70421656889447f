"""The command line: ``mofang`` and ``python -m mofang``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run one command; every mistake a user can make ends here in two plain sentences and an exit status."""
    from mofang.cli.group import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
