"""The server, and beside it what a test wants of its engine: the prompts it is given, and failures.

    python -m tests.agents.observed_server ...    as server.py

In the folder that OBSERVED names: `prompts.jsonl` gets each prompt as tokens; a file `fail` makes the
agent's next turn fail, `break` fails it in its middle, `slow` makes it slow. Each is for one answer, and is
removed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.protocol import GenerateRequest, Pieces
from host.main import main

FOLDER = Path(os.environ["OBSERVED"])
PAUSE = 0.02
PIECES_BEFORE_IT_BREAKS = 40
TOKENS_OF_A_TURN = 3_000
"""At least; side requests, for titles and memories, come beside them and are shorter."""
generate = LlamaCppEngine.generate


def observed(engine: LlamaCppEngine, request: GenerateRequest) -> Pieces:
    prompt = request.prompt
    tokens = engine.tokenize(prompt) if isinstance(prompt, str) else prompt
    with (FOLDER / "prompts.jsonl").open("a") as file:
        file.write(
            json.dumps(
                {"text": prompt if isinstance(prompt, str) else None, "tokens": list(tokens)}
            )
            + "\n"
        )
    if len(tokens) < TOKENS_OF_A_TURN:
        return generate(engine, request)
    if _taken("fail"):
        raise RuntimeError("the engine is to fail")
    pieces = generate(engine, request)
    if _taken("slow"):
        return _slow(pieces)
    return _broken(pieces) if _taken("break") else pieces


def _taken(name: str) -> bool:
    try:
        (FOLDER / name).unlink()
    except FileNotFoundError:
        return False
    return True


def _slow(pieces: Pieces) -> Pieces:
    for piece in pieces:
        time.sleep(PAUSE)
        yield piece


def _broken(pieces: Pieces) -> Pieces:
    count = 0
    for piece in pieces:
        yield piece
        count += piece is not None
        if count == PIECES_BEFORE_IT_BREAKS:
            yield None  # so that all these are sent
            pieces.close()
            raise RuntimeError("the engine is to fail in the middle")


if __name__ == "__main__":
    LlamaCppEngine.generate = observed  # type: ignore[method-assign, assignment]
    sys.exit(main())
