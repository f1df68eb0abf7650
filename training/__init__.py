"""Training: data-set readers, the training loop, tasks, recipes, evaluation."""
