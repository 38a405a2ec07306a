"""The model that text-generation-webui has loaded, whatever the version and the loader.

`engine.py` looks the host's modules up by name at every use and keeps nothing of them, so a model that is
switched in the UI is seen by the next request. What differs between versions of three years is found out
by looking: signatures, settings, classes. What differs between loaders is one adapter each (`loaders/`). A
static table (`ui_state.FALLBACK`) fills in what no settings say, with all samplers off.

A model is changed under `SwappableEngine.suspended()`: requests under way may end, or get one error, new
ones are asked to come again, and a webui's own lock is held, so that its UI does not generate meanwhile.
Without its UI (`--nowebui`) a webui's main thread ends when all is loaded, and Python then closes the
thread pools that libraries load models with; `hosts/webui.py: keep_alive` holds it before that.

- *Transformers in all versions.* A host calls `model.generate` itself, under its lock, in a thread of its
  own. No version shows an extension each token there, and the oldest shows none of the logits. So
  `loaders/transformers.py` wraps the loaded model's `generate` once; it recognises our calls by their
  `max_new_tokens`, an `int` that carries the request (and `typical_p`, as extensions may overwrite the
  other), and lets all others pass. In ours a logits processor records log-probabilities before any sampler
  and applies `logit_bias` and grammars (llguidance), and a stopping criterion gets each token.
- *No request stops another.* In our calls the host's own criteria that stream to its UI and that stop
  everything are left out: its Stop button does not end an API's answer. Ours ends by its own criterion,
  within one step, and the host's lock is free when the step is over, not before.
- *Text is made of the tokens' bytes*, as under llama.cpp, not of the host's text, which drops updates and
  U+FFFD.
- *Loaders that hand over the whole text* (`TextAdapter`) have no such steps: there deltas are cut from the
  text, and tokens are counted by the loader or, where several answers share its counter, by its tokenizer.
  `logit_bias` is handed to those that take it.
- *llama.cpp's server*, which the host runs as a child: the host's own call is made ours
  (`loaders/llama_server.py`), so its lock, its slots and its way to name samplers stay, and the server is
  asked by us: token ids, counts, log-probabilities. It is built without llguidance, and its own grammar
  takes less than ours and converts schemas loosely. So answers are matched here, by llguidance with the
  model's vocabulary (out of the GGUF file's head). At the first token that does not fit the call is ended,
  that one place is sampled among the tokens that do (`logit_bias`), and a new call goes on out of the
  cache: `llamacpp/grammar/segments.py` says why that is the same distribution. Whatever our own engine can
  enforce this can. Pictures and sounds go to it as bytes, with marks in the prompt; such a prompt has no
  token ids to go on with in a new call, so a grammar beside them is a 400. The tokenizer of this loader is
  the model itself, and a host frees it when nothing holds it: so we hold it weakly.
- *llama-cpp-python*, the loader before that, calls `Llama.create_completion`; ours is answered by
  `Llama.generate`, which yields tokens and takes a logits processor, as Transformers does
  (`sampling/session.py`).
- *ExLlamaV3* is driven by the host in this process. Its `generate_with_streaming` makes a job of a state;
  of a state that is ours we take the job over as it is made (`loaders/exllamav3.py`): so samplers, their
  order and the seed stay the host's, and the prompt's tokens, a filter (llguidance, `logit_bias`) and the
  logits among the results are ours. Then we run it: through the host's thread for all jobs where it has
  one, else under its lock. A filter that fails must not raise, which would end all jobs; it lets the answer
  end, and that becomes the error.
- *Prompts* are made here, of the model's own template: the host's builder merges and strips messages.
- *`mode` and `character`* go through the host's own prompt builder, with a context that is endless for it:
  what does not fit is a 400, never cut. A template by name is rendered here, also one in the form that came
  before Jinja.
- *What an extension generates in the model's place* (`custom_generate_reply`) may be what the model says.
  So our part in the loader goes on as ever, and its pieces are held back until the extension has said their
  text (`answers/relay.py`); from the first difference on the extension's text counts, which is sent when it
  is whole.
"""
