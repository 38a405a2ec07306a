"""The command `openedai`.

In a clone this folder stands beside `host` and `extensions`. A wheel has both of them inside of it, so that
they are no names of their own among all installed packages. Either way ROOT is the folder that holds them,
and it is put on the path of this process.
"""

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
ROOT = _HERE if (_HERE / "host").is_dir() else _HERE.parent

if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
