"""What plain Celery on Redis loses when its workers are killed: `python -m bench.celery_loss`."""
