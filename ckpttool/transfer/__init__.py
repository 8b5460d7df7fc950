"""The verbs that need a model: new, reuse, freeze, cache, finetune, evaluate, import."""
