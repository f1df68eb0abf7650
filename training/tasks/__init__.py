"""Tasks: a model and its losses each, trained by `training.loop.fit.fit`."""
