"""The parts of tools/gpu_trial.py."""
