"""Words that point at each project fact, so that a question is known by its main word."""

# Word lists are kept as one string each: that reads better than a column of words.
from __future__ import annotations

# key of the fact: words or short phrases that mean it, split by "|".
KEYWORDS: dict[str, str] = {
    "base_url": (
        "the base URL|base_url value|the API address|the server's address|the URL of the API|"
        "where the API is|the endpoint address|which address to call|the API's web address|the "
        "root URL"
    ),
    "start": (
        "starting the server|how it starts|the start command|launching the API|the run command|"
        "getting it running|getting started|booting the server|the command that starts it|"
        "running OpenedAI|bringing the server up"
    ),
    "flags": (
        "extra flags|more options for make run|passing arguments|command line options|make run "
        "arguments|ARGS|giving make run options|additional arguments|adding flags|options to "
        "make run"
    ),
    "port": (
        "the port|another port|the port number|a different port|a busy port|changing ports|port "
        "8080|the TCP port|port 5001|a port that is taken|a free port|picking a port"
    ),
    "key_needed": (
        "needing a key|a required key|an API key here|whether a key is needed|a key for local "
        "use|a login|keys on this machine|must there be a key|being forced to have a key|a "
        "mandatory key"
    ),
    "key_set": (
        "setting a key|asking for a key|my own key|making a key required|a server password|"
        "protecting the server|the option for the key|locking the API|the key option|demanding "
        "a key"
    ),
    "key_send": (
        "sending the key|the key header|the authorization header|the Bearer header|which header "
        "has the key|passing my key|giving the key in a request|header for the API key|"
        "authentication|where the client puts the key"
    ),
    "old_sdk": (
        "the old SDK|the old openai package|OPENAI_API_BASE|openai 0.28|the old library|old "
        "Python clients|legacy SDK settings|the older SDK"
    ),
    "new_sdk": (
        "the new SDK|the OpenAI Python package|OPENAI_BASE_URL|the Python client|the OpenAI "
        "library|the official SDK|base_url in Python|connecting the OpenAI client|the new "
        "openai package|the JavaScript SDK|setting up the SDK"
    ),
    "streaming": (
        "streaming|streamed answers|a stream|token by token output|server-sent events|SSE|live "
        "tokens|streamed output|data: [DONE]|the stream parameter|getting words as they come|an "
        "answer that is streamed"
    ),
    "bigger_model": (
        "a bigger model|a larger model|a better model|another model|a stronger model|swapping "
        "the model|a smarter model|my own GGUF|loading Llama|loading Qwen|a real model|"
        "replacing this tiny model|a large model|changing the model|a more powerful model|a "
        "model that is less weak"
    ),
    "engine": (
        "the engine|the backend|llama.cpp|xllamacpp|what runs the model|the inference engine|"
        "the inference library|what drives the model|the runtime|the engine behind it"
    ),
    "webui": (
        "text-generation-webui|the web UI|oobabooga|the extension|the extension folder|"
        "--extensions openai|the webui extension|enabling the extension|installing the "
        "extension|use inside the web UI"
    ),
    "server_kind": (
        "the web framework|Flask|waitress|the HTTP server|the server software|the language it "
        "is written in|the web server|the HTTP framework|what the server is made with"
    ),
    "docs": (
        "the docs|the documentation|the manual|the docs page|openapi.json|redoc|the API "
        "reference|Swagger|a page with documentation|reading the docs|the help pages"
    ),
    "health": (
        "the health check|health|the health page|a liveness check|knowing if it is up|the ready "
        "check|checking the server|whether it is healthy|the health endpoint|whether the server "
        "is alive"
    ),
    "models_page": (
        "the model list|the list of models|available models|the models page|/v1/models|which "
        "models there are|listing models|seeing all models|choosing from models|model names"
    ),
    "completions": (
        "text completions|plain completions|the completions endpoint|/v1/completions|continuing "
        "a text|legacy completions|the text completion path|completing plain text"
    ),
    "chat": (
        "the chat endpoint|chat completions|chat messages|/v1/chat/completions|sending a chat|"
        "the chat path|chat requests|the path for chat|where chat goes|posting messages"
    ),
    "stop_server": (
        "stopping the server|shutting down|quitting|ending the program|closing the server|how "
        "to stop it|the key to stop it|shutting it down|killing the server|turning it off|"
        "halting the program"
    ),
    "context": (
        "the context length|the context size|the context window|a longer context|--ctx-size|a "
        "bigger context|n_ctx|longer prompts|the window size|how long the context is"
    ),
    "parallel": (
        "parallel requests|several users|many clients at once|concurrent requests|--parallel|"
        "two requests at the same time|many users|more users at once|simultaneous requests|"
        "serving several people"
    ),
    "mock": (
        "mock mode|the mock API|USE_MOCK_API|fake answers|running without a model|mock answers|"
        "testing without a model|the mock variable|having no model"
    ),
    "licence": (
        "the licence|the license|MIT|open source|free software|the terms of use|commercial use|"
        "the project's licence|who may use it|the legal terms"
    ),
    "stop_strings": (
        "stop strings|stop sequences|the stop parameter|stop words|ending at a word|cutting the "
        "answer at a word|several stop strings|the stop option in a request"
    ),
    "seed": (
        "the seed|repeatable answers|a fixed seed|reproducible output|the same answer twice|the "
        "random seed|deterministic output|the seed parameter|identical answers|the same answer "
        "every time"
    ),
    "temperature": (
        "temperature|the temperature|temperature 0|greedy answers|randomness|the temperature "
        "parameter|sampling temperature|temperature 1|a low temperature|temperature zero"
    ),
    "max_tokens": (
        "max_tokens|the length of the answer|shorter answers|limiting the answer|the answer "
        "length|a token limit|max_completion_tokens|short replies|keeping answers short|a "
        "length limit"
    ),
    "usage": (
        "usage|token counts|the usage field|how many tokens I used|counting tokens|the number "
        "of tokens|the usage object|tokens used|token statistics"
    ),
    "listen": (
        "another machine|other computers|--listen|my local network|the LAN|a different computer|"
        "use from my laptop|access from my phone|other machines on the network|remote computers|"
        "listening on all interfaces"
    ),
    "public": (
        "a public URL|the public tunnel|--public-api|the internet|a tunnel|access from outside|"
        "a public address|people on the internet|reaching it from the web|sharing it with the "
        "world"
    ),
    "project": (
        "OpenedAI|this project|the OpenedAI project|what OpenedAI is|the purpose of this "
        "project|this software|what this server is for"
    ),
    "tools": (
        "tools|function calling|tool calls|functions|offering a tool|the tools parameter|"
        "calling functions|sending tools|tool support"
    ),
}

