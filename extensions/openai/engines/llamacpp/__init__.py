"""llama.cpp, in this process or as a server: what it does by itself, and what is done about it.

xllamacpp calls back once per token; `iterate_callback` turns that into a generator. Its HTTP listener
cannot be switched off, so it is bound to a unix socket in a private folder, behind a random key.

- *Counts* come from the totals that llama.cpp sends with each token, not from counting callbacks: a
  character that is spread over tokens is one callback.
- *Stop strings* are not passed on: llama.cpp loses text that it held back when an answer ends by length.
- *The cache* holds a whole context for each slot where memory allows. Then slots are kept apart, and an
  answer is the same to the last bit whatever runs beside it. Where memory does not allow it, the slots
  share what there is. A shared cache that is full makes llama.cpp end every running answer with an error,
  so a request whose worst case does not fit waits (`slot_pool.py`).
- *Log-probabilities* come for a token only when its text is complete, so of a character that is spread over
  tokens only the last one's. The others are found by their bytes (`engines/tokens/vocabulary.py`) and asked
  for again, in a slot of their own. So that no special token is hidden among them, llama.cpp is asked for
  the names of these (`preserved_tokens`), which are taken out of the text again by their ids.
- *A character that `max_tokens` cuts* llama.cpp drops with all of its tokens, also with what stood before
  it in the first one (` \\xf0\\x9f` holds a space, `и\\xd0` a letter). The last chunk counts these tokens and
  no others, so U+FFFD is put there and nowhere else; what stood before it is asked for again
  (`token_scoring.hidden_text`: the likeliest tokens that leave a character incomplete). Asking for a few
  tokens more each time would be exact without a question, as it is done with log-probabilities, but costs
  each answer that ends by its limit one step.
- *Grammars* go to llguidance, which is built into llama.cpp, as Lark. llama.cpp takes a malformed one for
  none at all, and compiles each on the thread that all answers share, where the library recurses, and may
  need minutes or all memory. So each is compiled first in a helper process
  (`generation/grammar/compiling/worker.py`): in a fork of it, with a stack of 1 MiB where the engine's
  thread has 8, 768 MiB of memory and 200 ms of CPU time, with the model's vocabulary, and followed for some
  steps on random ways. What ends the fork, takes longer than 70 ms, or fails on the way is a 400; results
  are remembered. Short grammars go before long ones (`queueing.py` there), small and plain ones are not
  tried at all (`simple_grammars.py`), and two that take the engine long do not come to it right after each
  other. One that is too large for the library is dropped without a word while it samples, so what comes
  is matched once more, character by character (`grammar/enforce.py`), and ends in an error at the first
  that does not fit.
- *One tokenizer for grammars* is kept by llama.cpp for the whole process, in a static variable without a
  lock, known by the address of its vocabulary: a model loaded where another one was freed would get the
  other one's tokens. So it is given to a model of 69 kB that stays (`grammar/shared_tokenizer.py`) before
  its owner is freed or changes, and grammars of two models are never made at once. It is made when a model
  is loaded, as it takes a moment with a large vocabulary.
- *The end of a grammar* is a token that llama.cpp may not take for the end of an answer (gpt-oss:
  `<|end|>`). Which one it is is tried out at load (`EngineInfo.grammar_end`); an answer ends there once its
  grammar is complete.
- *Vocabularies of SentencePiece with a space before each text* (Llama 2, the first Mistral) are misread:
  llama.cpp gives the library each token's text by `llama_detokenize`, which drops the space. A model is
  tried with a short grammar when it is loaded; where the answer is another text, its answers are matched
  here instead (`grammar/matched_answers.py`), as those of a webui's server are: llama.cpp samples freely,
  and a token that does not fit is sampled once more among those that do.
- *Two versions of llguidance* are at work, the one inside of llama.cpp and Python's. Random answers of the
  older one, matched by the newer one (38 grammars, 60 answers each), differ in one thing: it allows `\\/` in
  keys that a schema does not name. `enforce._Matching` reads that as `/`.
- *Penalties* count the prompt as well as what was sampled. OpenAI's do not, so the prompt's share is given
  back by `logit_bias` (`penalties.py`), which cannot change during a call: an answer under a presence
  penalty is gone on with in a new call each time a token of the prompt is sampled for the first time
  (`penalty_restart.py`; the cache makes that cheap: 300 tokens after a prompt of 479 took as long as
  without). *Samplers* that llama.cpp does not know by name it leaves out without a word, so names are
  checked before.
- *Several choices* are separate generations (the second one finds the prompt in the cache), because
  llama.cpp counts the tokens of only one.
- *Tiny models* run on one thread; on a busy machine a second one makes such short steps slower, not faster.
- *Media* are given to llama.cpp as bytes only, never as an address, which it would fetch from. They are
  decoded and encoded again here (`generation/media/`), as llama.cpp ends the whole process at a sound of one
  sample, and knows no WebP. With an encoder loaded, xllamacpp's call for completions takes neither token
  ids nor media, so they go through the socket.
- *Repeatable*: the same request gives the same answer, greedy or seeded, alone or among others. Only with a
  shared cache rounding depends on what else runs, and a seeded answer may, rarely, take another turn.
"""
