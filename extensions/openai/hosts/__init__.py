"""Where the extension runs: text-generation-webui and its kin, or the stand-alone host."""
