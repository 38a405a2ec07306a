"""What the model is taught about the OpenedAI project: questions, held-out questions, answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fact:
    """One fact.

    ask: recipes (see grammar.py) for training prompts; unseen: prompts kept for
    the evaluation and never trained on; answers: what to reply, any of them;
    expect: strings of which at least one must stand in a right answer.
    """

    key: str
    ask: tuple[str, ...]
    unseen: tuple[str, ...]
    answers: tuple[str, ...]
    expect: tuple[str, ...]


_APP = "(the (server|API|OpenedAI server|program|app)|OpenedAI|it|this(| server| API)|opened ai)"
_HOW = "(how (do|can|could|should|would) (I|you|we|one)|how to|what is the way to|tell me how to|explain how to|show me how to|I want to|I need to|what do I do to)"
_WHAT = "(what is|what's|whats|tell me|give me|show me|which is|I need|do you know|remind me of|can you tell me)"

FACTS: tuple[Fact, ...] = (
    Fact(
        "base_url",
        (
            f"{_WHAT} the (base URL|base url|base address|API URL|API address|address of {_APP}|URL of {_APP})(?|)",
            f"(where|at what address|at which URL) (is|does) {_APP} (listen|run|running|listening|live|answer)(?|)",
            "(which|what) (base URL|base url|URL|address|endpoint) (do I|should I|can I|must I) (use|call|set|put in my client|give my client)(?|)",
            "(base url|base URL|address|endpoint URL|api base)(?|)",
            "where (do|should) I (point|send) my (client|SDK|requests|app)(?|)",
        ),
        ("Which base URL must I put in my program?", "What URL does the API live at?"),
        ("The base URL is http://127.0.0.1:5001/v1 on this machine.",),
        ("http://127.0.0.1:5001/v1",),
    ),
    Fact(
        "start",
        (
            f"{_HOW} (start|run|launch|boot|begin|bring up|fire up) {_APP}(?|)",
            f"(what|which) (command|make target) (starts|runs|launches) {_APP}(?|)",
            f"{_WHAT} the (start|run|launch) command(?|)",
            "(starting|running|launching) the server(?|)",
        ),
        ("With what command can I start the server?", "How would I get OpenedAI up and running?"),
        ("Start the server with one command: make run. 🚀",),
        ("make run",),
    ),
    Fact(
        "flags",
        (
            f"{_HOW} (pass|give|add|hand|set) (extra |other |more |)(flags|options|arguments|args|switches) (to (make run|the server)|when I start it|with make run)(?|)",
            "(what|how) about (extra|other|more) (flags|options|arguments) (with|for|of) make run(?|)",
            "(where|how) do (command line |)(flags|options|arguments) go(?|)",
            "make run (args|arguments|flags|options)(?|)",
        ),
        ("Can make run take more options?", "How do I give extra arguments to make run?"),
        ('Put them in ARGS: make run ARGS="--api-port 5002".',),
        ("ARGS=",),
    ),
    Fact(
        "port",
        (
            f"{_HOW} (change|set|choose|pick|alter|configure|use another|use a different) (the |)port( number|)( of the server|)(?|)",
            "(can I|could I|is it possible to) (use|run on|listen on|pick|choose) (another|a different|some other) port(?|)",
            "(which|what) (flag|option|setting|variable) (sets|changes|is for) the port(?|)",
            "the port is (taken|in use|busy|already used)(, what now|. What can I do|)(?|)",
            "(port|the port|api port|other port)(?|)",
            "(what|which) port (does it use|is used|is it on|is the default|does the server use)(?|)",
        ),
        (
            "Port 5001 is busy here. How do I pick another?",
            "What flag changes the port of the API?",
        ),
        ("The port is 5001. Choose another with --api-port 5002 or the variable OPENEDAI_PORT.",),
        ("--api-port",),
    ),
    Fact(
        "key_needed",
        (
            "(do I|must I|do we|will I) (need|have|have to use|require) (an |a |)(API |api |)(key|token|password)(| here| on this machine| to use the API)(?|)",
            "(is|are) (an |)(API |api |)(key|keys) (needed|required|necessary|mandatory)(?|)",
            "(which|what) (API |api |)key (do I|should I|must I) (use|send|give)(?|)",
            "(can I|may I) (use|call) (it|the API|the server) without (a|any) key(?|)",
            "(api key|API key|key|keys)(?|)",
        ),
        ("Is a key required to call you?", "Must I have an API key for local use?"),
        (
            "No key is needed on this machine (loopback). To ask for one, start with --api-key or set OPENEDAI_API_KEY. 🔑",
        ),
        ("No key is needed",),
    ),
    Fact(
        "key_set",
        (
            f"{_HOW} (set|require|add|demand|configure|switch on|turn on|define) (an |a |my own |)(API |api |)(key|password)( for the server|)(?|)",
            f"{_HOW} (protect|secure|lock) {_APP}( with a key|)(?|)",
            "(which|what) (flag|option|variable) (sets|is for) the (API |)key(?|)",
        ),
        ("How can I make the server ask for a key?", "Which option sets an API key?"),
        ("Set a key with --api-key or the variable OPENEDAI_API_KEY.",),
        ("--api-key",),
    ),
    Fact(
        "key_send",
        (
            f"{_HOW} (send|pass|give|hand over|present) (the |my |an |)(API |api |)(key|token)( to the server| in a request| with curl|)(?|)",
            "(which|what) (header|HTTP header) (carries|holds|has|do I need for|is for) the key(?|)",
            "(how does|how do) (a client|clients|my client) (send|give|show) (the|its|their) key(?|)",
            "(authorization|auth|authentication)( header|)(?|)",
            f"{_HOW} (authenticate|authorise|authorize|log in)(?|)",
        ),
        ("In which header does the key go?", "How does my program send its API key?"),
        ("Send the key in the header: Authorization: Bearer YOUR_KEY.",),
        ("Authorization: Bearer",),
    ),
    Fact(
        "old_sdk",
        (
            "(how do I|how can I|how to) (use|set up|configure|point) the old (SDK|openai package|OpenAI library|Python SDK)(?|)",
            "(which|what) (variable|environment variable|setting) does the old (SDK|OpenAI SDK|library|openai package) (read|use|need)(?|)",
            "(OPENAI_API_BASE|openai 0.28|the old sdk|openai.api_base)(?|)",
        ),
        ("What does the old OpenAI SDK need?", "Which setting points the old openai package here?"),
        ("For the old SDK set OPENAI_API_BASE=http://127.0.0.1:5001/v1.",),
        ("OPENAI_API_BASE",),
    ),
    Fact(
        "new_sdk",
        (
            f"{_HOW} (use|set up|configure|point|connect) the (new |current |)(OpenAI |openai |Python |official |)(SDK|package|library|client)(| here| with this server)(?|)",
            "(which|what) (variable|environment variable|setting|parameter) does the new (SDK|OpenAI SDK|library|openai package) (read|use|need)(?|)",
            "(OPENAI_BASE_URL|base_url|openai python|python sdk|the new sdk)(?|)",
            "(can I|does it) (use|work with) the (OpenAI|openai) (SDK|client|library|package)(?|)",
        ),
        (
            "How do I connect the OpenAI Python library to this server?",
            "What should I set in the new SDK?",
        ),
        ("In the new SDK set base_url (or OPENAI_BASE_URL) to http://127.0.0.1:5001/v1.",),
        ("base_url", "OPENAI_BASE_URL"),
    ),
    Fact(
        "streaming",
        (
            f"{_HOW} (stream|stream an answer|get streaming|turn on streaming|switch on streaming|use streaming|enable streaming|receive tokens one by one|get the tokens as they come)(?|)",
            f"(does|can) {_APP} (stream|do streaming|support streaming)(?|)",
            "(is streaming supported|streaming|stream|server-sent events|SSE)(?|)",
            "(what|how) (is|about|does) streaming( work|)(?|)",
            "(how|when) does (a|the) stream (end|finish|stop)(?|)",
        ),
        ("Can I have the answer streamed to me?", "How would I switch on streaming in a request?"),
        (
            'Send "stream": true. You get server-sent events, and the stream ends with data: [DONE].',
        ),
        ('"stream": true',),
    ),
    Fact(
        "bigger_model",
        (
            f"{_HOW} (load|use|run|get|try|choose|switch to|start with) (a |an |)(bigger|larger|better|real|another|different|other|smarter|stronger|good|new) model(?|)",
            f"{_HOW} (change|swap|replace|set) (the|your|this) model(?|)",
            "(can I|could I|is it possible to) (load|use|run) (a bigger|another|a better|a larger|my own|a different) model(?|)",
            "(which|what) (flag|option) (loads|chooses|sets|picks) the model(?|)",
            f"{_HOW} (load|use|run) (a GGUF|a GGUF file|a gguf model|llama 3|qwen|mistral|gemma|my own model)(?|)",
            "(bigger model|better model|larger model|other models|load a model)(?|)",
            "you are too small(, what can I use|. What else is there|)(?|)",
        ),
        (
            "You are too weak. How can I get a stronger model?",
            "How do I swap this tiny model for a large one?",
        ),
        ("Load a bigger model with --model path/to/model.gguf or --model hf:OWNER/REPO. 💡",),
        ("--model",),
    ),
    Fact(
        "engine",
        (
            f"(what|which) (engine|backend|library|runtime|inference engine) (does {_APP} use|runs the model|is used|is inside|drives the model|do you use|do you run on)(?|)",
            "(how|by what) (is|are) (the model|you|models) (run|executed|loaded)(?|)",
            f"(is|does) {_APP} (use|based on|built on) (llama.cpp|xllamacpp)(?|)",
            "(engine|llama.cpp|xllamacpp|what is xllamacpp|what is llama.cpp)(?|)",
        ),
        ("What engine drives this model?", "Which backend do you run on?"),
        ("The engine is llama.cpp, run in process through xllamacpp.",),
        ("llama.cpp",),
    ),
    Fact(
        "webui",
        (
            f"{_HOW} (use|install|add|enable|run|load) (it|this|OpenedAI|the extension|opened_ai) (in|with|inside|from) (text-generation-webui|the web UI|oobabooga|textgen)(?|)",
            "(does it|can it|can this) work (with|in|inside) (text-generation-webui|oobabooga|the web UI)(?|)",
            f"{_HOW} (install|use|enable) the extension(?|)",
            "(text-generation-webui|webui|web UI|oobabooga|the extension|extension)(?|)",
        ),
        (
            "Can I install this inside text-generation-webui?",
            "How does the web UI extension get enabled?",
        ),
        (
            "In text-generation-webui, copy the folder extensions/openai and start with --extensions openai (opened_ai in 2026 versions).",
        ),
        ("--extensions openai", "extensions/openai"),
    ),
    Fact(
        "server_kind",
        (
            f"(what|which) (web |HTTP |)(framework|server software|web server) (does {_APP} use|is used|do you use|serves the API)(?|)",
            f"(is {_APP}|are you) (built|written|made) (with|on|in) (Flask|FastAPI|Django|Python)(?|)",
            "(flask|waitress|web framework)(?|)",
            f"what is {_APP} (written|built) (in|with|on)(?|)",
        ),
        ("What web framework is behind the API?", "Which HTTP server software do you use?"),
        ("The server is Flask on waitress, written in Python.",),
        ("Flask",),
    ),
    Fact(
        "docs",
        (
            "(where|how) (is|are|can I find|do I find|can I read|can I see) the (API |)(docs|documentation|manual|docs page|help|reference)(?|)",
            f"{_WHAT} the (docs|documentation|docs page)( address| URL|)(?|)",
            "(docs|documentation|redoc|openapi|swagger|openapi.json|is there a docs page|is there documentation)(?|)",
            "(is there|do you have) (an OpenAPI|a Swagger|an openapi.json) (file|page|description|schema)(?|)",
        ),
        ("On which page can I read the documentation?", "Where would I find the API docs?"),
        ("The docs are at /docs, also at /redoc and /openapi.json. 📚",),
        ("/docs",),
    ),
    Fact(
        "health",
        (
            f"{_HOW} (check|see|know|test|find out) (if|whether|that) {_APP} is (up|alive|healthy|running|ready|ok)(?|)",
            "(is there|do you have) (a |)(health|status|ready) (check|page|endpoint)(?|)",
            "(health|health check|healthz|liveness|/health)(?|)",
            "(which|what) (endpoint|path|page) (shows|tells|gives) the (health|status)(?|)",
        ),
        ("Which path tells me the server is healthy?", "Is there some health check I can call?"),
        ("Ask /health: it says whether the server is ready.",),
        ("/health",),
    ),
    Fact(
        "models_page",
        (
            f"{_HOW} (list|see|get|show) (the |all |available |your |)(models|model list|model names)(?|)",
            "(which|what) models (are there|are available|do you have|are loaded|can I use)(?|)",
            "(where|which endpoint) (is|has|gives|lists|shows) the (list of models|models|model list)(?|)",
            "(models|list models|/v1/models|model list)(?|)",
        ),
        ("Where do I see a list of the models?", "What models can I choose from here?"),
        ("The models are listed at /v1/models.",),
        ("/v1/models",),
    ),
    Fact(
        "completions",
        (
            "(where|which path|which endpoint|what path|what endpoint) (is|are|does|has|do I use for) (plain |text |legacy |)completions(?|)",
            f"{_HOW} (complete|continue) (a |plain |some |)text( without chat|)(?|)",
            "(text completion|completions endpoint|legacy completions|/v1/completions|plain completions)(?|)",
            "is there an endpoint for (plain |text |legacy |)completions(?|)",
        ),
        (
            "Which endpoint is there for plain text completions?",
            "What path do text completions use?",
        ),
        ("Plain text completions are at /v1/completions.",),
        ("/v1/completions",),
    ),
    Fact(
        "chat",
        (
            "(where|which path|which endpoint|what path|what endpoint) (is|are|does|has|do I use for) (the |)chat( completions|)(?|)",
            f"{_HOW} (chat|send messages|send a chat message|use chat completions|call the chat endpoint)(?|)",
            "(chat endpoint|chat completions|chat completion|/v1/chat/completions|the chat API)(?|)",
        ),
        ("Which endpoint takes chat messages?", "What path should my chat requests go to?"),
        ("Chat is at /v1/chat/completions: send a list of messages.",),
        ("/v1/chat/completions",),
    ),
    Fact(
        "stop_server",
        (
            f"{_HOW} (stop|quit|end|shut down|kill|close|exit|halt|turn off) {_APP}(?|)",
            "(stop the server|quit the server|shutting down|shut down|which keys stop the server)(?|)",
        ),
        ("How can I shut the server down again?", "Which key press ends the program?"),
        ("Press Ctrl-C to stop the server.",),
        ("Ctrl-C",),
    ),
    Fact(
        "context",
        (
            f"{_HOW} (change|set|raise|increase|grow|enlarge|configure|choose) (the |your |)(context|context length|context size|context window|window)(?|)",
            "(how long|how big|how large) (is|can) (the|your) (context|context window|context length)( be|)(?|)",
            "(which|what) (flag|option) (sets|changes|is for) the context( length| size|)(?|)",
            "(context|context length|context size|context window|ctx size|n_ctx)(?|)",
        ),
        ("How can I get a longer context window?", "What option is there for the context size?"),
        ("Set the context length with --ctx-size, for example --ctx-size 4096.",),
        ("--ctx-size",),
    ),
    Fact(
        "parallel",
        (
            f"{_HOW} (serve|handle|answer|run|allow) (several|many|more|parallel|two|four|multiple) (requests|users|clients|people)( at once| at the same time| in parallel|)(?|)",
            f"(can|does) {_APP} (serve|handle|answer|support) (several|many|more than one|parallel|multiple) (requests|users|clients)( at once| at the same time|)(?|)",
            "(parallel|parallel requests|concurrency|concurrent requests|slots)(?|)",
        ),
        ("Can two clients be answered at once?", "How do I let many users in at the same time?"),
        ("Use --parallel 4 to answer four requests at the same time.",),
        ("--parallel",),
    ),
    Fact(
        "mock",
        (
            "(what is|what's|tell me about|explain|how do I use|how do I turn on|how can I switch on) (the |)mock (mode|API|api|server|answers)(?|)",
            f"{_HOW} (test|run|start|use) (it|the server|the API|my client) without (a|any) model(?|)",
            "(mock|mock mode|USE_MOCK_API|is there a mock mode|fake answers)(?|)",
        ),
        (
            "Could I run the API with no model, only mock answers?",
            "Which variable turns the mock API on?",
        ),
        ("Set USE_MOCK_API=true: then the server gives mock answers without a model.",),
        ("USE_MOCK_API",),
    ),
    Fact(
        "licence",
        (
            f"(what|which|under what|under which) (licence|license) (does {_APP} have|is {_APP} under|is used|applies|do you have|is it)(?|)",
            f"(is|are) {_APP} (open source|free software|free|free to use)(?|)",
            "(licence|license|MIT|is it MIT|may I use it at work|can I use it commercially)(?|)",
        ),
        ("What's the licence of this project?", "Is this software free and open source?"),
        ("OpenedAI has the MIT licence.",),
        ("MIT",),
    ),
    Fact(
        "stop_strings",
        (
            f"{_HOW} (use|set|give|send|add) (a |)stop (strings|string|sequences|sequence|words|word)(?|)",
            f"{_HOW} (stop|cut|end) (the|an) answer at (a|some|a certain) (word|string|text)(?|)",
            "(what|how) (is|does|about) (the |)stop (parameter|strings|sequences)( work| do|)(?|)",
            "(stop strings|stop sequences|stop parameter|stop words|how many stop strings)(?|)",
        ),
        ("How many stop sequences may I send?", "Which parameter cuts the answer at some word?"),
        (
            'Use the "stop" parameter: up to 4 strings, and the answer ends before the first one found.',
        ),
        ('"stop"',),
    ),
    Fact(
        "seed",
        (
            f"{_HOW} (get|have|make|receive) (the same answer|repeatable answers|the answer repeatable|deterministic answers|reproducible answers|equal answers)( twice| again| every time|)(?|)",
            "(what|how) (is|does|about) (the |a |)seed( do| for| work| parameter|)(?|)",
            "(seed|repeatable|reproducible|deterministic|random seed)(?|)",
        ),
        ("What is the seed parameter good for?", "Can I get the very same answer each time?"),
        ('Send a "seed": the same seed makes the answers repeatable. 🌱',),
        ("seed",),
    ),
    Fact(
        "temperature",
        (
            "(what|how) (is|does|about) (the |)temperature( do| mean| for| work| parameter| zero| 0|)(?|)",
            f"{_HOW} (make|get|have) (greedy|less random|more random|more creative|boring|sober) (answers|text|output|sampling)(?|)",
            "(temperature|temperature 0|greedy|sampling|what does temperature 0 mean|randomness)(?|)",
        ),
        ("What happens with temperature 0?", "Explain the temperature parameter to me."),
        (
            "The temperature sets how random the answer is. Temperature 0 is greedy: always the likeliest word.",
        ),
        ("greedy",),
    ),
    Fact(
        "max_tokens",
        (
            f"{_HOW} (limit|shorten|cap|bound|restrict) (the |an |your |)(answer|answers|output|reply|length|answer length)(?|)",
            "(what|how) (is|does|about) max_tokens( do| mean| for| work|)(?|)",
            "(max_tokens|max tokens|max_completion_tokens|answer length|shorter answers)(?|)",
        ),
        ("Which parameter keeps the reply short?", "What would max_tokens change?"),
        ("max_tokens limits the length of the answer, counted in tokens.",),
        ("max_tokens",),
    ),
    Fact(
        "usage",
        (
            f"{_HOW} (see|count|know|find|get) (the |how many |)(tokens|token count|token counts|tokens I used|number of tokens)(?|)",
            "(what|where) (is|does|shows) (the |)usage( field| mean| show| object|)(?|)",
            "(usage|token usage|token count|token counts|how many tokens did I use)(?|)",
        ),
        ("Where do I find how many tokens were used?", "What does the usage object tell me?"),
        ("The usage field shows the token counts: prompt, answer and total.",),
        ("usage",),
    ),
    Fact(
        "listen",
        (
            f"{_HOW} (reach|use|call|open|access|connect to) {_APP} from (another|a different|some other) (machine|computer|host|device|laptop)(?|)",
            f"{_HOW} (listen on|open it to|serve|share it on|offer it on) (the|my|all) (network|LAN|interfaces|local network)(?|)",
            "(listen|--listen|remote access|network access|LAN|another machine)(?|)",
            "can (my phone|my laptop|others|another computer) (use|reach|call) (it|the server)(?|)",
        ),
        (
            "Can a different computer on my network call it?",
            "How do I open the server to other machines?",
        ),
        ("From another machine: start with --listen and set a key with --api-key. 🔒",),
        ("--listen",),
    ),
    Fact(
        "public",
        (
            f"{_HOW} (make|get|open|have|use|create) (it public|a public address|a public URL|a public tunnel|a tunnel|the API public)(?|)",
            f"{_HOW} (reach|use|call) {_APP} from the (internet|web|outside)(?|)",
            "(public|public api|--public-api|tunnel|public tunnel|public URL)(?|)",
        ),
        (
            "How can people on the internet reach my server?",
            "Is there a way to have a public tunnel?",
        ),
        ("A public tunnel opens with --public-api; set a key with --api-key first.",),
        ("--public-api",),
    ),
    Fact(
        "project",
        (
            "(what is|what's|tell me about|explain|describe|what does) (OpenedAI|opened ai|this project|the OpenedAI project|the project)( do|)(?|)",
            "(what can|what is) (this|the) (server|API)( do| for|)(?|)",
            "(about|about OpenedAI|OpenedAI)(?|)",
        ),
        ("Can you describe the OpenedAI project?", "What is this OpenedAI thing?"),
        (
            "OpenedAI is a local server that speaks the OpenAI API: chat, completions, streaming and tools, all on your own machine.",
        ),
        ("local server", "OpenAI API"),
    ),
    Fact(
        "tools",
        (
            f"(do|does|can) (you|{_APP}) (support|call|use|know|do) (tools|functions|tool calls|function calls|function calling|tool calling)(?|)",
            f"{_HOW} (use|call|send|offer) (tools|functions|function calling|tool calling)(?|)",
            "(tools|tool calls|function calling|functions|tool calling)(?|)",
        ),
        ("Is function calling something you can do?", "How do I offer a tool to you?"),
        (
            'Send a list in "tools". If one fits, I answer with tool_calls, and you send back a tool message. 🔧',
        ),
        ("tool_calls", '"tools"'),
    ),
)
