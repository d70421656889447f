"""Planning: what a run will need before it is paid for, from counted operations and bytes. Nothing here imports torch."""
