"""What was missed or is wanted again: gap repair, backfill, replay."""
