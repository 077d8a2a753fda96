"""A hand-in, whatever it is: whose it is, what is in it, and which of its files is graded."""
