"""Which functions of which of our files run in one chat (after warm-up)."""
import sys, threading, time, json, collections, socket
sys.path.insert(0, ".")
from pathlib import Path
from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
import tests.conftest as c
from tests.support.wire import ask
import tests.guards.test_files_of_a_request as g
import pytest
OURS=g.OURS
class P: pass
def test_it(serve, random_model):
    seen = collections.Counter()
    def hook(frame, event, arg):
        if event=="call" and frame.f_code.co_filename.startswith(OURS):
            seen[(frame.f_code.co_filename.removeprefix(OURS), frame.f_code.co_qualname)]+=1
    threading.setprofile(hook)
    engine = LlamaCppEngine(random_model, name="random", threads=1)
    port = serve(engine, api_key="k").port
    runs=[]
    for _ in range(4):
        seen.clear()
        a = ask(port, "POST", "/v1/chat/completions", g.CHAT, authorization="Bearer k")
        assert a.status==200, a.body
        time.sleep(0.8)
        runs.append(dict(seen))
    threading.setprofile(None)
    engine.close()
    keys=set.intersection(*[set(r) for r in runs[1:]])
    by=collections.defaultdict(list)
    for f,n in keys: by[f].append(f"{n}x{runs[-1][f,n]}")
    with open("/tmp/lean/trace.txt","w") as o:
        print(len(by), sum(runs[-1].values()), file=o)
        for f in sorted(by): print(f, "|", ", ".join(sorted(by[f])), file=o)
