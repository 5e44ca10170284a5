"""What holds the apps together: settings, servers, processes, URLs."""
