"""`turnout` with some arguments, and a last line on stderr: the most memory that it had, in MB.

Run as a module, since what the system says of a child begins with its parent's. The first argument
is how many MB it holds besides, for negative controls.
"""

import sys

from tests.reliability.reading_child import peak_mb
from turnout.cli import main

if __name__ == "__main__":
    held = b"x" * (int(sys.argv[1]) * 2**20)
    status = main(sys.argv[2:])
    sys.stderr.write(f"{peak_mb()}\n")
    sys.exit(status)
