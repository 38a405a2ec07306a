"""The door of the stand-alone host: `python server.py --model MODEL --extensions openai`.

All it does is check the Python version and hand over to `host.main`; `--help` lists every flag,
those of the loaded extensions included.
"""

import sys

if sys.version_info < (3, 10):
    # Said before any import that would fail with a SyntaxError instead of a reason.
    sys.exit("error: Python 3.10 or newer is needed, this is %d.%d" % sys.version_info[:2])

from host.main import main

if __name__ == "__main__":
    sys.exit(main())
