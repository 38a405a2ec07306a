"""Facts about starting, reaching and setting up the server."""

from __future__ import annotations

from tiny.fact import APP, HOW, WHAT, Fact

SETUP: tuple[Fact, ...] = (
    Fact(
        "base_url",
        (
            (f"{WHAT} the (base URL|base url|base address|API URL|API address|address of {APP}|URL of {APP})(?|)"),
            (f"(where|at what address|at which URL) (is|does) {APP} (listen|run|running|listening|live|answer)(?|)"),
            (
                "(which|what) (base URL|base url|URL|address|endpoint) (do I|should I|can I|"
                "must I) (use|call|set|put in my client|give my client)(?|)"
            ),
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
            f"{HOW} (start|run|launch|boot|begin|bring up|fire up) {APP}(?|)",
            f"(what|which) (command|make target) (starts|runs|launches) {APP}(?|)",
            f"{WHAT} the (start|run|launch) command(?|)",
            "(starting|running|launching) the server(?|)",
        ),
        ("With what command can I start the server?", "How would I get OpenedAI up and running?"),
        ("Start the server with one command: make run. 🚀",),
        ("make run",),
    ),
    Fact(
        "flags",
        (
            (
                f"{HOW} (pass|give|add|hand|set) (extra |other |more |)(flags|options|"
                f"arguments|args|switches) (to (make run|the server)|when I start it|with make "
                f"run)(?|)"
            ),
            ("(what|how) about (extra|other|more) (flags|options|arguments) (with|for|of) make run(?|)"),
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
            (
                f"{HOW} (change|set|choose|pick|alter|configure|use another|use a different) "
                f"(the |)port( number|)( of the server|)(?|)"
            ),
            (
                "(can I|could I|is it possible to) (use|run on|listen on|pick|choose) (another|"
                "a different|some other) port(?|)"
            ),
            "(which|what) (flag|option|setting|variable) (sets|changes|is for) the port(?|)",
            "the port is (taken|in use|busy|already used)(, what now|. What can I do|)(?|)",
            "(port|the port|api port|other port)(?|)",
            ("(what|which) port (does it use|is used|is it on|is the default|does the server use)(?|)"),
        ),
        ("Port 5001 is busy here. How do I pick another?", "What flag changes the port of the API?"),
        ("The port is 5001. Choose another with --api-port 5002 or the variable OPENEDAI_PORT.",),
        ("--api-port",),
    ),
    Fact(
        "key_needed",
        (
            (
                "(do I|must I|do we|will I) (need|have|have to use|require) (an |a |)(API |api |"
                ")(key|token|password)(| here| on this machine| to use the API)(?|)"
            ),
            "(is|are) (an |)(API |api |)(key|keys) (needed|required|necessary|mandatory)(?|)",
            "(which|what) (API |api |)key (do I|should I|must I) (use|send|give)(?|)",
            "(can I|may I) (use|call) (it|the API|the server) without (a|any) key(?|)",
            "(api key|API key|key|keys)(?|)",
        ),
        ("Is a key required to call you?", "Must I have an API key for local use?"),
        (
            (
                "No key is needed on this machine (loopback). To ask for one, start with "
                "--api-key or set OPENEDAI_API_KEY. 🔑"
            ),
        ),
        ("No key is needed",),
    ),
    Fact(
        "key_set",
        (
            (
                f"{HOW} (set|require|add|demand|configure|switch on|turn on|define) (an |a |my "
                f"own |)(API |api |)(key|password)( for the server|)(?|)"
            ),
            f"{HOW} (protect|secure|lock) {APP}( with a key|)(?|)",
            "(which|what) (flag|option|variable) (sets|is for) the (API |)key(?|)",
        ),
        ("How can I make the server ask for a key?", "Which option sets an API key?"),
        ("Set a key with --api-key or the variable OPENEDAI_API_KEY.",),
        ("--api-key",),
    ),
    Fact(
        "key_send",
        (
            (
                f"{HOW} (send|pass|give|hand over|present) (the |my |an |)(API |api |)(key|"
                f"token)( to the server| in a request| with curl|)(?|)"
            ),
            ("(which|what) (header|HTTP header) (carries|holds|has|do I need for|is for) the key(?|)"),
            ("(how does|how do) (a client|clients|my client) (send|give|show) (the|its|their) key(?|)"),
            "(authorization|auth|authentication)( header|)(?|)",
            f"{HOW} (authenticate|authorise|authorize|log in)(?|)",
        ),
        ("In which header does the key go?", "How does my program send its API key?"),
        ("Send the key in the header: Authorization: Bearer YOUR_KEY.",),
        ("Authorization: Bearer",),
    ),
    Fact(
        "old_sdk",
        (
            (
                "(how do I|how can I|how to) (use|set up|configure|point) the old (SDK|openai "
                "package|OpenAI library|Python SDK)(?|)"
            ),
            (
                "(which|what) (variable|environment variable|setting) does the old (SDK|OpenAI "
                "SDK|library|openai package) (read|use|need)(?|)"
            ),
            "(OPENAI_API_BASE|openai 0.28|the old sdk|openai.api_base)(?|)",
        ),
        ("What does the old OpenAI SDK need?", "Which setting points the old openai package here?"),
        ("For the old SDK set OPENAI_API_BASE=http://127.0.0.1:5001/v1.",),
        ("OPENAI_API_BASE",),
    ),
    Fact(
        "new_sdk",
        (
            (
                f"{HOW} (use|set up|configure|point|connect) the (new |current |)(OpenAI |"
                f"openai |Python |official |)(SDK|package|library|client)(| here| with this "
                f"server)(?|)"
            ),
            (
                "(which|what) (variable|environment variable|setting|parameter) does the new "
                "(SDK|OpenAI SDK|library|openai package) (read|use|need)(?|)"
            ),
            "(OPENAI_BASE_URL|base_url|openai python|python sdk|the new sdk)(?|)",
            "(can I|does it) (use|work with) the (OpenAI|openai) (SDK|client|library|package)(?|)",
        ),
        ("How do I connect the OpenAI Python library to this server?", "What should I set in the new SDK?"),
        ("In the new SDK set base_url (or OPENAI_BASE_URL) to http://127.0.0.1:5001/v1.",),
        ("base_url", "OPENAI_BASE_URL"),
    ),
    Fact(
        "streaming",
        (
            (
                f"{HOW} (stream|stream an answer|get streaming|turn on streaming|switch on "
                f"streaming|use streaming|enable streaming|receive tokens one by one|get the "
                f"tokens as they come)(?|)"
            ),
            f"(does|can) {APP} (stream|do streaming|support streaming)(?|)",
            "(is streaming supported|streaming|stream|server-sent events|SSE)(?|)",
            "(what|how) (is|about|does) streaming( work|)(?|)",
            "(how|when) does (a|the) stream (end|finish|stop)(?|)",
        ),
        ("Can I have the answer streamed to me?", "How would I switch on streaming in a request?"),
        (('Send "stream": true. You get server-sent events, and the stream ends with data: [DONE].'),),
        ('"stream": true',),
    ),
    Fact(
        "bigger_model",
        (
            (
                f"{HOW} (load|use|run|get|try|choose|switch to|start with) (a |an |)(bigger|"
                f"larger|better|real|another|different|other|smarter|stronger|good|new) model(?|"
                f")"
            ),
            f"{HOW} (change|swap|replace|set) (the|your|this) model(?|)",
            (
                "(can I|could I|is it possible to) (load|use|run) (a bigger|another|a better|a "
                "larger|my own|a different) model(?|)"
            ),
            "(which|what) (flag|option) (loads|chooses|sets|picks) the model(?|)",
            (f"{HOW} (load|use|run) (a GGUF|a GGUF file|a gguf model|llama 3|qwen|mistral|gemma|my own model)(?|)"),
            "(bigger model|better model|larger model|other models|load a model)(?|)",
            "you are too small(, what can I use|. What else is there|)(?|)",
        ),
        ("You are too weak. How can I get a stronger model?", "How do I swap this tiny model for a large one?"),
        ("Load a bigger model with --model path/to/model.gguf or --model hf:OWNER/REPO. 💡",),
        ("--model",),
    ),
    Fact(
        "engine",
        (
            (
                f"(what|which) (engine|backend|library|runtime|inference engine) (does {APP} "
                f"use|runs the model|is used|is inside|drives the model|do you use|do you run "
                f"on)(?|)"
            ),
            "(how|by what) (is|are) (the model|you|models) (run|executed|loaded)(?|)",
            f"(is|does) {APP} (use|based on|built on) (llama.cpp|xllamacpp)(?|)",
            "(engine|llama.cpp|xllamacpp|what is xllamacpp|what is llama.cpp)(?|)",
        ),
        ("What engine drives this model?", "Which backend do you run on?"),
        ("The engine is llama.cpp, run in process through xllamacpp.",),
        ("llama.cpp",),
    ),
    Fact(
        "webui",
        (
            (
                f"{HOW} (use|install|add|enable|run|load) (it|this|OpenedAI|the extension|"
                f"opened_ai) (in|with|inside|from) (text-generation-webui|the web UI|oobabooga|"
                f"textgen)(?|)"
            ),
            ("(does it|can it|can this) work (with|in|inside) (text-generation-webui|oobabooga|the web UI)(?|)"),
            f"{HOW} (install|use|enable) the extension(?|)",
            "(text-generation-webui|webui|web UI|oobabooga|the extension|extension)(?|)",
        ),
        ("Can I install this inside text-generation-webui?", "How does the web UI extension get enabled?"),
        (
            (
                "In text-generation-webui, copy the folder extensions/openai and start with "
                "--extensions openai (opened_ai in 2026 versions)."
            ),
        ),
        ("--extensions openai", "extensions/openai"),
    ),
    Fact(
        "server_kind",
        (
            (
                f"(what|which) (web |HTTP |)(framework|server software|web server) (does {APP} "
                f"use|is used|do you use|serves the API)(?|)"
            ),
            (f"(is {APP}|are you) (built|written|made) (with|on|in) (Flask|FastAPI|Django|Python)(?|)"),
            "(flask|waitress|web framework)(?|)",
            f"what is {APP} (written|built) (in|with|on)(?|)",
        ),
        ("What web framework is behind the API?", "Which HTTP server software do you use?"),
        ("The server is Flask on waitress, written in Python.",),
        ("Flask",),
    ),
)
