"""The parts of cleaning: looking at one batch, exact and near copies, labels in one spelling."""
