"""Our part in a generation of a webui's loader: what it may sample, and the answer made of that."""
