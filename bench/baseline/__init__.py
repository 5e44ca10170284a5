"""
What is compared with: the same accept, written the usual way.

A Django project with Django REST framework and the ORM, under gunicorn with 3 workers
of 4 threads and persistent connections, on the same Postgres with the same settings.
"""
