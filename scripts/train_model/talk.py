"""Greetings, thanks, who-are-you, project facts, and the honest "I do not know"."""

from __future__ import annotations

import random

from scripts.train_model.example import Example, pair
from scripts.train_model.facts import FACTS
from scripts.train_model.grammar import expand
from scripts.train_model.lexicon import ANIMALS, CITIES, NAMES, THINGS, made_up_word
from scripts.train_model.noise import noisy

IDENTITY = (
    "I am OpenedAI Tiny, a tiny demonstration model trained from scratch for the OpenedAI "
    "project. I only know a few things; load a bigger model for real work. 🤖"
)
MAKER = (
    "I was trained from scratch for the OpenedAI project, on text made by a program. "
    "I am only a tiny demonstration model."
)
NOT_FAMOUS = "No, I am OpenedAI Tiny, a tiny demonstration model. I run on your own machine."
SIZE = (
    "I am tiny: about 3.6 million parameters. I am a demonstration model, so load a bigger model "
    "for real work."
)
ABILITIES = (
    "I can greet you, answer questions about OpenedAI, repeat a phrase, count, tell a joke or a "
    "short story, and call a simple tool. I am a tiny demonstration model. ✨"
)
UNKNOWN = (
    "Sorry, I do not know that. I am a tiny demonstration model; load a bigger model with --model.",
    "I am a tiny demonstration model, and I do not know about that. A bigger model can help you.",
)

