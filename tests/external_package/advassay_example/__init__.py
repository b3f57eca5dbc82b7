"""What another package adds to the report: see lost_again.py."""
