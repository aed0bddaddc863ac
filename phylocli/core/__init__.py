"""What every package below `phylocli` uses: errors, alphabets, messages, the registry of plugins, processes and threads."""
