"""Entry point of ``python -m bptt``; the commands are in `bptt.cli`."""

import sys

from bptt.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