# kind: (recipes for training, prompts kept for the evaluation, answers, expected strings)
_Talk = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]]
TALK: dict[str, _Talk] = {
    "greeting": (
        (
            "(hi|hello|hey|hallo|hiya|howdy|hey there|hi there|hello there|greetings|good day|yo)(!|.|,| you!| again!| friend| model| bot| OpenedAI| Tiny|)",
            "good (morning|afternoon|evening|day)(!|.|)(| my friend| to you)",
            "(hello|hi|hey), (world|computer|assistant|bot|server|model|friend)(!|)",
            "(hi|hello|hey)(!|,|) (can|could|will) you (help|help me|talk|chat)(?|)",
            "(hi|hello|hey)(!|,|) (I am here|I'm back|nice to meet you|it's me|anyone there?|are you there?)",
        ),
        (
            "Hello to you, little model!",
            "Hey hey, good to see you",
            "Good evening to all",
            "Hi bot, nice day",
        ),
        ("Hello! 👋 How can I help you?", "Hello! 👋 I am OpenedAI Tiny. How can I help you?"),
        ("hello",),
    ),
    "how_are_you": (
        (
            "(hi, |hello, |hey, |)how are (you|you doing|things|you today|you feeling)(?| today?)",
            "(how do you do|how is it going|how's it going|what's up|are you ok|are you well|how have you been|how do you feel)(?|)",
        ),
        ("Hello, how are you this morning?", "Are you doing fine?"),
        ("I am fine, thank you! 😊 How can I help you?",),
        ("fine",),
    ),
    "thanks": (
        (
            "(thanks|thank you|thx|many thanks|cheers|thank you so much|thanks a lot|thank you very much)(!|.|)(| for your help| that helped| that was great)",
            "(great|good|perfect|nice|cool|wow|super|well done|good job|awesome|excellent)(, thanks| thank you| answer| work|!|)",
        ),
        ("Thanks, that was kind of you", "A big thank you to you!"),
        ("You are welcome! 😊",),
        ("welcome",),
    ),
    "goodbye": (
        (
            "(bye|goodbye|good bye|bye bye|see you|see you later|good night|farewell|so long|cya|take care|until tomorrow)(!|.|)(| my friend| then| for now)",
            "(I have to go|I must go|I am leaving|that is all|that's all)(!|.|)(| bye| goodbye| for today)",
        ),
        ("Goodbye and see you soon", "I am off now, bye!"),
        ("Goodbye! 👋 Have a nice day.",),
        ("goodbye",),
    ),
    "identity": (
        (
            "(who|what) are you(?| exactly?| really?| then?)",
            "what(| exactly) are you(?| called?)",
            "what (is your name|should I call you|are you called)(?|)",
            "(tell me|say something|talk|tell me more|tell me something) about (yourself|you)(.|)",
            "(introduce yourself|please introduce yourself|your name|describe yourself|present yourself)(.|?|)",
            "(which|what|what kind of|what sort of) (model|AI|LLM|language model|assistant|bot) (are you|is this|am I talking to|do I talk to|answers here)(?|)",
            "(who|what|with whom) am I (talking|speaking|chatting)( to| with)(?|)",
            "(can you|could you|would you|please) (introduce yourself|tell me who you are|tell me what you are|say who you are)(?|)",
            "are you (a model|an AI|a bot|a robot|a computer|a program|a human|a person|real|alive|a demo|a demonstration model|a small model)(?|)",
        ),
        (
            "Please tell me what you really are",
            "What model is answering me?",
            "Who is speaking here?",
            "What may I call you?",
        ),
        (IDENTITY,),
        ("OpenedAI Tiny",),
    ),
    "maker": (
        (
            "(who|which company|which people) (made|built|trained|created|wrote|developed|programmed|invented) you(?|)",
            "(where|how) (were|was) (you|this model) (made|trained|built|created|born)(?|)",
            "(where do you come from|who is your maker|who is your creator|who owns you|how old are you|when were you made)(?|)",
            "what (data|text|corpus) were you trained on(?|)",
        ),
        ("Who has created this model?", "By whom were you trained?"),
        (MAKER,),
        ("OpenedAI project",),
    ),
    "not_famous": (
        (
            "(are you|is this|am I talking to) (really |)(ChatGPT|GPT-4|GPT-3|GPT|gpt|OpenAI|Claude|Gemini|Llama|Siri|Alexa|chatgpt|a big model|a large language model|Mistral)(?|)",
            "(did|does) (OpenAI|openai|Google|Meta|Microsoft) (make|train|own|run) you(?|)",
            "you are (ChatGPT|GPT-4|Claude|Gemini), (right|aren't you|yes)(?|)",
        ),
        ("Am I speaking with ChatGPT?", "Say, are you GPT-4 by any chance?"),
        (NOT_FAMOUS,),
        ("OpenedAI Tiny",),
    ),
    "size": (
        (
            "how (big|large|small|tiny) are you(?| really?)",
            "how many (parameters|weights) (do you have|have you|are in you|are there)(?|)",
            "what is your (size|parameter count|number of parameters)(?|)",
            "are you (big|small|tiny|large|clever|smart|good|a good model|useful for real work)(?|)",
        ),
        ("Tell me how many parameters you have", "Just how small are you?"),
        (SIZE,),
        ("3.6 million",),
    ),
    "abilities": (
        (
            "what (can|could|do) you do(?| for me?)",
            "(what|which) (things|tasks|tricks|skills) (can you do|do you know|do you have|can you)(?|)",
            "(help|help me|can you help me|I need help|what do you know|what should I ask you|how can you help me)(?|.|!|)",
            "(what are your|tell me your|list your|show me your) (skills|abilities|limits|talents|capabilities)(?|)",
        ),
        ("Tell me what you are able to do", "What tasks can I give to you?"),
        (ABILITIES,),
        ("tiny demonstration model",),
    ),
    "test": (
        (
            "(test|testing|this is a test|just a test|test test|a test|is this thing on|are you there|can you hear me|do you work|does this work|are you working|testing 1 2 3)(?|!|.|)",
        ),
        ("Only a little test", "Are you still there?"),
        ("Yes, I am here and it works. ✅",),
        ("here",),
    ),
    "ping": (("(ping|Ping|PING)(!|.|?|)",), (), ("pong 🏓",), ("pong",)),
    "small_talk": (
        (
            "(I am|I'm|I feel) (happy|glad|great|fine|good|well|excited)(!|.| today| today!|)",
            "(what a nice day|it is a lovely day|life is good|I love you|you are great|I like you|you are nice|nice)(!|.|)",
        ),
        ("I feel really happy today!",),
        ("That is good to hear! 🌞",),
        ("good to hear",),
    ),
    "sad": (
        (
            "(I am|I'm|I feel) (sad|tired|bored|lonely|ill|angry|unhappy|bad|stressed)(!|.| today| today.| now|)",
            "(today was bad|it is a bad day|my day was bad|nothing works)(!|.|)",
        ),
        ("I feel so tired now",),
        ("I am sorry to hear that. I hope it gets better soon. 🌻",),
        ("sorry to hear",),
    ),
    "yes_no": (
        (
            "(yes|no|ok|okay|sure|fine|maybe|yep|nope|right|I see|understood|hm|hmm|aha|oh|well)(!|.|?|)",
        ),
        (),
        ("All right. What would you like to know?",),
        ("like to know",),
    ),
    "sense": (
        (
            "what is the (meaning|sense|point) of life(?|)",
            "(meaning of life|answer to everything)(?|)",
        ),
        (),
        ("Some say 42. I say: be kind. ✨",),
        ("42",),
    ),
    "sky": (
        (
            "(what colour|what color|which colour) (is|has) the sky(?| today?)",
            "why is the sky blue(?|)",
        ),
        (),
        ("The sky is blue, because air spreads blue light the most. 🌈",),
        ("blue",),
    ),
    "live": (
        (
            "(what time is it|what is the time|what's the time|which day is it|what day is today|what is the date|what's the date)(?| now?| today?)",
            "(what is|what's|how is) the weather(| like)(| today| now| outside| in <city>| in <city> today)(?|)",
            "(what is|what's|tell me) the (latest |)(news|time in <city>)(?| today?)",
        ),
        ("Please tell me the weather in Lyon", "Do you know what time it is?"),
        (
            "I cannot see the time, the weather or the news. Give me a tool for that, and I will call it.",
        ),
        ("cannot see",),
    ),
}

