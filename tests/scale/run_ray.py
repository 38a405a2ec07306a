"""Run the deployment of deploy/ray until standard input ends."""

from __future__ import annotations

import sys

import ray
from ray import serve

from deploy.ray.openedai_serve import app

ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
serve.run(app, name="openedai", route_prefix="/")
sys.stdin.read()
serve.shutdown()
ray.shutdown()
