# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["open-webui==0.12.4", "typer==0.29.2"]
# [tool.uv]
# override-dependencies = [
#     "accelerate ; python_version < '0'",
#     "anthropic ; python_version < '0'",
#     "azure-ai-documentintelligence ; python_version < '0'",
#     "azure-identity ; python_version < '0'",
#     "azure-storage-blob ; python_version < '0'",
#     "chromadb ; python_version < '0'",
#     "einops ; python_version < '0'",
#     "faster-whisper ; python_version < '0'",
#     "google-cloud-storage ; python_version < '0'",
#     "onnxruntime ; python_version < '0'",
#     "openai ; python_version < '0'",
#     "opencv-python-headless ; python_version < '0'",
#     "opensearch-py ; python_version < '0'",
#     "pandas ; python_version < '0'",
#     "pyarrow ; python_version < '0'",
#     "rapidocr ; python_version < '0'",
#     "sentence-transformers ; python_version < '0'",
#     "sentencepiece ; python_version < '0'",
#     "soundfile ; python_version < '0'",
#     "transformers ; python_version < '0'",
# ]
# ///
"""Open WebUI at the port of the first argument, installed as for its slim image.

That one does without what reads documents and hears speech by itself (PyTorch and Chroma among it), which
takes gigabytes and is not asked here; all that talks to other servers is the same.
"""

import sys

from open_webui import app

app(["serve", "--host", "127.0.0.1", "--port", sys.argv[1]])