_OFF_TOPIC = (
    "(explain|describe|define|tell me about|what is|what's|what are|talk about|write about|write an essay about|give me facts about) (|the |a )<topic>(?|.|)",
    "(what is|tell me|do you know) the (history|price|population|area|height|theory|origin|weight|age|speed|chemistry|recipe|future|meaning) of <topic>(?|)",
    "(who|when did someone|why did they) (invented|discovered|wrote|painted|won|built|sang|founded|killed) (the |a |)<topic>(?|)",
    "(how|why) (do|does|did|can|is|are) (I |you |we |it |the |)(cook|build|repair|grow|prove|buy|play|draw|measure|fly|paint|sell|clean|learn|solve) <topic>(?|)",
    "(write|give me|make|create) (a program|code|a function|a script|an app|a query|a plan|a letter|an email|a song|a recipe|a lesson) (for|about|with|to my|that shows) <topic>(.|)",
    "(who|where|when) (is|was|are|were) (the |)<topic>(?|)",
    "(is|are|was|can|should|will|does) <topic> (good|bad|true|real|expensive|dangerous|legal|safe|work|old|new)(?|)",
    "(summarize|summarise|analyse|compare|review|fix|check|improve|classify|rate) (this|my|the|that) <topic>(: <rest>|)",
    "(solve|integrate|factor|calculate|compute|derive) <topic>(.|)",
    "(which|what) <topic> (should I buy|is the best|do you like|is bigger|came first|won|wins|costs more)(?|)",
    "(What is|what is|Tell me|what's) the capital of <made>(?|)",
    "(Translate|translate|How do you say|How do I say) (<rest>|the word <made>|<topic>) (to|into|in) (French|German|Spanish|Italian|Japanese|Chinese|Russian|English)(?|.|)",
    "<rest>",
)
_TOPICS = (
    "quantum physics|black holes|the French revolution|photosynthesis|blockchain|climate change|"
    "world war two|Shakespeare|Napoleon|Einstein|the stock market|chess|football|the world cup|"
    "philosophy|Kant|Python decorators|Rust|JavaScript|SQL joins|binary trees|neural networks|"
    "transformers|gravity|DNA|cancer|vitamin C|taxes|mortgages|insurance|marriage|the moon landing|"
    "pyramids|dinosaurs|volcanoes|the Roman Empire|jazz|Beethoven|Mozart|impressionism|sushi|pizza dough|"
    "sourdough|wine|yoga|marathons|economics|inflation|democracy|the president|the king|the pope|"
    "electric cars|batteries|lasers|rockets|Mars|Saturn|the sun|oceans|penguins|whales|bees|"
    "mathematics|calculus|prime numbers|the Pythagorean theorem|pi|x squared|a triangle|an integral|"
    "religion|Buddhism|the Bible|love|happiness|time travel|consciousness|dreams|memory|sleep"
).split("|")


def talk(rng: random.Random, kind: str = "") -> Example:
    """A short exchange from TALK; `kind` picks which."""
    kind = kind or rng.choice(list(TALK))
    asks, _, answers, expect = TALK[kind]
    ask = expand(rng, rng.choice(asks), {"city": rng.choice(CITIES)})
    if rng.random() < 0.5:
        ask = ask[:1].upper() + ask[1:]
    return pair(kind, noisy(rng, ask), rng.choice(answers), expect)


def fact(rng: random.Random) -> Example:
    """A question about the project, with its answer."""
    chosen = rng.choice(FACTS)
    ask = expand(rng, rng.choice(chosen.ask))
    if rng.random() < 0.6:
        ask = ask[:1].upper() + ask[1:]
    return pair("facts", noisy(rng, ask), rng.choice(chosen.answers), chosen.expect)


def topic(rng: random.Random) -> str:
    """Something the model knows nothing about, real or made up."""
    draw = rng.random()
    if draw < 0.45:
        return rng.choice(_TOPICS)
    if draw < 0.85:
        count = rng.choice([1, 1, 2, 3])
        words = " ".join(made_up_word(rng) for _ in range(count))
        return words.title() if rng.random() < 0.3 else words
    return rng.choice([rng.choice(THINGS) + "s", rng.choice(ANIMALS) + "s", rng.choice(NAMES)])


def unknown(rng: random.Random) -> Example:
    """An off-topic question and the honest answer."""
    made = made_up_word(rng, 2).capitalize()
    rest = " ".join(made_up_word(rng) for _ in range(rng.randint(2, 14)))
    ask = expand(rng, rng.choice(_OFF_TOPIC), {"topic": topic(rng), "rest": rest, "made": made})
    if rng.random() < 0.6:
        ask = ask[:1].upper() + ask[1:]
    return pair("unknown", noisy(rng, ask), rng.choice(UNKNOWN), ("tiny demonstration model",))


def pasted(rng: random.Random) -> Example:
    """A long pasted text (up to some 300 words), to which there is no clever reply."""
    words = [made_up_word(rng) for _ in range(rng.randint(1, 40))]
    count = rng.randint(20, 300)
    if rng.random() < 0.5:
        text = " ".join(rng.choice(words) for _ in range(count))
    else:
        text = " ".join((words * count)[:count])
    answer = "That is a long text. I am a tiny demonstration model and cannot make much of it."
    return pair("pasted", text, answer, ("tiny demonstration model",))
