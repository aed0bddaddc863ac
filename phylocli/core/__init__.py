"""What every room uses: errors, alphabets, messages, the registry of plugins, processes and threads."""
