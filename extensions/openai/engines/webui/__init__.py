"""The model that text-generation-webui has loaded, in any version and with any loader.

`engine.py` looks the host's modules up by name at every use and caches none, so the next request sees a model
that was switched in the UI. Differences between three years of versions are detected from signatures,
settings and classes. Each loader has an adapter (`loaders/`). A static table (`ui_state.FALLBACK`) supplies
values that a version's settings lack, with all samplers off.

A model is changed under `SwappableEngine.suspended()`: running requests may finish or get one error, new ones
are asked to retry, and the webui's own lock is held, so that its UI does not generate meanwhile. Without
its UI (`--nowebui`) a webui's main thread ends when everything is loaded, and Python then shuts down the
thread pools that libraries load models with; `hosts/webui.py: keep_alive` prevents that.

- *Transformers in all versions.* The host calls `model.generate` itself, under its lock, in its own thread.
  No version shows each token to an extension, and the oldest does not show logits. So
  `loaders/transformers.py` wraps the loaded model's `generate` once; it recognises our calls by their
  `max_new_tokens`, an `int` that carries the request (and `typical_p`, as extensions may overwrite the
  other), and passes all others through. In ours, a logits processor records log-probabilities before any
  sampler and applies `logit_bias` and grammars (llguidance), and a stopping criterion gets each token.
- *No request stops another.* Our calls leave out the host's criteria that stream to its UI and that stop
  everything: its Stop button does not end an API answer. Ours ends by its own criterion, within one step;
  the host's lock is released after that step, not before.
- *Text is decoded from the tokens' bytes*, as with llama.cpp. The host's text drops updates and U+FFFD.
- *Loaders that yield the whole text* (`TextAdapter`) have no such steps: deltas are cut from the text, and
  tokens are counted by the loader or, if several answers share its counter, by its tokenizer. `logit_bias`
  is passed to loaders that support it.
- *llama.cpp's server*, a child process of the host: `loaders/llama_server.py` replaces the host's call, which
  keeps its lock, its slots and its names of samplers, and queries the server itself for token ids, counts and
  log-probabilities. The server is built without llguidance; its own grammar supports less than ours and
  converts schemas loosely. So answers are matched here, by llguidance with the model's vocabulary (from the
  GGUF file's header). At the first token that does not fit, the call is ended, one token is sampled among
  those that fit (`logit_bias`), and a new call continues from the cache: `llamacpp/grammar/segments.py` says
  why that is the same distribution. It can enforce whatever our own engine can. Pictures and sounds are sent
  as bytes, with marks in the prompt; such a prompt has no token ids to continue from in a new call, so it
  cannot be combined with a grammar (400). The tokenizer of this loader is the model itself, which the host
  frees when nothing references it: so we hold it weakly.
- *llama-cpp-python*, the earlier loader, calls `Llama.create_completion`; our calls are answered by
  `Llama.generate`, which yields tokens and takes a logits processor, like Transformers
  (`sampling/session.py`).
- *ExLlamaV3* is driven by the host in this process. Its `generate_with_streaming` makes a job from a state;
  if the state is ours, we capture the job when it is made (`loaders/exllamav3.py`). Samplers, their order and
  the seed stay the host's; the prompt's tokens, a filter (llguidance, `logit_bias`) and the logits in the
  results are ours. Then we run it: in the host's thread for all jobs if it has one, else under its lock. A
  filter must not raise, because that would end all jobs; it ends the answer instead, which becomes the error.
- *Prompts* are rendered here, with the model's own template: the host's builder merges and strips messages.
- *`mode` and `character`* go through the host's own prompt builder, with an unlimited context: a prompt that
  does not fit is a 400, never cut. A named template is rendered here, also one in the format before Jinja.
- *An extension that generates in the model's place* (`custom_generate_reply`) may relay what the model
  generates. So our part in the loader runs as usual, and its pieces are held back until the extension yields
  their text (`answers/relay.py`); from the first difference the extension's text is used, and sent when it is
  complete.
"""
