"""The torch-free half of each task: one module per task, which holds `TASK`."""
