"""What llama.cpp has computed of prompts, so that nothing is computed twice.

`prompt.py` compares prompts, `slot_pool.py` chooses the slot that holds the longest beginning of one,
`states.py` keeps what other slots held in this machine's memory, `cache.py` moves it in and out,
`forgotten.py` remembers what was dropped,
`readings.py` lets one of several answers read what all of their prompts begin with.
"""
