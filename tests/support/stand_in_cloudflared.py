"""Behaves as Cloudflare's `cloudflared` does towards its parent process, without leaving this machine.

Arguments, log lines on standard error, the page of metrics, `/quicktunnel`, `/config` and the end on
SIGTERM are those of the real program, as its source has them. Its edge is a port on 127.0.0.1 that hands
requests on, the way Cloudflare's does: Host of the tunnel, X-Forwarded-For and X-Forwarded-Proto added.

    STAND_IN=FOLDER cloudflared tunnel --no-autoupdate --metrics 127.0.0.1:1 --url http://127.0.0.1:2

FOLDER/plan.json: a list of what happens at each start, the last one again and again; in an entry
    hostname    of the quick tunnel
    delay       seconds before it is connected
    fail        a message; it ends with it instead of opening
    old_page    whether the hostname is on the page of metrics (older releases) or on /quicktunnel
FOLDER/command: `disconnect`, `connect` or `crash`, obeyed while it runs.
FOLDER/started-N: written at each start: arguments, environment, pid, port of the edge.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FLAGS = {"--no-autoupdate": 0, "--metrics": 1, "--url": 1, "--grace-period": 1, "--loglevel": 1}


def log(level: str, message: str) -> None:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    print(f"{stamp} {level} {message}", file=sys.stderr, flush=True)


def wrong_usage(message: str) -> None:
    print(f"Incorrect Usage: {message}\n\nSee 'cloudflared tunnel run --help'.", file=sys.stderr)
    sys.exit(1)


def parse(arguments: list[str]) -> tuple[dict[str, str], str | None]:
    """Flags come before the subcommand; `run` takes one argument, or none with a token."""
    if arguments[:1] != ["tunnel"]:
        wrong_usage(f"No help topic for '{' '.join(arguments)}'")
    rest, flags = arguments[1:], {}
    while rest and rest[0].startswith("-"):
        name = rest.pop(0)
        if name not in FLAGS:
            wrong_usage(f"flag provided but not defined: {name.lstrip('-')}")
        flags[name] = rest.pop(0) if FLAGS[name] else ""
    if not rest:
        if "--url" not in flags:
            wrong_usage("a quick tunnel needs --url")
        return flags, None
    if rest.pop(0) != "run" or len(rest) > 1:
        wrong_usage('"cloudflared tunnel run" accepts only one argument')
    if not rest and "TUNNEL_TOKEN" not in os.environ:
        wrong_usage('"cloudflared tunnel run" requires the ID or name of the tunnel to run')
    return flags, rest[0] if rest else os.environ["TUNNEL_TOKEN"]


class Stand:
    """What the pages tell, and what the commands change."""

    def __init__(self, plan: dict[str, Any], flags: dict[str, str], named: str | None) -> None:
        self.hostname = plan.get("hostname", "calm-river-example.trycloudflare.com")
        self.old_page = plan.get("old_page", True)
        self.local = flags.get("--url", "")
        self.mute = plan.get("mute", False)
        self.named = named
        self.connected = False

    def page(self, path: str) -> str | None:
        if self.mute:
            (Path(os.environ["STAND_IN"]) / "asked").touch()
            time.sleep(60)
        if path == "/metrics":
            lines = [
                "# HELP cloudflared_tunnel_ha_connections Number of active ha connections",
                "# TYPE cloudflared_tunnel_ha_connections gauge",
                f"cloudflared_tunnel_ha_connections {int(self.connected)}",
            ]
            if self.named is None and self.old_page and self.connected:
                lines.append(
                    "cloudflared_tunnel_user_hostnames_counts"
                    f'{{userHostname="https://{self.hostname}"}} 1'
                )
            return "\n".join(lines) + "\n"
        if path == "/quicktunnel":
            return json.dumps({"hostname": "" if self.named else self.hostname})
        if path == "/config":
            rules = [{"hostname": self.hostname, "service": self.local}] if self.named else []
            return json.dumps(
                {"version": 1, "config": {"ingress": [*rules, {"service": "http_status:404"}]}}
            )
        return None


def serve(port: int, stand: Stand) -> ThreadingHTTPServer:
    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = stand.page(self.path)
            self.send_response(404 if text is None else 200)
            self.end_headers()
            self.wfile.write((text or "").encode())

        def log_message(self, *_: object) -> None:
            """The real one says nothing, either."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def edge(stand: Stand) -> int:
    """A port that hands each request on to the origin and its answer back as it comes."""
    listening = socket.create_server(("127.0.0.1", 0))

    def hand_on(client: socket.socket) -> None:
        host, _, port = stand.local.removeprefix("http://").rpartition(":")
        with client, socket.create_connection((host, int(port))) as origin:
            head, _, body = client.recv(1 << 16).partition(b"\r\n\r\n")
            first, *lines = head.split(b"\r\n")
            kept = [
                line for line in lines if not line.lower().startswith((b"host:", b"connection:"))
            ]
            added = [
                f"Host: {stand.hostname}".encode(),
                b"X-Forwarded-For: 203.0.113.9",
                b"X-Forwarded-Proto: https",
                b"Connection: close",
            ]
            origin.sendall(b"\r\n".join([first, *kept, *added]) + b"\r\n\r\n" + body)
            while data := origin.recv(1 << 16):
                client.sendall(data)

    def accept() -> None:
        while True:
            client, _ = listening.accept()
            if stand.connected:
                threading.Thread(target=hand_on, args=(client,), daemon=True).start()
            else:
                client.close()

    threading.Thread(target=accept, daemon=True).start()
    return int(listening.getsockname()[1])


def main() -> None:
    folder = Path(os.environ["STAND_IN"])
    if sys.argv[1:] in (["version"], ["--version"]):
        print("cloudflared version 2025.0.0 (stand-in)")
        return
    flags, named = parse(sys.argv[1:])
    number = len(list(folder.glob("started-*")))
    plans = json.loads((folder / "plan.json").read_text())
    plan = plans[min(number, len(plans) - 1)]
    stand = Stand(plan, flags, named)
    seen = {
        "arguments": sys.argv[1:],
        "environment": dict(os.environ),
        "pid": os.getpid(),
        "edge": edge(stand),
    }
    (folder / "part").write_text(json.dumps(seen))
    (folder / "part").rename(folder / f"started-{number}")
    if "fail" in plan:
        log("INF", "Requesting new quick Tunnel on trycloudflare.com...")
        log("ERR", plan["fail"])
        sys.exit(1)
    port = int(flags["--metrics"].rpartition(":")[2])
    serve(port, stand)
    log("INF", f"Starting metrics server on 127.0.0.1:{port}/metrics")
    time.sleep(plan.get("delay", 0))
    stand.connected = True
    log("INF", f"|  https://{stand.hostname}  |")
    log("INF", "Registered tunnel connection connIndex=0 location=test protocol=quic")
    order = folder / "command"
    while True:
        time.sleep(0.02)
        try:
            command = order.read_text()
            order.unlink()
        except FileNotFoundError:
            continue
        if command == "crash":
            log("ERR", 'failed to serve incoming request error="datagram manager ended"')
            os._exit(2)
        stand.connected = command == "connect"


if __name__ == "__main__":
    main()
