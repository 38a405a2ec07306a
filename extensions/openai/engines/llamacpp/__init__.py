"""llama.cpp, in this process or as a server: its behaviour, and our workarounds.

xllamacpp calls back once per token; `iterate_callback` turns that into a generator. Its HTTP listener
cannot be switched off, so it is bound to a unix socket in a private folder, behind a random key.

- *Token counts* come from the totals that llama.cpp sends with each token, not from counting callbacks: a
  character that spans tokens is one callback.
- *Stop strings* are not passed on: llama.cpp loses text that it held back when an answer ends by length.
- *The cache* holds a whole context for each slot if memory allows. Then slots are separate, and an answer is
  bit-identical whatever else runs. Otherwise the slots share the cache. A full shared cache makes llama.cpp
  end every running answer with an error, so a request whose worst case does not fit waits (`slot_pool.py`).
- *Log-probabilities* are reported only for a token that completes its text, so for a character that spans
  tokens only the last one's. The others are found by their bytes (`engines/tokens/vocabulary.py`) and scored
  again, in a separate slot. Special tokens could hide among them, so llama.cpp is asked to write their names
  (`preserved_tokens`), which are removed from the text by token id.
- *A character that `max_tokens` cuts* is dropped by llama.cpp with all of its tokens, including the text
  before it in the first token (` \\xf0\\x9f` holds a space, `и\\xd0` a letter). The last chunk counts these
  tokens and no others, so U+FFFD goes there and nowhere else; the text before it is queried
  (`token_scoring.hidden_text`: the likeliest tokens that leave a character incomplete). Requesting a few
  tokens more, as with log-probabilities, would be exact without a query, but would cost every answer that
  ends by its limit one step.
- *Grammars* go to llguidance, which is built into llama.cpp, as Lark. llama.cpp ignores a malformed grammar,
  and compiles each on the thread that all answers share, where the library recurses and may need minutes or
  all memory. So each is first compiled in a helper process (`generation/grammar/compiling/worker.py`): in a
  fork with 1 MiB of stack (the engine's thread has 8), 768 MiB of memory and 200 ms of CPU time, with the
  model's vocabulary, followed by some random steps. A grammar that kills the fork, takes longer than 70 ms
  or fails is a 400; results are cached. Short grammars go before long ones (`queueing.py` there), small and
  simple ones are not tried at all (`simple_grammars.py`), and two slow ones never reach the engine back to
  back. llama.cpp silently drops a grammar that becomes too large while sampling, so the answer is matched
  again, character by character (`grammar/enforce.py`), and fails at the first mismatch.
- *The tokenizer for grammars* is one per process in llama.cpp, in a static variable without a lock,
  identified by the address of its vocabulary: a model loaded where another one was freed would get the old
  one's tokens. So it is handed to a permanent model of 69 kB (`grammar/shared_tokenizer.py`) before its owner
  is freed or changes, and grammars of two models are never compiled at once. It is built when a model is
  loaded, because that takes a moment with a large vocabulary.
- *The end of a grammar* is a token that llama.cpp may not treat as the end of an answer (gpt-oss: `<|end|>`).
  It is determined at load (`EngineInfo.grammar_end`); an answer ends there once its grammar is complete.
- *SentencePiece vocabularies with a space before each text* (Llama 2, the first Mistral) are misread:
  llama.cpp gets each token's text for the library from `llama_detokenize`, which drops the space. Each model
  is tried with a short grammar at load; if the answer does not follow it, its answers are matched here
  (`grammar/matched_answers.py`), like those of a webui's server: llama.cpp samples freely, and a token that
  does not fit is sampled again among those that do.
- *Two versions of llguidance* are in use, llama.cpp's and Python's. Random answers of the older one, matched
  by the newer one (38 grammars, 60 answers each), differ in one thing: it allows `\\/` in keys that a schema
  does not name. `enforce._Matching` reads that as `/`.
- *Penalties* count the prompt as well as sampled tokens. OpenAI's do not, so `logit_bias` cancels the
  prompt's share (`penalties.py`). A bias cannot change during a call, so an answer under a presence penalty
  continues in a new call each time a prompt token is sampled for the first time (`penalty_restart.py`; the
  cache makes that cheap: 300 tokens after a prompt of 479 took as long as without). *Samplers* with unknown
  names are silently skipped by llama.cpp, so names are checked first.
- *Several choices* are separate generations, because llama.cpp counts the tokens of only one. One of them
  reads the prompt, up to its last token; what its slot holds then is saved to a file in memory, and restored
  into the slots of the others. The same is done for requests that come while another one reads a prompt that
  begins like theirs (`prompt_cache/`). A slot that goes to another prompt is saved likewise, in place of
  llama.cpp's own cache, which tells no callers apart, gives away what it has once only, and empties idle
  slots that share the KV cache.
- *Tiny models* run on one thread; on a busy machine a second one makes such short steps slower.
- *Media* are passed to llama.cpp as bytes, never as a URL, which it would fetch. They are decoded and encoded
  again here (`generation/media/`), because llama.cpp aborts the process on a sound of one sample and does
  not know WebP. With an encoder loaded, xllamacpp's completion call takes neither token ids nor media, so
  they go through the socket.
- *Reproducible*: the same request gives the same answer, greedy or seeded, alone or among others. Only with a
  shared cache rounding depends on what else runs, and a seeded answer may, rarely, differ; likewise with
  weights for which llama.cpp has different code for one and for several tokens (Q4_K). A request with a seed
  uses nothing that was read before; its choices use what one of them has read.
"""
