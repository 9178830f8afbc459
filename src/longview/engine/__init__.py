"""On the node: build data, model, task and trainer from a run directory; fit, test, write the result."""
