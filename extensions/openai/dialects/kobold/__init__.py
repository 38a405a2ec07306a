"""KoboldAI's API, as KoboldCpp has it."""
