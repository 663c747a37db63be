"""Language models as readers: server, prompts, answers, parsing."""
