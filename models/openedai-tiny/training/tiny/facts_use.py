"""Facts about the endpoints and the parameters of a request."""

from __future__ import annotations

from tiny.fact import APP, HOW, WHAT, Fact

USE: tuple[Fact, ...] = (
    Fact(
        "docs",
        (
            (
                "(where|how) (is|are|can I find|do I find|can I read|can I see) the (API |"
                ")(docs|documentation|manual|docs page|help|reference)(?|)"
            ),
            f"{WHAT} the (docs|documentation|docs page)( address| URL|)(?|)",
            ("(docs|documentation|redoc|openapi|swagger|openapi.json|is there a docs page|is there documentation)(?|)"),
            ("(is there|do you have) (an OpenAPI|a Swagger|an openapi.json) (file|page|description|schema)(?|)"),
        ),
        ("On which page can I read the documentation?", "Where would I find the API docs?"),
        ("The docs are at /docs, also at /redoc and /openapi.json. 📚",),
        ("/docs",),
    ),
    Fact(
        "health",
        (
            (
                f"{HOW} (check|see|know|test|find out) (if|whether|that) {APP} is (up|alive|"
                f"healthy|running|ready|ok)(?|)"
            ),
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
            (f"{HOW} (list|see|get|show) (the |all |available |your |)(models|model list|model names)(?|)"),
            "(which|what) models (are there|are available|do you have|are loaded|can I use)(?|)",
            ("(where|which endpoint) (is|has|gives|lists|shows) the (list of models|models|model list)(?|)"),
            "(models|list models|/v1/models|model list)(?|)",
        ),
        ("Where do I see a list of the models?", "What models can I choose from here?"),
        ("The models are listed at /v1/models.",),
        ("/v1/models",),
    ),
    Fact(
        "completions",
        (
            (
                "(where|which path|which endpoint|what path|what endpoint) (is|are|does|has|do "
                "I use for) (plain |text |legacy |)completions(?|)"
            ),
            f"{HOW} (complete|continue) (a |plain |some |)text( without chat|)(?|)",
            ("(text completion|completions endpoint|legacy completions|/v1/completions|plain completions)(?|)"),
            "is there an endpoint for (plain |text |legacy |)completions(?|)",
        ),
        ("Which endpoint is there for plain text completions?", "What path do text completions use?"),
        ("Plain text completions are at /v1/completions.",),
        ("/v1/completions",),
    ),
    Fact(
        "chat",
        (
            (
                "(where|which path|which endpoint|what path|what endpoint) (is|are|does|has|do "
                "I use for) (the |)chat( completions|)(?|)"
            ),
            (f"{HOW} (chat|send messages|send a chat message|use chat completions|call the chat endpoint)(?|)"),
            ("(chat endpoint|chat completions|chat completion|/v1/chat/completions|the chat API)(?|)"),
        ),
        ("Which endpoint takes chat messages?", "What path should my chat requests go to?"),
        ("Chat is at /v1/chat/completions: send a list of messages.",),
        ("/v1/chat/completions",),
    ),
    Fact(
        "stop_server",
        (
            f"{HOW} (stop|quit|end|shut down|kill|close|exit|halt|turn off) {APP}(?|)",
            ("(stop the server|quit the server|shutting down|shut down|which keys stop the server)(?|)"),
        ),
        ("How can I shut the server down again?", "Which key press ends the program?"),
        ("Press Ctrl-C to stop the server.",),
        ("Ctrl-C",),
    ),
    Fact(
        "context",
        (
            (
                f"{HOW} (change|set|raise|increase|grow|enlarge|configure|choose) (the |your |"
                f")(context|context length|context size|context window|window)(?|)"
            ),
            ("(how long|how big|how large) (is|can) (the|your) (context|context window|context length)( be|)(?|)"),
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
            (
                f"{HOW} (serve|handle|answer|run|allow) (several|many|more|parallel|two|four|"
                f"multiple) (requests|users|clients|people)( at once| at the same time| in "
                f"parallel|)(?|)"
            ),
            (
                f"(can|does) {APP} (serve|handle|answer|support) (several|many|more than one|"
                f"parallel|multiple) (requests|users|clients)( at once| at the same time|)(?|)"
            ),
            "(parallel|parallel requests|concurrency|concurrent requests|slots)(?|)",
        ),
        ("Can two clients be answered at once?", "How do I let many users in at the same time?"),
        ("Use --parallel 4 to answer four requests at the same time.",),
        ("--parallel",),
    ),
    Fact(
        "mock",
        (
            (
                "(what is|what's|tell me about|explain|how do I use|how do I turn on|how can I "
                "switch on) (the |)mock (mode|API|api|server|answers)(?|)"
            ),
            (f"{HOW} (test|run|start|use) (it|the server|the API|my client) without (a|any) model(?|)"),
            "(mock|mock mode|USE_MOCK_API|is there a mock mode|fake answers)(?|)",
        ),
        ("Could I run the API with no model, only mock answers?", "Which variable turns the mock API on?"),
        ("Set USE_MOCK_API=true: then the server gives mock answers without a model.",),
        ("USE_MOCK_API",),
    ),
    Fact(
        "licence",
        (
            (
                f"(what|which|under what|under which) (licence|license) (does {APP} have|is "
                f"{APP} under|is used|applies|do you have|is it)(?|)"
            ),
            f"(is|are) {APP} (open source|free software|free|free to use)(?|)",
            "(licence|license|MIT|is it MIT|may I use it at work|can I use it commercially)(?|)",
        ),
        ("What's the licence of this project?", "Is this software free and open source?"),
        ("OpenedAI has the MIT licence.",),
        ("MIT",),
    ),
    Fact(
        "stop_strings",
        (
            (f"{HOW} (use|set|give|send|add) (a |)stop (strings|string|sequences|sequence|words|word)(?|)"),
            f"{HOW} (stop|cut|end) (the|an) answer at (a|some|a certain) (word|string|text)(?|)",
            "(what|how) (is|does|about) (the |)stop (parameter|strings|sequences)( work| do|)(?|)",
            "(stop strings|stop sequences|stop parameter|stop words|how many stop strings)(?|)",
        ),
        ("How many stop sequences may I send?", "Which parameter cuts the answer at some word?"),
        (('Use the "stop" parameter: up to 4 strings, and the answer ends before the first one found.'),),
        ('"stop"',),
    ),
    Fact(
        "seed",
        (
            (
                f"{HOW} (get|have|make|receive) (the same answer|repeatable answers|the answer "
                f"repeatable|deterministic answers|reproducible answers|equal answers)( twice| "
                f"again| every time|)(?|)"
            ),
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
            ("(what|how) (is|does|about) (the |)temperature( do| mean| for| work| parameter| zero| 0|)(?|)"),
            (
                f"{HOW} (make|get|have) (greedy|less random|more random|more creative|boring|"
                f"sober) (answers|text|output|sampling)(?|)"
            ),
            ("(temperature|temperature 0|greedy|sampling|what does temperature 0 mean|randomness)(?|)"),
        ),
        ("What happens with temperature 0?", "Explain the temperature parameter to me."),
        (("The temperature sets how random the answer is. Temperature 0 is greedy: always the likeliest word."),),
        ("greedy",),
    ),
    Fact(
        "max_tokens",
        (
            (
                f"{HOW} (limit|shorten|cap|bound|restrict) (the |an |your |)(answer|answers|"
                f"output|reply|length|answer length)(?|)"
            ),
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
            (
                f"{HOW} (see|count|know|find|get) (the |how many |)(tokens|token count|token "
                f"counts|tokens I used|number of tokens)(?|)"
            ),
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
            (
                f"{HOW} (reach|use|call|open|access|connect to) {APP} from (another|a "
                f"different|some other) (machine|computer|host|device|laptop)(?|)"
            ),
            (
                f"{HOW} (listen on|open it to|serve|share it on|offer it on) (the|my|all) "
                f"(network|LAN|interfaces|local network)(?|)"
            ),
            "(listen|--listen|remote access|network access|LAN|another machine)(?|)",
            "can (my phone|my laptop|others|another computer) (use|reach|call) (it|the server)(?|)",
        ),
        ("Can a different computer on my network call it?", "How do I open the server to other machines?"),
        ("From another machine: start with --listen and set a key with --api-key. 🔒",),
        ("--listen",),
    ),
    Fact(
        "public",
        (
            (
                f"{HOW} (make|get|open|have|use|create) (it public|a public address|a public "
                f"URL|a public tunnel|a tunnel|the API public)(?|)"
            ),
            f"{HOW} (reach|use|call) {APP} from the (internet|web|outside)(?|)",
            "(public|public api|--public-api|tunnel|public tunnel|public URL)(?|)",
        ),
        ("How can people on the internet reach my server?", "Is there a way to have a public tunnel?"),
        ("A public tunnel opens with --public-api; set a key with --api-key first.",),
        ("--public-api",),
    ),
    Fact(
        "project",
        (
            (
                "(what is|what's|tell me about|explain|describe|what does) (OpenedAI|opened ai|"
                "this project|the OpenedAI project|the project)( do|)(?|)"
            ),
            "(what can|what is) (this|the) (server|API)( do| for|)(?|)",
            "(about|about OpenedAI|OpenedAI)(?|)",
        ),
        ("Can you describe the OpenedAI project?", "What is this OpenedAI thing?"),
        (
            (
                "OpenedAI is a local server that speaks the OpenAI API: chat, completions, "
                "streaming and tools, all on your own machine."
            ),
        ),
        ("local server", "OpenAI API"),
    ),
    Fact(
        "tools",
        (
            (
                f"(do|does|can) (you|{APP}) (support|call|use|know|do) (tools|functions|tool "
                f"calls|function calls|function calling|tool calling)(?|)"
            ),
            f"{HOW} (use|call|send|offer) (tools|functions|function calling|tool calling)(?|)",
            "(tools|tool calls|function calling|functions|tool calling)(?|)",
        ),
        ("Is function calling something you can do?", "How do I offer a tool to you?"),
        (('Send a list in "tools". If one fits, I answer with tool_calls, and you send back a tool message. 🔧'),),
        ("tool_calls", '"tools"'),
    ),
)
