"""How the console writes dates, numbers and times."""
