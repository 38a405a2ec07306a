"""Runs a server as on a machine of less memory: `-m benchmarks.small_machine BYTES MODULE ARGUMENTS...`."""

from __future__ import annotations

import runpy
import sys

from extensions.openai.engines.llamacpp.loading import params


def main() -> None:
    memory, module, *arguments = sys.argv[1:]
    setattr(params, "memory_bytes", lambda: int(memory))  # noqa: B010
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__")


if __name__ == "__main__":
    main()
