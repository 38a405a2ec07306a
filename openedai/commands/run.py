"""`openedai run [MODEL] [flags]`: the stand-alone host, as `python server.py` starts it."""

from host.main import main as main