FRAMES = (
    (
        "(Tell me about|tell me about|What about|what about|And|I have a question about|A "
        "question about|Question:|Can you explain|Explain|explain|Please explain|Help with|help "
        "me with|I need help with|What do you know about|Information on|Info about|I am looking "
        "for|Something about|What is there to know about|I want to know about|I would like to "
        "know about|Could you tell me about|How about|Show me|Describe|Where can I read about|I "
        "wonder about|Say something about) <kw>(?|.|)"
    ),
    "<kw>(?|.|| please|, how?|, please explain)",
    (
        "(Hi, |Hello, |Hey, |)(how does|how is it with|what is it with|what does one do about|"
        "is there something like|is there|do you have|do you know about|what do I need for|what "
        "should I know about|what do I set for|can you help with|can I have|could I get|would "
        "it be possible to have|what is the way of|how would I manage|how do I handle|which "
        "setting is for|which option is for|which parameter is for) <kw>( here| with this "
        "server| in OpenedAI| work| with you|)(?|)"
    ),
    "<filler> <kw> <filler>(?|.|)",
    (
        "(I am stuck with|I do not understand|I am new here and wonder about|My friend asked me "
        "about|My boss wants to know about|I read about|I need) <kw>(.|. Can you help?|. What "
        "do I do?|)"
    ),
)

FILLERS = (
    "so|well|about|and with|the thing is|now|here|just|in the server|with my program|for my "
    "app|on this machine|today|again|then|if I may ask|in short|for me|in a request|at all|"
    "really|exactly|somehow|what|how|when|why|which|can I|do I|may I|should I|must I|would "
    "it|is it"
).split("|")
