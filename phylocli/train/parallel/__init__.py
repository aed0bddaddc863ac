"""A step on several processes, on little memory, or both."""
