"""The stand-alone host: it owns the model's files and the process, and loads extensions.

It knows no extension in particular. What an extension may define is listed in
`host.extension_loader`; what it may read is in `host.shared`.
"""

__version__ = "0.1.0"
