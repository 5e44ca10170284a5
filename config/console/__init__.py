"""The console as a whole: its site, its sidebar, its dashboard."""
