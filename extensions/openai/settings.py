"""Every option of the extension, declared once.

These fields define the command line's flags, the environment variables (OPENEDAI_<NAME>), the webui's
`params` and the table in docs/settings.md. A field's type defines its text format
(`configuration/values.py`). An unknown name in the settings file or on the command line, or a wrong value,
stops the start with one line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from .configuration.key_limits import KeyLimit, key_limits
from .configuration.values import (
    HeaderName,
    HostNames,
    HTTPAddress,
    Key,
    LowerNames,
    Names,
    Origins,
    Pairs,
    PasswordText,
    PathPrefix,
    Proxies,
    Secret,
    SigningSecret,
    StoreAddress,
    ValidationStatus,
    added_to,
    check_numbers,
    numbers_for,
)

PREFIX = "OPENEDAI_"


class SettingsError(Exception):
    """An option is unknown or ill-typed; the message is one clear line that names it."""


DEFAULT_ALIASES = ("gpt-3.5-turbo",)
ANY_MODEL = "*"
"""Among the aliases: accept any name."""

SECTIONS: Mapping[str, str] = {
    "listen": "Network",
    "api_key": "Keys",
    "rpm": "Limits of keys",
    "store": "Stored objects",
    "model_aliases": "Models",
    "model_defaults": "Parameters and answers",
    "media_max_mb": "Pictures, sounds and files",
    "max_body_mb": "Load and time limits",
    "log_requests": "Logs and metrics",
}
"""The sections in --help and the documentation, by the first field of each."""

FLAG_ALIASES: Mapping[str, tuple[str, ...]] = {"listen_host": ("--host",), "api_port": ("--port",)}
"""Further flags, as other servers name these settings."""

BUDGETS = {"low": 1024, "medium": 8192, "high": 24576, "xhigh": 32768, "default": -1}
STORE_DAYS = {
    "chats": 30,
    "plots": 0,
    "responses": 30,
    "conversation_items": 0,
    "conversations": 0,
    "session_turns": 0,
    "sessions": 30,
    "memories": 0,
    "files": 0,
    "batches": 30,
}
STORE_MEGABYTES = {
    "chats": 1024,
    "plots": 256,
    "responses": 1024,
    "conversation_items": 1024,
    "conversations": 64,
    "session_turns": 256,
    "sessions": 64,
    "memories": 64,
    "files": 10240,
    "batches": 64,
}

RELOADABLE: dict[str, Any] = {"reloadable": True}
"""Marks a setting that may change while the server runs: see `configuration.sources.reloaded`."""


class Settings(BaseSettings):
    """The options in force. Frozen; passed as an argument, never imported."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, env_ignore_empty=True
    )

    listen: bool = Field(
        False, description="Listen on all addresses, for other machines too. Needs --api-key."
    )
    listen_host: str | None = Field(
        None,
        description="Listen on this address only (a name, IPv4 or IPv6), or on several: 127.0.0.1,::1. Needs "
        "--api-key unless they are loopback addresses.",
    )
    api_port: int = Field(
        5001,
        ge=0,
        le=65535,
        description="TCP port; 0 chooses a free one.",
    )
    unix_socket: str | None = Field(
        None,
        description="Listen on a unix socket at this path, for programs of this machine whom the folder's "
        "permissions let in; on a port as well only with --listen or --listen-host.",
    )
    public_api: bool = Field(
        False,
        description="Make the API public through a Cloudflare tunnel. Needs --api-key.",
    )
    public_api_id: Secret = Field(
        None,
        description="The id, name or token of your Cloudflare tunnel; without it --public-api opens a quick "
        "tunnel, with a new address each time.",
    )
    cloudflared: str | None = Field(
        None,
        description="The program cloudflared for --public-api. Default: the installed one, or it is "
        "downloaded.",
    )
    api_prefix: PathPrefix = Field(
        "", description="A path before all endpoints, such as /custom (without a trailing slash)."
    )
    endpoints: Names = Field(
        (),
        description="Serve only these endpoints, such as chat,models (docs/api.md lists the names). "
        "Default: all but message, ollama and kobold.",
    )
    disabled_endpoints: Names = Field(
        (), description="Endpoints to switch off, such as docs,queue; they answer 404."
    )
    message_endpoint: bool = Field(
        False,
        description="Serve POST /message: a text and its answer, in the session of a user "
        "(docs/sessions.md).",
    )
    ollama_api: bool = Field(
        False,
        description="Serve Ollama's own API, /api/chat and what belongs to it (docs/ollama.md).",
    )
    kobold_api: bool = Field(
        False,
        description="Serve KoboldCpp's own API, /api/v1/generate and what belongs to it (docs/kobold.md).",
    )
    allowed_hosts: HostNames = Field(
        ("host.docker.internal", "host.containers.internal"),
        description="While no key is set, the hosts that requests may be addressed to besides loopback "
        "names: names, *.lan, addresses, networks (192.168.0.0/16); * is any.",
        json_schema_extra=RELOADABLE,
    )
    cors_origins: Origins = Field(
        (),
        description="Web origins (https://app.example, https://*.example, app://*) whose pages may call, "
        "besides pages of this machine; * allows all.",
    )
    trusted_proxies: Proxies = Field(
        (),
        description="Proxies whose X-Forwarded-For, -Proto, -Host and -Prefix are trusted: addresses, "
        "networks, or the number of proxies before the server.",
        json_schema_extra=RELOADABLE,
    )
    trusted_user_header: HeaderName = Field(
        None,
        description="A header in which --trusted-proxies name the user whom they have logged in, such as "
        "X-Forwarded-User: such a user needs no key, and is like one (docs/keys.md). All others need a key.",
    )
    trusted_user_admins: Names = Field(
        (),
        description="Users of --trusted-user-header who may use admin endpoints.",
        json_schema_extra=RELOADABLE,
    )
    middleware: Names = Field(
        (),
        description="Your own WSGI middleware, as MODULE:NAME: each is called with the application and "
        "returns the one around it. The first is outermost.",
    )
    api_key: Key = Field(
        None,
        description="The key that clients must send; `generate` makes one at each start and prints it. "
        "Without any key the server listens on loopback only.",
        json_schema_extra=RELOADABLE,
    )
    admin_key: Key = Field(
        None,
        description="The key for admin endpoints; valid for all others too. Default: the API key.",
        json_schema_extra=RELOADABLE,
    )
    password: PasswordText = Field(
        None,
        description="A password that clients send as their key, or its hash, which the command `password` "
        "prints.",
        json_schema_extra=RELOADABLE,
    )
    keys_secret: SigningSecret = Field(
        None,
        description="The secret that signs named keys, at least 16 characters. Default: keys.secret in "
        "the data folder.",
        json_schema_extra=RELOADABLE,
    )
    secret_file: str | None = Field(
        None,
        description="The file with the server's own keys, which several servers may share: what one of "
        "them seals for clients, all can open. Default: server.keys in the data folder, made when it is "
        "first needed.",
    )
    wrong_keys: int = Field(
        30,
        ge=0,
        le=1_000_000,
        description="Wrong keys a minute from one address (IPv6: one /64 network), then 429; 0 is no limit. "
        "This machine is not counted.",
        json_schema_extra=RELOADABLE,
    )
    data_folder: str | None = Field(
        None,
        description="The folder for keys, usage and stored objects. Default: user_data/openedai of the app.",
    )
    # A limit of keys is a row with a KeyLimit. Named keys carry them in this order: new ones go to the end.
    rpm: Annotated[int | None, KeyLimit("requests", "minute", at_most=1000, of_named_keys=60)] = (
        Field(
            None,
            description="Requests a minute of each key, 0 for no limit. Default: 60 for named keys without "
            "their own limit, none for others.",
            json_schema_extra=RELOADABLE,
        )
    )
    tpm: Annotated[int, KeyLimit("tokens", "minute")] = Field(
        0,
        description="Tokens a minute of each key, in prompts and answers; 0 is no limit.",
        json_schema_extra=RELOADABLE,
    )
    concurrent: Annotated[int, KeyLimit("requests", "at once", at_most=1024)] = Field(
        0,
        description="Concurrent requests of each key; 0 is no limit.",
        json_schema_extra=RELOADABLE,
    )
    monthly_tokens: Annotated[int, KeyLimit("tokens", "month")] = Field(
        0,
        description="Tokens of each key in a calendar month; 0 is no limit.",
        json_schema_extra=RELOADABLE,
    )
    user_limits: Pairs = Field(
        {},
        description="The same limits for each `user` of a key, such as rpm=10,tpm=5000,concurrent=2,"
        "monthly_tokens=100000.",
        json_schema_extra=RELOADABLE,
    )
    limits_storage: Secret = Field(
        None,
        description="Where limits are counted: redis://HOST:PORT/DB for several servers together. "
        "Default: in memory, for each server separately.",
    )
    usage_days: int = Field(
        400,
        ge=0,
        le=36500,
        description="Days to keep the usage of keys and users; 0 keeps none.",
    )
    store: StoreAddress = Field(
        None,
        description="Where to keep objects that clients store: `sqlite` (store.sqlite3 in the data folder), "
        "`postgresql://USER:PASSWORD@HOST:PORT/NAME`, `memory` until the server ends, or `off`. "
        "Default: sqlite; memory with --use-mock-api.",
    )
    store_days: Annotated[
        Pairs, numbers_for(STORE_DAYS, "kind of stored objects", low=0, high=2**31)
    ] = Field(
        STORE_DAYS,
        description="Days to keep stored objects of each kind; 0 keeps them until they are deleted.",
        json_schema_extra=RELOADABLE,
    )
    store_megabytes: Annotated[
        Pairs, numbers_for(STORE_MEGABYTES, "kind of stored objects", low=0, high=2**31)
    ] = Field(
        STORE_MEGABYTES,
        description="MiB of stored objects of each kind for each key; beyond that its oldest are deleted, of "
        "files new ones refused. 0 is no limit.",
        json_schema_extra=RELOADABLE,
    )
    store_synchronous: Literal["normal", "full"] = Field(
        "normal",
        description="SQLite's durability: with `full`, each transaction waits for the disk, so that a power "
        "failure loses no acknowledged data; with `normal`, only a killed process loses none.",
    )
    store_encryption: bool = Field(
        False,
        description="Encrypt the contents of stored objects, with a key for each owner that a key in "
        "--secret-file encrypts (docs/store.md). What is stored already stays as it is until `openedai store "
        "encrypt`.",
    )
    sessions: Literal["off", "header", "user"] = Field(
        "header",
        description="Which requests are turns of a session: those with a header that names one; `user`: also "
        "chats that name their `user` and have no such header (docs/sessions.md).",
        json_schema_extra=RELOADABLE,
    )
    session_headers: LowerNames = Field(
        (),
        description="Headers that name a session, besides x-openedai-session-key.",
        json_schema_extra=RELOADABLE,
    )
    session_bound: Literal["summary", "drop"] = Field(
        "summary",
        description="What becomes of a session's oldest turns that the context has no place for: the model "
        "summarises them, and the summary stands in their place; or they are deleted.",
        json_schema_extra=RELOADABLE,
    )
    session_messages: int = Field(
        200,
        ge=2,
        le=4096,
        description="Messages of a session; beyond that its oldest turns are deleted.",
        json_schema_extra=RELOADABLE,
    )
    model_aliases: Annotated[Names, added_to(DEFAULT_ALIASES)] = Field(
        DEFAULT_ALIASES,
        description="Further names of the loaded model in GET /v1/models, besides gpt-3.5-turbo, which "
        "`none` removes; * accepts any name even if names are checked.",
        json_schema_extra=RELOADABLE,
    )
    agents: str | None = Field(
        None,
        description="A YAML file of agents: names with a system text and parameters of their own, which "
        "requests choose as `agent:NAME` (docs/agents.md).",
        json_schema_extra=RELOADABLE,
    )
    character_folder: str | None = Field(
        None,
        description="A folder of characters (YAML, JSON, PNG cards), which chats choose with `character`, "
        "`mode` and their kin, as with a webui (docs/characters.md). Inside a webui its own are used.",
        json_schema_extra=RELOADABLE,
    )
    tool_servers: str | None = Field(
        None,
        description="A YAML file of tool servers (MCP servers, extensions with tools), whose tools this "
        "server calls for requests that name them (docs/tools.md).",
    )
    upstreams: str | None = Field(
        None,
        description="A YAML file of other servers whose models are served here too, by their names "
        "(docs/upstreams.md).",
    )
    strict_models: bool = Field(
        False,
        description="Refuse model names that GET /v1/models does not list; else the loaded model answers to "
        "any name. With --list-host-models, and where several models are served, names are always checked.",
        json_schema_extra=RELOADABLE,
    )
    list_host_models: bool = Field(
        False,
        description="List all models of the host's folder, not only the loaded one.",
    )
    load_on_request: bool = Field(
        False,
        description="In a webui: a request that names a model of its folder loads it, in place of the one "
        "that is loaded. GET /v1/models lists all, and names are checked (docs/models.md).",
    )
    embedding_model: str | None = Field(
        None,
        description="A model for POST /v1/embeddings, beside the chat model: a GGUF file, a name below "
        "--model-dir, hf:OWNER/REPO[:FILE], or self for the chat model (docs/embeddings.md). In a webui: a "
        "name for sentence-transformers.",
    )
    embedding_context: int = Field(
        0,
        ge=0,
        le=1 << 20,
        description="Tokens of one text to embed or rerank; 0: the model's own, up to 2048.",
    )
    embedding_dimensions: Literal["auto", "any", "full"] = Field(
        "auto",
        description="Whether requests may ask for shorter vectors: if the model is known to be made for it, "
        "always, or never.",
    )
    embedding_device: str = Field(
        "cpu",
        description="In a webui: the device of the embedding model, such as cuda; auto: the best one.",
    )
    rerank_model: str | None = Field(
        None,
        description="A model for POST /v1/rerank, beside the chat model: a GGUF file, a name below "
        "--model-dir, or hf:OWNER/REPO[:FILE].",
    )
    transcription_model: str | None = Field(
        None,
        description="A model for POST /v1/audio/transcriptions: the folder of a Whisper model in "
        "CTranslate2's format, for faster-whisper (docs/audio.md). Needs the extra `audio`.",
    )
    transcription_device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="The device of --transcription-model."
    )
    transcription_minutes: int = Field(
        60,
        ge=1,
        le=1440,
        description="Minutes of the longest sound that --transcription-model takes; each takes 6 MiB of "
        "memory while it is heard.",
    )
    transcribe_sounds: bool = Field(
        False,
        description="Give sounds in messages to a chat model that hears nothing as text, written down by "
        "the model for transcriptions (docs/media.md).",
        json_schema_extra=RELOADABLE,
    )
    speech_model: str | None = Field(
        None,
        description="The voices for POST /v1/audio/speech: a Piper voice (VOICE.onnx, with VOICE.onnx.json "
        "beside it), a folder of them, or espeak-ng for that program (docs/audio.md). Needs the extra "
        "`audio`.",
    )
    image_model: str | None = Field(
        None,
        description="A model for POST /v1/images/generations: a folder as diffusers keeps them, with "
        "model_index.json (docs/images.md). Needs the extra `images`.",
    )
    image_device: str = Field(
        "auto",
        description="The device of --image-model, such as cuda or cpu; auto: a GPU where there is one.",
    )
    image_steps: int | None = Field(
        None,
        ge=1,
        le=150,
        description="Steps of a picture, unless the request says it. Default: the model's.",
    )
    image_cfg_scale: float | None = Field(
        None,
        ge=0,
        le=30,
        description="How closely pictures follow the prompt, unless the request says it; 0 for distilled "
        "(turbo) models. Default: the model's.",
    )
    moderation_model: str | None = Field(
        None,
        description="The model that answers POST /v1/moderations by writing: a name of GET /v1/models, or "
        "self for the default one (docs/moderation.md). It is held to the reference's categories.",
        json_schema_extra=RELOADABLE,
    )
    require_model: bool = Field(
        True,
        description="Refuse a request without `model`, as OpenAI does; else use the loaded model.",
        json_schema_extra=RELOADABLE,
    )
    message_repair: Literal["on", "off"] = Field(
        "on",
        description="Repair messages that the model's chat template refuses or omits; off: refuse them.",
    )
    isolate_cache: Literal["auto", "users", "off"] = Field(
        "auto",
        description="auto: named keys share nothing that is kept of prompts, so that none learns by time "
        "what another sends; users: nor do the users of a key; off: all share it.",
        json_schema_extra=RELOADABLE,
    )
    use_mock_api: bool = Field(
        False,
        description="Serve every endpoint from the echo engine, without a model.",
    )
    model_defaults: Literal["on", "off"] = Field(
        "on",
        description="Sampling that the model's files name holds for requests that do not set it; off: the "
        "reference's does.",
        json_schema_extra=RELOADABLE,
    )
    sampling_defaults: Pairs = Field(
        {},
        description="Parameters for requests that do not set them, such as temperature=0.7,min_p=0.05.",
        json_schema_extra=RELOADABLE,
    )
    sampling_forced: Pairs = Field(
        {},
        description="Parameters that requests cannot change, in the same format.",
        json_schema_extra=RELOADABLE,
    )
    sampling_limits: Pairs = Field(
        {},
        description="The largest values that requests may set, such as temperature=1.5,n=4.",
        json_schema_extra=RELOADABLE,
    )
    preset_folder: str | None = Field(
        None,
        description="A folder of NAME.yaml files with parameters; requests choose one with `preset`.",
        json_schema_extra=RELOADABLE,
    )
    default_max_tokens: int = Field(
        0,
        ge=0,
        le=32000,
        description="The token limit of an answer whose request sets none; 0 is OpenAI's default.",
        json_schema_extra=RELOADABLE,
    )
    max_tokens_limit: int = Field(
        0,
        ge=0,
        le=32000,
        description="The maximum of tokens of an answer; 0 is no limit.",
        json_schema_extra=RELOADABLE,
    )
    loop_detection: int = Field(
        0,
        ge=0,
        le=64,
        description="End an answer once it has repeated one text that many times in a row, over 256 "
        "characters or more; 0 is never. Requests may say otherwise with `loop_detection`.",
        json_schema_extra=RELOADABLE,
    )
    max_logprobs: int = Field(
        200_000,
        ge=100,
        le=100_000_000,
        description="The maximum of log-probabilities of one request: choices x tokens x (alternatives + 1). "
        "Each takes about 650 bytes of memory until the answer is sent.",
        json_schema_extra=RELOADABLE,
    )
    streaming: bool = Field(
        True, description="Allow streamed answers.", json_schema_extra=RELOADABLE
    )
    role_stops: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Also stop answers at the role strings of the first extension, such as \\nuser: (auto: "
        "with the sampler webui-2023 only).",
        json_schema_extra=RELOADABLE,
    )
    bare_calls: bool = Field(
        True,
        description="Treat an answer that is only the JSON of a call of a declared tool, with or without a "
        "code fence, as that call, also if the model's template has marks for calls.",
        json_schema_extra=RELOADABLE,
    )
    strict_parameters: bool = Field(
        False,
        description="Refuse unknown fields, more than 4 stop strings, and values outside OpenAI's ranges "
        "(temperature above 2, more than 5 log-probabilities of completions).",
        json_schema_extra=RELOADABLE,
    )
    lenient_limits: bool = Field(
        False,
        description="Accept `max_tokens: -1` as no limit except the context, as some clients of local "
        "servers send it.",
        json_schema_extra=RELOADABLE,
    )
    thinking_budgets: Annotated[Pairs, numbers_for(BUDGETS, "effort", low=-1)] = Field(
        BUDGETS,
        description="The maximum of reasoning tokens at each `reasoning_effort`, if the chat template does "
        "not support efforts, and in requests without one (`default`); -1 is no limit. Such as "
        "low=500,default=4000; others keep their default.",
        json_schema_extra=RELOADABLE,
    )
    validation_status: ValidationStatus = Field(
        400,
        description="The status of an invalid request: 400 as OpenAI's, or 422.",
        json_schema_extra=RELOADABLE,
    )
    hooks: bool = Field(
        True,
        description="Let the host's other extensions act on requests, as they do in its page.",
        json_schema_extra=RELOADABLE,
    )
    output_hooks: Literal["live", "whole"] = Field(
        "live",
        description="How to stream answers that other extensions modify: `live`, as far as their hooks leave "
        "the beginning unchanged; `whole`, when the text is complete.",
        json_schema_extra=RELOADABLE,
    )
    media_max_mb: int = Field(
        20,
        ge=1,
        le=1024,
        description="The largest picture, sound or file in a message in MiB.",
        json_schema_extra=RELOADABLE,
    )
    media_max_parts: int = Field(
        16,
        ge=0,
        le=1024,
        description="The maximum of pictures, sounds and files in the messages of one request.",
        json_schema_extra=RELOADABLE,
    )
    media_max_side: int = Field(
        2048,
        ge=64,
        le=16384,
        description="The maximum of pixels of each side of a picture; a larger one is shrunk.",
        json_schema_extra=RELOADABLE,
    )
    media_pdf_pages: int = Field(
        200,
        ge=0,
        le=10_000,
        description="The maximum of pages of a PDF in a message; 0: PDFs are refused. Needs the extra `pdf`.",
        json_schema_extra=RELOADABLE,
    )
    media_pdf_seconds: float = Field(
        10.0,
        gt=0,
        le=600,
        description="Seconds of CPU time for the text of a PDF in a message.",
        json_schema_extra=RELOADABLE,
    )
    media_video_frames: int = Field(
        8,
        ge=0,
        le=64,
        description="The pictures that a model gets of a video in a message; 0: videos are refused. Needs "
        "the extra `video`.",
        json_schema_extra=RELOADABLE,
    )
    media_video_seconds: float = Field(
        20.0,
        gt=0,
        le=600,
        description="Seconds of CPU time for the pictures of a video in a message.",
        json_schema_extra=RELOADABLE,
    )
    media_urls: bool = Field(
        False,
        description="Fetch pictures from http(s) URLs, from public addresses only.",
        json_schema_extra=RELOADABLE,
    )
    media_hosts: LowerNames = Field(
        (),
        description="Hosts (name or name:port) to fetch pictures from at any address, also in your own "
        "network; without --media-urls only from these.",
        json_schema_extra=RELOADABLE,
    )
    media_timeout: float = Field(
        10.0,
        gt=0,
        le=600,
        description="Seconds to fetch all pictures of a request.",
        json_schema_extra=RELOADABLE,
    )
    answer_cache: int = Field(
        0,
        ge=0,
        le=65536,
        description="Keep so many MiB of answers in memory, and give them again to the same request of the "
        "same key, if it is greedy or has a seed and is not streamed (docs/parameters.md); 0: none.",
    )
    max_body_mb: int = Field(
        32, ge=1, le=1024, description="The largest request body in MiB; a larger one gets 413."
    )
    max_file_mb: int = Field(
        512,
        ge=1,
        le=8192,
        description="The largest file that is uploaded, in MiB; a larger one gets 413. Longer bodies than "
        "--max-body-mb are on disk while they arrive.",
    )
    request_memory_mb: int = Field(
        0,
        ge=0,
        le=1 << 20,
        description="MiB for the bodies of all requests that are received, waiting or running; beyond that "
        "503. Default 0: a 32nd of the machine's memory, 64 to 512 MiB, or four of the largest bodies if "
        "that is more.",
    )
    http_threads: int = Field(
        32,
        ge=4,
        le=1024,
        description="Concurrent requests besides those that run on or wait for the engine.",
    )
    queue_limit: int = Field(
        256,
        ge=0,
        le=1024,
        description="Requests that may wait for the engine. Beyond that, the caller with the most waiting "
        "requests gets 429, or 503 if all have equally many.",
        json_schema_extra=RELOADABLE,
    )
    background_answers: int = Field(
        32,
        ge=0,
        le=1024,
        description="Responses that each key may have made in the background at once, and streams that can "
        "be resumed; 0 refuses them.",
        json_schema_extra=RELOADABLE,
    )
    stream_replay_mb: int = Field(
        8,
        ge=0,
        le=65536,
        description="MiB of events to keep of the streams of each key that can be resumed, and of each of "
        "them (docs/streams.md); 0: none can.",
        json_schema_extra=RELOADABLE,
    )
    stream_replay_seconds: float = Field(
        300.0,
        ge=0,
        le=86400,
        description="Seconds that a stream can be resumed after it has ended.",
        json_schema_extra=RELOADABLE,
    )
    batch_lines: int = Field(
        8,
        ge=0,
        le=1024,
        description="Lines of batches that are answered at once, of all keys; 0 begins none. They get what "
        "other requests leave of the model's slots.",
        json_schema_extra=RELOADABLE,
    )
    conversation_wait: float = Field(
        30.0,
        ge=0,
        le=86400,
        description="Seconds that a response in a conversation waits until the one before it has ended, then "
        "400.",
        json_schema_extra=RELOADABLE,
    )
    queue_timeout: float = Field(
        300.0,
        ge=0,
        le=86400,
        description="Seconds that a request may wait for the engine, then 503; 0 is no limit.",
        json_schema_extra=RELOADABLE,
    )
    spare_seconds: float = Field(
        10.0,
        ge=0,
        le=3600,
        description="After serving a caller, keep up to two slots free for other callers for this many "
        "seconds; 0 keeps none free.",
        json_schema_extra=RELOADABLE,
    )
    request_timeout: float = Field(
        0.0,
        ge=0,
        le=86400,
        description="Seconds that an answer may take, including waiting; requests may set less with "
        "`timeout`; 0 is no limit.",
        json_schema_extra=RELOADABLE,
    )
    keep_alive: float = Field(
        10.0,
        gt=0,
        le=3600,
        description="Seconds without data in a stream after which a comment is sent.",
        json_schema_extra=RELOADABLE,
    )
    stall_timeout: float = Field(
        60.0,
        gt=0,
        le=3600,
        description="Seconds after which a client that does not read its answer is disconnected.",
    )
    receive_timeout: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="Seconds in which a request must arrive, or 1,000 bytes a second of a long one; then "
        "408.",
    )
    drain_timeout: float = Field(
        4.0,
        ge=0,
        le=3600,
        description="Seconds for running answers to finish when the server is stopped.",
    )
    log_requests: bool = Field(
        True,
        description="Log one line for each request, without its content.",
        json_schema_extra=RELOADABLE,
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="The format of log lines: text for people, or JSON for programs."
    )
    metrics: Literal["key", "open", "off"] = Field(
        "key",
        description="GET /metrics for Prometheus: with a key if the server has one, open to everyone, or "
        "off.",
    )
    otel_endpoint: HTTPAddress = Field(
        None,
        description="Send traces to this OpenTelemetry collector over OTLP/HTTP, such as "
        "http://127.0.0.1:4318. Needs the extra `otel` (docs/operations.md).",
    )
    debug: bool = Field(
        False,
        description="Log more, and write each request and its answer to --debug-folder, with prompts, "
        "without keys and pictures.",
    )
    debug_folder: str | None = Field(
        None,
        description="The folder for --debug; it keeps the last 500 requests, readable by its owner only. "
        "Default: debug in the data folder.",
    )

    @field_validator("user_limits")
    @classmethod
    def _check_limits(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        check_numbers(value, key_limits(cls.model_fields), "limit", low=0)
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only init arguments: `configuration.sources.load` combines the sources."""
        return (init_settings,)


KEY_LIMITS: Mapping[str, KeyLimit] = key_limits(Settings.model_fields)
"""The limits of keys, by setting."""
