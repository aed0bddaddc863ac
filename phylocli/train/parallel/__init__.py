"""Execution of a step on several processes and with limited memory."""
