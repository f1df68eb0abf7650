"""The parts of the joint model, as torch modules."""
