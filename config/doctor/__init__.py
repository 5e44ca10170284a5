"""What `manage.py doctor` looks at, by subject; each check is a small judgement."""
