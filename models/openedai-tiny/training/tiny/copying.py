"""Repeat, say, echo: the model must copy a phrase that it has never seen."""

from __future__ import annotations

import random

from tiny.example import Example, pair
from tiny.grammar import expand
from tiny.lexicon import EMOJI, random_phrase, random_sentence, random_word

# The phrase stands after a colon or in quotation marks.
_MARKED = (
    (
        "(Repeat|repeat|Repeat this|repeat this|Repeat after me|repeat after me|Please repeat|"
        "please repeat|Repeat exactly|Repeat the following|Copy|Copy this|Echo|echo|Echo this|"
        "Say|say|Say this|Say exactly|Please say|Write|Write exactly|Write this|Print|Type|"
        "Answer with|Reply with|Respond with|Answer only with|Reply with exactly|Reply with "
        "this only|Output|Return|Say the following): <phrase>"
    ),
    (
        "(Repeat|repeat|Say|say|Please say|Please repeat|Echo|echo|Write|Print|Type|Answer|"
        "Reply|Respond with|Reply with|Answer with|Reply only with|Can you say|Could you say|"
        "Can you repeat|Output|Repeat the words|Say the words|Say the word|Repeat the phrase|"
        'Just say) "<phrase>"(|.|?)'
    ),
    ("(Repeat|repeat|Say|say|Please say|Please repeat|Echo|Write|Print|Answer|Reply with|Say exactly) '<phrase>'(|.)"),
    ('(Repeat|Say|Write|Echo) this(| phrase| text| sentence| line| exactly)(: "<phrase>"|:\n<phrase>|: <phrase>)'),
    "(Repeat|Say|Echo|Copy) (the text|the line|what follows|what I say|it): <phrase>",
    'I say "<phrase>", you (say|repeat|answer) (it|the same)(.|)',
)
# The phrase follows the verb directly.
_PLAIN = (
    (
        "(Say|say|Please say|please say|Just say|Repeat|repeat|Please repeat|Repeat after me|"
        "repeat after me|Echo|echo|Say exactly|Can you say|Reply with|Reply with just|Write|"
        "Print) <phrase>"
    ),
)


def repeat(rng: random.Random) -> Example:
    """A phrase to copy, in one of many forms."""
    if rng.random() < 0.7:
        phrase = random_phrase(rng, rng.choice([2, 5, 8, 14]))
        phrase = phrase.replace('"', "").replace("'", "")
        ask = expand(rng, rng.choice(_MARKED), {"phrase": phrase})
    else:
        phrase = random_phrase(rng, rng.choice([2, 4, 6]))
        ask = expand(rng, rng.choice(_PLAIN), {"phrase": phrase})
    return pair("repeat", ask, phrase, (phrase,), exact=True)


def repeat_long(rng: random.Random) -> Example:
    """A long text to copy, 12 to 45 words, with many words that mean nothing."""
    if rng.random() < 0.25:
        phrase = " ".join(random_sentence(rng) for _ in range(rng.randint(2, 5)))
    else:
        words = [random_word(rng).replace('"', "") for _ in range(rng.randint(12, 45))]
        phrase = " ".join(words)
    ask = expand(rng, rng.choice(_MARKED[:1] + _MARKED[3:5]), {"phrase": phrase})
    return pair("repeat_long", ask, phrase, exact=True)


def repeat_times(rng: random.Random) -> Example:
    """A word said two to five times."""
    count = rng.randint(2, 5)
    word = random_phrase(rng, 1)
    number = rng.choice([str(count), ["two", "three", "four", "five"][count - 2]])
    ask = expand(
        rng,
        '(Say|Repeat|Write|say|repeat) (<word>|"<word>"|the word <word>) <number> times(|.)',
        {"word": word, "number": number},
    )
    return pair("repeat_times", ask, " ".join([word] * count), exact=True)


def emoji(rng: random.Random) -> Example:
    """Send an emoji."""
    ask = expand(
        rng,
        "(Send|Give|Show|send|give|show) me (an|one|some) emoji(|.|!)|(answer|reply) with "
        "(an emoji|one emoji|emoji only)|(use|write) (an |some |)emoji(s|)",
    )
    return pair("emoji", ask, " ".join(rng.sample(EMOJI, 3)), tuple(EMOJI))
